"""Refunding: the same refund has one key, is proposed while it is not made, and never beyond what is left."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.outcomes import Absent, Cancellation, Look, Unanswered
from billing_worker.billing.refunding import (
    GivenBack,
    NoRefund,
    Proposal,
    RefundIntent,
    given_back,
    idempotency_key,
    propose,
)
from tests.builders import A_PAYMENT_ID, NOON, STORE_ID, a_payment

amounts = st.integers(1, 12_000)
intents = st.lists(st.builds(RefundIntent, amounts, st.integers(0, 12_000)), max_size=3)


def proposed(refunded: int, amount: int | None, meant: list[RefundIntent]) -> Proposal | NoRefund:
    status = "CANCELLED" if refunded == 9900 else "PARTIAL_CANCELLED" if refunded else "PAID"
    look = a_payment(status, refunded_minor=refunded)
    return propose(A_PAYMENT_ID, look, amount, meant, store_id=STORE_ID)


@given(refunded=st.integers(0, 9900), amount=st.one_of(st.none(), amounts), meant=intents)
def test_never_more_than_is_left(refunded: int, amount: int | None, meant: list[RefundIntent]) -> None:
    found = proposed(refunded, amount, meant)

    if isinstance(found, Proposal):
        assert 0 < found.amount_minor <= found.left_minor == 9900 - refunded
        assert found.idempotency_key == f"{A_PAYMENT_ID}-r{refunded}x{found.amount_minor}"


@given(refunded=st.integers(0, 9900), amount=amounts, before=st.integers(0, 9900))
def test_what_was_made_is_not_made_again(refunded: int, amount: int, before: int) -> None:
    found = proposed(refunded, amount, [RefundIntent(amount, before)])

    if isinstance(found, Proposal):
        assert (found.repeated, refunded) == (True, before)
    elif refunded >= before + amount:
        assert found.done


@given(refunded=st.integers(0, 9000), amount=st.integers(1, 900))
def test_a_refund_whose_answer_was_lost_has_the_same_key_again(refunded: int, amount: int) -> None:
    first = proposed(refunded, amount, [])
    again = proposed(refunded, amount, [RefundIntent(amount, refunded)])

    assert isinstance(first, Proposal)
    assert again == replace(first, repeated=True)


def test_nothing_is_proposed_of_what_is_not_there() -> None:
    looks: list[Look] = [
        Absent(),
        Unanswered("no answer"),
        a_payment("FAILED"),
        a_payment(store_id="store-other"),
        a_payment(cancellations=(Cancellation("c-1", "REQUESTED", 900),)),
    ]

    assert all(isinstance(propose(A_PAYMENT_ID, look, None, [], store_id=STORE_ID), NoRefund) for look in looks)


def test_what_was_given_back_is_told_by_what_it_was_the_newest_first() -> None:
    # given
    cancellations = (
        Cancellation("c-1", "SUCCEEDED", 100, "API", NOON),
        Cancellation("c-2", "SUCCEEDED", 200, "CHARGEBACK", NOON + timedelta(hours=2)),
        Cancellation("c-3", "FAILED", 400, "CONSOLE", NOON + timedelta(hours=3)),
        Cancellation("c-4", "SUCCEEDED", 300, "CONSOLE", NOON + timedelta(hours=1)),
    )

    # when
    parts = given_back(700, cancellations)

    # then
    assert parts == (
        GivenBack(200, "chargeback", "c-2"),
        GivenBack(300, "external", "c-4"),
        GivenBack(100, "refund", "c-1"),
        GivenBack(100, "external", ""),
    )


@given(total=st.integers(0, 5000), sums=st.lists(st.integers(1, 2000), max_size=5))
def test_the_parts_make_up_what_was_given_back(total: int, sums: list[int]) -> None:
    cancellations = [Cancellation(f"c-{n}", "SUCCEEDED", amount) for n, amount in enumerate(sums)]

    assert sum(part.amount_minor for part in given_back(total, cancellations)) == total


def test_the_key_of_a_refund_is_long_enough_for_a_merchants_short_payment_id() -> None:
    keys = [idempotency_key("abc123", refunded_minor=0, amount_minor=amount) for amount in (1, 9900)]

    assert keys == ["abc123-r0x000001", "abc123-r0x009900"]
