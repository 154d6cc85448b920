"""Ledger entries: what the ledger can keep, and a chain in which every change shows."""

import hashlib
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.ledger import StoredEntry, bounded, chain_fault, entry_hash
from tests.builders import NOON


def an_entry(**changes: object) -> StoredEntry:
    """The first entry of a chain, with the hash that its content gives."""
    entry = StoredEntry(
        subscription_id=1,
        sequence=1,
        kind="paid",
        cycle_id=11,
        attempt_id=21,
        payment_id="rb1abc",
        amount_minor=9900,
        currency="KRW",
        pg_tx_id="pg-1",
        code="",
        message="월간 이용권",
        source="answer",
        actor="worker-1",
        written_by="billing_login",
        recorded_at=NOON,
        previous_hash=b"",
        entry_hash=b"",
    )
    changed = replace(entry, **changes)
    return replace(changed, entry_hash=entry_hash(changed))


FIRST = an_entry()
SECOND = an_entry(sequence=2, kind="refunded", previous_hash=FIRST.entry_hash)


@given(text=st.text(), chars_max=st.integers(0, 40))
def test_what_the_ledger_is_given_it_can_keep(text: str, chars_max: int) -> None:
    kept = bounded(text, chars_max)

    assert len(kept) <= chars_max
    assert "\x00" not in kept
    assert kept.encode().decode() == kept


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40))
def test_what_fits_is_kept_as_it_is(text: str) -> None:
    assert bounded(text, 40) == text


def test_a_lone_surrogate_and_a_nul_are_left_out() -> None:
    assert bounded("a\x00b\ud800c\udfff", 40) == "abc"


def test_the_hash_is_the_same_for_ever() -> None:
    text = (
        '["", 1, 1, "paid", 11, 21, "rb1abc", 9900, "KRW", "pg-1", "", "월간 이용권", "answer", "worker-1", '
        '"billing_login", 1772366400000000]'
    )

    assert FIRST.entry_hash == hashlib.sha256(text.encode()).digest()


def test_a_chain_as_it_was_written_has_no_fault() -> None:
    assert chain_fault(FIRST, None) is None
    assert chain_fault(SECOND, FIRST) is None


ANOTHER_VALUE = {
    "subscription_id": 2, "kind": "voided", "cycle_id": None, "attempt_id": 22, "payment_id": None,
    "amount_minor": 9901, "currency": "USD", "pg_tx_id": None, "code": "x", "message": "다른 말",
    "source": "look", "actor": "", "written_by": "somebody",
    "recorded_at": NOON + timedelta(microseconds=1), "entry_hash": b"x",
}  # fmt: skip


@pytest.mark.parametrize("field", sorted(ANOTHER_VALUE))
def test_a_change_of_any_field_is_found(field: str) -> None:
    changed = replace(FIRST, **{field: ANOTHER_VALUE[field]})

    assert chain_fault(changed, None) == "its content does not give its hash"


def test_every_field_of_an_entry_is_in_the_chain() -> None:
    assert {field.name for field in fields(StoredEntry)} == {*ANOTHER_VALUE, "sequence", "previous_hash"}


def test_an_entry_taken_out_or_put_in_is_found() -> None:
    third = an_entry(sequence=3, previous_hash=SECOND.entry_hash)
    forged = an_entry(sequence=2, kind="operator", previous_hash=b"forged")

    assert chain_fault(SECOND, None) == "sequence 2 stands where 1 belongs"
    assert chain_fault(third, FIRST) == "sequence 3 stands where 2 belongs"
    assert chain_fault(forged, FIRST) == "does not name its predecessor's hash"


def test_a_rewritten_entry_is_found_by_its_successor() -> None:
    rewritten = an_entry(amount_minor=1)

    assert chain_fault(rewritten, None) is None
    assert chain_fault(SECOND, rewritten) == "does not name its predecessor's hash"
