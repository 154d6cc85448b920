"""Comparison: each way in which the books can differ has its one name, and books that agree have none."""

from dataclasses import replace
from datetime import time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing import outcomes
from billing_worker.billing.comparison import (
    STRANGERS,
    WORTH_A_LOOK,
    Booking,
    Difference,
    DifferenceClass,
    OurCycle,
    compare_payment,
    compare_schedule,
    compare_tries,
    missing_payment,
    missing_schedule,
    needs_tries,
    next_night,
)
from billing_worker.billing.outcomes import Absent, Schedule
from billing_worker.billing.states import AttemptStatus, CycleStatus
from tests.builders import A_PAYMENT_ID, NOON, STORE_ID, a_payment

DUE = NOON + timedelta(days=2)

paid_payments = st.builds(
    a_payment,
    st.sampled_from(sorted(outcomes.PAYMENT_PAID)),
    amount_minor=st.sampled_from([9900, 12_000]),
    currency=st.sampled_from(["KRW", "USD"]),
    refunded_minor=st.sampled_from([0, 900, 9900]),
    disputed=st.booleans(),
)
other_payments = st.builds(
    a_payment, st.sampled_from(sorted(outcomes.PAYMENT_FAILED | outcomes.PAYMENT_PENDING | {"SOMETHING_NEW"}))
)
statuses = st.sampled_from(["SCHEDULED", "STARTED", "PENDING", "SUCCEEDED", "FAILED", "REVOKED", "SOMETHING_NEW"])


def a_cycle(status: CycleStatus = CycleStatus.PAID, **changes: Any) -> OurCycle:
    """A paid cycle of one attempt."""
    cycle = OurCycle(
        shard=1,
        subscription_id=1,
        cycle_id=1,
        payment_id=A_PAYMENT_ID,
        cycle_status=status,
        amount_minor=9900,
        currency="KRW",
        attempts_count=1,
        attempt_status=AttemptStatus.PAID if status is CycleStatus.PAID else AttemptStatus.OPEN,
        refunded_minor=0,
    )
    return replace(cycle, **changes)


def a_booked_cycle(**changes: Any) -> OurCycle:
    booking = Booking(DUE, 9900, "KRW", "schedule-1", None, NOON)
    return a_cycle(CycleStatus.COLLECTING, booking=replace(booking, **changes))


def a_schedule(status: str = "SCHEDULED", **changes: Any) -> Schedule:
    schedule = Schedule("schedule-1", A_PAYMENT_ID, status, 9900, "KRW", STORE_ID, DUE, None)
    return replace(schedule, **changes)


def names(found: tuple[Difference, ...]) -> list[str]:
    return [each.difference_class.value for each in found]


cycles = st.builds(
    a_cycle,
    st.sampled_from(CycleStatus),
    attempt_status=st.one_of(st.none(), st.sampled_from(AttemptStatus)),
    refunded_minor=st.sampled_from([0, 900]),
)


@pytest.mark.parametrize(
    ("ours", "payment", "expected"),
    [
        (a_cycle(), a_payment(), []),
        (a_cycle(refunded_minor=900), a_payment("PARTIAL_CANCELLED", refunded_minor=900), []),
        (a_cycle(CycleStatus.COLLECTING), a_payment(), ["paid_unknown"]),
        (a_cycle(CycleStatus.DUE, attempt_status=None), a_payment(), ["paid_unknown"]),
        (a_cycle(CycleStatus.GIVEN_UP, attempt_status=AttemptStatus.DECLINED), a_payment(), ["late_flip"]),
        (a_cycle(CycleStatus.SKIPPED, attempt_status=AttemptStatus.VOIDED), a_payment(), ["late_flip"]),
        (a_cycle(), a_payment(amount_minor=9901), ["amount"]),
        (a_cycle(), a_payment(currency="USD"), ["currency"]),
        (a_cycle(), a_payment("PARTIAL_CANCELLED", refunded_minor=1), ["refund_unknown"]),
        (a_cycle(), a_payment(disputed=True), ["disputed"]),
        (a_cycle(), a_payment("FAILED"), ["missing_there"]),
        (a_cycle(), a_payment("READY"), []),
        (a_cycle(CycleStatus.DUE, attempt_status=AttemptStatus.DECLINED), a_payment("FAILED"), []),
    ],
)
def test_a_payment_of_ours_is_named_by_what_differs(ours: OurCycle, payment: Any, expected: list[str]) -> None:
    assert names(compare_payment(A_PAYMENT_ID, ours, payment)) == expected


@pytest.mark.parametrize(
    ("payment_id", "expected"),
    [(A_PAYMENT_ID, "unknown_cycle"), ("shoporder1", "foreign"), ("rb1short", "foreign"), ("x" * 30, "foreign")],
)
def test_a_payment_that_no_cycle_has_is_named_by_its_form(payment_id: str, expected: str) -> None:
    assert names(compare_payment(payment_id, None, a_payment())) == [expected]
    assert compare_payment(payment_id, None, a_payment("FAILED")) == ()


@given(ours=cycles, payment=paid_payments)
def test_money_there_that_is_not_here_is_never_passed_over(ours: OurCycle, payment: Any) -> None:
    found = set(names(compare_payment(A_PAYMENT_ID, ours, payment)))

    assert bool(found & {"paid_unknown", "late_flip"}) == (ours.cycle_status is not CycleStatus.PAID)
    assert ("amount" in found) == (payment.amount_minor != ours.amount_minor)
    assert ("currency" in found) == (payment.currency != ours.currency)
    assert ("disputed" in found) == payment.disputed
    more_there = ours.cycle_status is CycleStatus.PAID and payment.refunded_minor > ours.refunded_minor
    assert ("refund_unknown" in found) == more_there


@given(ours=cycles, payment=other_payments)
def test_what_was_not_paid_there_differs_only_where_it_is_paid_here(ours: OurCycle, payment: Any) -> None:
    found = names(compare_payment(A_PAYMENT_ID, ours, payment))

    lost = ours.cycle_status is CycleStatus.PAID and payment.status in outcomes.PAYMENT_FAILED
    assert found == (["missing_there"] if lost else [])


def test_a_payment_that_portone_does_not_know_is_missing() -> None:
    assert names(missing_payment(a_cycle(), Absent())) == ["missing_there"]
    assert missing_payment(a_cycle(), a_payment()) == ()


def test_two_paid_tries_are_named_with_their_transactions() -> None:
    # given
    tries = [a_payment("FAILED"), a_payment(transaction_id="tx-7"), a_payment("CANCELLED", transaction_id="tx-8")]

    # when
    found = compare_tries(a_cycle(), tries)

    # then
    assert found is not None
    assert (found.difference_class, "tx-7, tx-8" in found.what) == (DifferenceClass.PAID_TWICE, True)
    assert compare_tries(a_cycle(), tries[:2]) is None


def test_a_second_payment_that_was_given_back_is_one_no_more() -> None:
    # given
    kept, half = a_payment(), a_payment("PARTIAL_CANCELLED", transaction_id="tx-7", refunded_minor=900)
    whole = a_payment("CANCELLED", transaction_id="tx-7", refunded_minor=9900)

    # when, then
    assert compare_tries(a_cycle(), [kept, half]) is not None
    assert compare_tries(a_cycle(), [kept, whole]) is None


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (a_cycle(), False),
        (a_cycle(attempts_count=2), True),
        (a_cycle(sent_again=True), True),
        (a_cycle(twice=True), True),
    ],
)
def test_tries_are_compared_where_there_were_several(ours: OurCycle, expected: bool) -> None:
    assert needs_tries(ours, a_payment(), since=NOON) is expected


def test_tries_that_were_compared_before_are_not_asked_for_again() -> None:
    later = NOON + timedelta(days=1)

    assert not needs_tries(a_cycle(attempts_count=2), a_payment(), since=later)
    assert needs_tries(a_cycle(attempts_count=2, twice=True), a_payment(), since=later)
    assert not needs_tries(a_cycle(attempts_count=2), a_payment("FAILED"), since=NOON)


@pytest.mark.parametrize(
    ("ours", "schedule", "expected"),
    [
        (a_booked_cycle(), a_schedule(), []),
        (a_booked_cycle(), a_schedule("STARTED"), []),
        (a_booked_cycle(), a_schedule("SUCCEEDED"), []),
        (a_booked_cycle(), a_schedule("FAILED"), []),
        (a_booked_cycle(), a_schedule(time_to_pay=DUE + timedelta(milliseconds=400)), []),
        (a_booked_cycle(), a_schedule(amount_minor=1), ["schedule_amount"]),
        (a_booked_cycle(), a_schedule(currency="USD"), ["schedule_amount"]),
        (a_booked_cycle(), a_schedule(time_to_pay=DUE + timedelta(hours=1)), ["schedule_time"]),
        (a_booked_cycle(), a_schedule("REVOKED"), ["schedule_revoked"]),
        (a_booked_cycle(revoke_reason="price"), a_schedule("REVOKED"), []),
        (a_booked_cycle(revoke_reason="price"), a_schedule(amount_minor=1), []),
        (a_booked_cycle(schedule_id=None), a_schedule(amount_minor=1), []),
        (a_booked_cycle(schedule_id="schedule-2"), a_schedule(), ["schedule_orphan"]),
        (a_booked_cycle(schedule_id="schedule-2"), a_schedule("REVOKED"), []),
        (a_cycle(CycleStatus.DUE), a_schedule(), ["schedule_orphan"]),
        (a_cycle(), a_schedule("STARTED"), ["schedule_orphan"]),
        (a_cycle(), a_schedule("SUCCEEDED"), []),
        (None, a_schedule(), ["unknown_cycle"]),
        (None, a_schedule(payment_id="shoporder1"), ["schedule_foreign"]),
        (None, a_schedule("REVOKED"), []),
    ],
)
def test_a_schedule_is_named_by_what_differs(ours: OurCycle | None, schedule: Schedule, expected: list[str]) -> None:
    assert names(compare_schedule(ours, schedule)) == expected


@pytest.mark.parametrize(
    ("ours", "remedy"),
    [
        (a_cycle(CycleStatus.DUE), "booked again"),
        (a_cycle(CycleStatus.SKIPPED, attempt_status=None), "to be taken back"),
        (a_cycle(CycleStatus.PAID), "in PortOne's console"),
    ],
)
def test_an_orphan_says_what_becomes_of_it(ours: OurCycle, remedy: str) -> None:
    [orphan] = compare_schedule(ours, a_schedule())

    assert remedy in orphan.what


def test_a_skipped_cycle_is_forgotten_unless_its_attempt_is_still_followed() -> None:
    assert a_cycle(CycleStatus.SKIPPED, attempt_status=None).forgotten
    assert a_cycle(CycleStatus.SKIPPED, attempt_status=AttemptStatus.REVOKED).forgotten
    assert not a_cycle(CycleStatus.SKIPPED, attempt_status=AttemptStatus.OPEN).forgotten
    assert not a_cycle(CycleStatus.GIVEN_UP, attempt_status=AttemptStatus.DECLINED).forgotten


@given(ours=st.one_of(st.none(), cycles), status=statuses)
def test_a_schedule_that_may_charge_what_is_not_booked_is_never_passed_over(ours: OurCycle | None, status: str) -> None:
    found = compare_schedule(ours, a_schedule(status))

    assert bool(found) == (status in {"SCHEDULED", "STARTED", "PENDING"})


def test_a_booking_that_portone_does_not_know_is_missing_unless_it_is_being_taken_back() -> None:
    assert names(missing_schedule(a_booked_cycle(), Absent())) == ["schedule_missing"]
    assert missing_schedule(a_booked_cycle(revoke_reason="price"), Absent()) == ()
    assert missing_schedule(a_booked_cycle(schedule_id=None), Absent()) == ()
    assert missing_schedule(a_cycle(), Absent()) == ()


@given(ours=st.one_of(st.none(), cycles), payment=paid_payments)
def test_nobody_is_told_a_sentence_that_cannot_be_kept(ours: OurCycle | None, payment: Any) -> None:
    for each in compare_payment(A_PAYMENT_ID, ours, payment):
        assert 0 < len(each.what) <= 500
        assert each.schedule_id == ""


def test_strangers_are_left_alone() -> None:
    assert not STRANGERS & WORTH_A_LOOK


@given(
    minutes=st.integers(0, 500_000),
    at=st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
)
def test_the_next_night_is_within_a_day_and_at_that_time(minutes: int, at: time) -> None:
    now = NOON + timedelta(minutes=minutes)

    found = next_night(now, at)

    assert timedelta() < found - now <= timedelta(days=1)
    assert (found + timedelta(hours=9)).time() == at
