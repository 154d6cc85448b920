"""Identifiers: pinned for ever, since a changed one would let PortOne take the same period's money twice."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.model import (
    ATTEMPT_NUMBER_MAX,
    SHARDS,
    Customer,
    booking_key,
    idempotency_key,
    payment_id,
    shard_of,
)
from tests.builders import a_claimed_cycle, an_attempt

OURS = "rb14s5v7us5mgqtrzgf7qhpwthcgev"
BUSINESS_KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)


@pytest.mark.parametrize(
    ("store_id", "business_key", "period_start_on", "correction_number", "wanted"),
    [
        ("store-1", "sub-1", "2026-01-31", 0, "rb14s5v7us5mgqtrzgf7qhpwthcgev"),
        ("store-1", "sub-1", "2026-02-28", 0, "rb1ieoivgn3wncwwanc3kasgmegnsj"),
        ("store-1", "sub-1", "2026-01-31", 1, "rb1tck77cjtdymerudzcpl43aptc6m"),
        ("store-4ff4af41-85e3-4559-8eb8-0d08a2c6ceec", "구독-0001", "2024-02-29", 0, "rb1sxkgwk4ooluynodpnl64q3aa6nk"),
        ("s", "a|b", "1970-01-01", 0, "rb1h24ig3kgegd2q4wbpoaiyciqgtp"),
    ],
)
def test_a_payment_id_is_the_same_for_ever(
    store_id: str, business_key: str, period_start_on: str, correction_number: int, wanted: str
) -> None:
    made = payment_id(
        store_id=store_id,
        business_key=business_key,
        period_start_on=date.fromisoformat(period_start_on),
        correction_number=correction_number,
    )

    assert made == wanted


@given(store_id=BUSINESS_KEYS, business_key=BUSINESS_KEYS, start_on=st.dates(), correction=st.integers(0, 99))
def test_a_payment_id_is_what_every_pg_takes(store_id: str, business_key: str, start_on: date, correction: int) -> None:
    made = payment_id(
        store_id=store_id, business_key=business_key, period_start_on=start_on, correction_number=correction
    )

    assert re.fullmatch(r"rb1[0-9a-z]{27}", made)


@given(business_key=BUSINESS_KEYS, one_on=st.dates(), other_on=st.dates())
def test_two_periods_never_share_a_payment_id(business_key: str, one_on: date, other_on: date) -> None:
    one = payment_id(store_id="store", business_key=business_key, period_start_on=one_on)
    other = payment_id(store_id="store", business_key=business_key, period_start_on=other_on)

    assert (one == other) == (one_on == other_on)


@pytest.mark.parametrize(
    ("business_key", "wanted"),
    [("sub-1", 10), ("sub-2", 17), ("구독-0001", 57), ("", 35)],
)
def test_a_shard_is_the_same_for_ever(business_key: str, wanted: int) -> None:
    assert shard_of(business_key) == wanted


@given(BUSINESS_KEYS)
def test_every_business_key_has_one_of_the_shards(business_key: str) -> None:
    assert 0 <= shard_of(business_key) < SHARDS


def test_an_idempotency_key_names_the_payment_and_the_attempt() -> None:
    assert idempotency_key(OURS, 1) == f"{OURS}-g0001"
    assert idempotency_key(OURS, ATTEMPT_NUMBER_MAX) == f"{OURS}-g9999"


def test_a_booking_never_has_a_charge_s_key() -> None:
    assert booking_key(OURS, 1) == f"{OURS}-s0001"
    assert booking_key(OURS, ATTEMPT_NUMBER_MAX) == f"{OURS}-s9999"


def test_every_attempt_has_an_idempotency_key_of_its_own() -> None:
    keys = {idempotency_key(OURS, number) for number in range(1, ATTEMPT_NUMBER_MAX + 1)}

    assert len(keys) == ATTEMPT_NUMBER_MAX
    assert {len(key) for key in keys} == {len(f"{OURS}-g0001")}


@given(
    payments=st.lists(st.from_regex(r"[A-Za-z0-9_-]{6,64}", fullmatch=True), min_size=2, max_size=2, unique=True),
    numbers=st.lists(st.integers(1, ATTEMPT_NUMBER_MAX), min_size=2, max_size=2),
)
def test_the_keys_of_a_merchants_own_payment_ids_are_long_enough_and_never_one_another_s(
    payments: list[str], numbers: list[int]
) -> None:
    keys = [made(of, n) for of, n in zip(payments, numbers, strict=True) for made in (idempotency_key, booking_key)]

    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16,250}", key) for key in keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("number", [0, -1, ATTEMPT_NUMBER_MAX + 1])
def test_no_key_is_made_for_a_number_that_does_not_fit(number: int) -> None:
    with pytest.raises(AssertionError):
        idempotency_key(OURS, number)


def test_an_attempt_s_repr_does_not_show_its_request() -> None:
    attempt = an_attempt(request_body=b'{"billingKey":"bk-secret"}')

    assert "bk-secret" not in f"{attempt!r} {attempt}"


def test_a_first_payment_of_a_period_is_no_correction() -> None:
    period = {"store_id": "store-1", "business_key": "sub-1", "period_start_on": date(2026, 1, 31)}

    assert payment_id(**period) == payment_id(**period, correction_number=0) == "rb14s5v7us5mgqtrzgf7qhpwthcgev"


def test_no_repr_of_a_cycle_shows_who_pays() -> None:
    shown = repr(a_claimed_cycle())

    assert "홍길동" not in shown
    assert "010-1234-5678" not in shown
    assert "bk-ok-1" not in shown


def test_who_is_not_described_is_described_by_nothing() -> None:
    assert Customer("customer-1") == Customer("customer-1", name="", phone="", email="")


def test_an_attempt_that_is_open_has_neither_an_end_nor_a_pg_s_id() -> None:
    assert an_attempt().settled_at is None
    assert an_attempt().pg_tx_id is None
