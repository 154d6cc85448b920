"""Bookings that PortOne has begun, has lost or never had, and which of several schedules is a booking's own."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from billing_worker.billing.booking import (
    BookedAt,
    Revoke,
    WeighedBooking,
    booked_one,
    weigh_booking,
)
from billing_worker.billing.charging import (
    Contradiction,
    Resend,
    Voided,
    Wait,
)
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    Absent,
    Booked,
    BookingOutcome,
    Look,
    NoVerdict,
    RefusalScope,
    Refused,
    Schedule,
    ScheduleLook,
    Unanswered,
)
from billing_worker.billing.states import CycleStatus
from tests.builders import NOON, a_payment, some_rules
from tests.sound_bookings import TIME, a_booking, a_schedule

RULES = some_rules()
SECOND = timedelta(seconds=1)
SOON = RULES.ask_first  # the first of the looks that are ever further apart
REFUSED = Refused("INVALID_REQUEST", "no", RefusalScope.CYCLE)
SILENCE = NoVerdict("no answer")
NOTHING = Absent()
KNOWN = {"schedule_id": "schedule-1"}
AFTER = TIME + RULES.book_grace


def weighed(
    attempt: Attempt,
    schedule: ScheduleLook,
    payment: Look = NOTHING,
    *,
    at: datetime = NOON + SECOND,
    slept: timedelta = timedelta(),
    answer: BookingOutcome | None = None,
) -> WeighedBooking:
    return weigh_booking(attempt, schedule, payment, asked_at=at - slept, now=at, rules=RULES, answer=answer)


# --- PortOne has charged, or says so --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["STARTED", "PENDING", "NEW"])
@pytest.mark.parametrize("looks", [1, 50])
def test_a_schedule_that_is_charged_by_is_waited_for_however_long_it_takes(status: str, looks: int) -> None:
    late = TIME + timedelta(days=90)

    found = weighed(a_booking(looks=looks, **KNOWN), a_schedule(status), at=late)

    assert isinstance(found, Wait)
    assert found.reason == f"schedule is {status}"


def test_a_success_without_a_payment_is_put_before_a_person_an_hour_after_its_time_however_often_it_was_asked() -> None:
    # given
    looked_at = a_booking(looks=50, **KNOWN)
    late = TIME + RULES.book_lost_after

    # when, then
    assert isinstance(weighed(looked_at, a_schedule("SUCCEEDED"), at=late - SECOND), Wait)
    assert weighed(looked_at, a_schedule("SUCCEEDED"), at=late) == Contradiction(
        "PortOne says that its schedule succeeded and shows no payment"
    )


@pytest.mark.parametrize("payment", ["READY", "PAY_PENDING", "NEW"])
def test_a_booking_that_is_not_wanted_is_taken_back_although_its_payment_is_there_and_pending(payment: str) -> None:
    # given
    unwanted, wanted = a_booking(revoke_reason="cancelled", **KNOWN), a_booking(**KNOWN)
    waiting, begun, foreign = a_schedule(), a_schedule("STARTED"), a_schedule(payment_id="another")

    # when, then
    assert weighed(unwanted, waiting, a_payment(payment)) == Revoke("schedule-1")
    for attempt, schedule in ((wanted, waiting), (unwanted, begun), (unwanted, foreign), (unwanted, NOTHING)):
        assert isinstance(weighed(attempt, schedule, a_payment(payment)), Wait)


@pytest.mark.parametrize("status", ["REVOKED", "FAILED"])
@pytest.mark.parametrize("reason", ["cancelled", None])
def test_a_payment_that_goes_on_pending_when_its_schedule_has_ended_is_a_person_s_and_ends_nothing(
    status: str, reason: str | None
) -> None:
    # given
    booking, pending = a_booking(revoke_reason=reason, **KNOWN), a_payment("PAY_PENDING")
    late = TIME + RULES.book_lost_after

    # when, then
    assert isinstance(weighed(booking, a_schedule(status), pending, at=late - SECOND), Wait)
    assert weighed(booking, a_schedule(status), pending, at=late) == Contradiction(
        f"its schedule is {status}, and its payment goes on being PAY_PENDING"
    )


@pytest.mark.parametrize("schedule", [a_schedule("REVOKED"), a_schedule("SUCCEEDED"), NOTHING], ids=repr)
def test_money_that_is_not_ours_for_a_skipped_period_is_told_once_and_ends(schedule: ScheduleLook) -> None:
    # given
    skipped = a_booking(cycle_status=CycleStatus.SKIPPED, revoke_reason="skipped", **KNOWN)
    strange = a_payment(amount_minor=1)
    what = "amount is 1, asked for 9900"

    # when, then
    assert weighed(skipped, schedule, strange) == Voided(what)
    assert weighed(replace(skipped, contradiction=what), schedule, strange) == Voided()
    assert weighed(replace(skipped, contradiction="another"), schedule, strange) == Voided(what)


def test_a_failure_without_a_payment_is_voided_only_when_no_payment_can_appear_any_more() -> None:
    # given
    lost = TIME + RULES.book_lost_after
    booking, failed = a_booking(**KNOWN), a_schedule("FAILED")
    moved = a_schedule("FAILED", time_to_pay=TIME + timedelta(hours=2))

    # when, then
    assert weighed(booking, failed, at=lost - SECOND) == Wait(
        lost - SECOND + SOON, "schedule is FAILED and shows no payment yet"
    )
    assert weighed(booking, failed, at=lost) == Voided()
    assert isinstance(weighed(booking, failed, at=lost, slept=SECOND), Wait)
    assert isinstance(weighed(booking, moved, at=lost), Wait)
    assert weighed(booking, moved, at=lost + timedelta(hours=2)) == Voided()


def test_a_failure_without_a_payment_is_left_to_the_person_who_decides() -> None:
    # given
    lost = TIME + RULES.book_lost_after
    held = a_booking(cycle_status=CycleStatus.HELD, **KNOWN)

    # when, then
    assert isinstance(weighed(held, a_schedule("FAILED"), at=lost), Wait)
    assert weighed(replace(held, revoke_reason="held"), a_schedule("FAILED"), at=lost) == Voided()


# --- PortOne knows nothing ------------------------------------------------------------------------------------------


def test_what_never_arrived_is_sent_again_while_the_key_is_remembered_and_its_time_is_not_near() -> None:
    # given
    far, near = a_booking(), a_booking(time_to_pay=NOON + timedelta(hours=1))
    forgotten = NOON + RULES.resend_until
    too_near = NOON + timedelta(hours=1) - RULES.book_near

    # when, then
    assert weighed(far, NOTHING, at=forgotten - SECOND) == Resend()
    assert weighed(far, NOTHING, at=forgotten) == Wait(forgotten + SOON, "PortOne knows neither schedule nor payment")
    assert weighed(near, NOTHING, at=too_near - SECOND) == Resend()
    assert isinstance(weighed(near, NOTHING, at=too_near), Wait)


def test_an_older_try_s_failure_beside_it_changes_nothing() -> None:
    older = a_payment("FAILED", changed_at=NOON - timedelta(days=20))

    assert weighed(a_booking(), NOTHING, older) == Resend()


def test_what_portone_had_named_is_never_sent_again() -> None:
    assert isinstance(weighed(a_booking(**KNOWN), NOTHING), Wait)


def test_what_never_arrived_is_voided_after_a_day_and_at_the_latest_an_hour_after_its_time() -> None:
    # given
    sent_at = NOON + timedelta(hours=1)
    far = a_booking(last_sent_at=sent_at)
    near = a_booking(time_to_pay=NOON + timedelta(hours=4), last_sent_at=sent_at)
    day = sent_at + RULES.void_after
    hour = NOON + timedelta(hours=4) + RULES.book_lost_after

    # when, then
    assert isinstance(weighed(far, NOTHING, at=day - SECOND), Wait)
    assert weighed(far, NOTHING, at=day) == Voided()
    assert isinstance(weighed(far, NOTHING, at=day, slept=SECOND), Wait)
    assert isinstance(weighed(near, NOTHING, at=hour - SECOND), Wait)
    assert weighed(near, NOTHING, at=hour) == Voided()


def test_what_portone_had_named_is_not_voided_before_an_hour_after_its_time() -> None:
    lost = TIME + RULES.book_lost_after

    assert isinstance(weighed(a_booking(**KNOWN), NOTHING, at=lost - SECOND), Wait)
    assert weighed(a_booking(**KNOWN), NOTHING, at=lost) == Voided()


def test_a_send_that_came_late_has_its_hour_as_well() -> None:
    # given
    sent_at = TIME + timedelta(minutes=5)
    lost = sent_at + RULES.at_work_for + RULES.book_lost_after
    booking = a_booking(last_sent_at=sent_at)

    # when, then
    assert isinstance(weighed(booking, NOTHING, at=lost - SECOND), Wait)
    assert weighed(booking, NOTHING, at=lost) == Voided()


@pytest.mark.parametrize("after", [SECOND, timedelta(days=9)])
def test_nothing_is_sent_or_voided_for_a_cycle_that_a_person_decides_about(after: timedelta) -> None:
    held = a_booking(cycle_status=CycleStatus.HELD)

    assert weighed(held, NOTHING, at=NOON + after) == Wait(NOON + after + SOON, "a person decides about the cycle")


@pytest.mark.parametrize("answer", [SILENCE, Booked("schedule-1"), REFUSED])
@pytest.mark.parametrize("reason", [None, "cancelled"])
def test_an_answer_that_the_looks_do_not_confirm_is_asked_about_again(
    answer: BookingOutcome, reason: str | None
) -> None:
    assert weighed(a_booking(revoke_reason=reason), NOTHING, answer=answer) == Wait(
        NOON + SECOND + SOON, "the answer is not confirmed yet"
    )


def test_what_was_refused_and_is_not_there_was_refused_once_every_earlier_send_has_ended() -> None:
    # given
    ended = NOON + RULES.at_work_for

    # when, then
    assert isinstance(weighed(a_booking(), NOTHING, answer=REFUSED, at=ended - SECOND), Wait)
    assert weighed(a_booking(), NOTHING, answer=REFUSED, at=ended) == REFUSED
    assert isinstance(weighed(a_booking(), NOTHING, answer=REFUSED, at=ended, slept=SECOND), Wait)
    assert isinstance(weighed(a_booking(), NOTHING, answer=SILENCE, at=ended), Wait)
    assert isinstance(weighed(a_booking(), a_schedule(), answer=REFUSED, at=ended), BookedAt)


@pytest.mark.parametrize("payment", [NOTHING, a_payment("FAILED", changed_at=NOON - timedelta(days=20))])
def test_an_unanswered_look_at_the_schedule_is_never_a_verdict(payment: Look) -> None:
    late = TIME + timedelta(days=30)

    found = weighed(a_booking(revoke_reason="cancelled"), Unanswered("HTTP 503"), payment, at=late)

    assert found == Wait(late + SOON, "HTTP 503")


def test_only_a_booking_can_be_weighed_as_one() -> None:
    with pytest.raises(AssertionError):
        weighed(a_booking(time_to_pay=None), NOTHING)


# --- which schedule is ours -----------------------------------------------------------------------------------------


def chosen(*schedules: Schedule, **changes: object) -> Schedule | Absent:
    return booked_one(a_booking(**changes), schedules, RULES)


@pytest.mark.parametrize("status", ["SCHEDULED", "STARTED", "PENDING", "SUCCEEDED", "NEW"])
def test_a_schedule_that_may_be_charged_by_is_ours_whoever_made_it(status: str) -> None:
    # given
    old = a_schedule(status, created_at=NOON - timedelta(days=9))
    ended = a_schedule("REVOKED", schedule_id="schedule-2", created_at=NOON + SECOND)

    # when, then
    assert chosen(old) == old
    assert chosen(ended, old) == chosen(old, ended) == old
    assert chosen(old, schedule_id="schedule-9") == old


def test_another_payment_s_schedule_is_not_ours() -> None:
    assert chosen(a_schedule(payment_id="rb1other")) == Absent()
    assert chosen(a_schedule(payment_id="rb1other"), **KNOWN) == Absent()
    assert chosen() == Absent()


@pytest.mark.parametrize("status", ["REVOKED", "FAILED"])
def test_what_had_ended_before_the_attempt_was_opened_is_an_older_booking_s(status: str) -> None:
    # given
    first = a_schedule(status, created_at=NOON - RULES.clock_skew_max)
    older = a_schedule(status, created_at=NOON - RULES.clock_skew_max - SECOND)

    # when, then
    assert chosen(first) == first
    assert chosen(older) == Absent()
    assert chosen(replace(first, created_at=None)) == Absent()
    assert chosen(replace(first, amount_minor=1)) == Absent()
    assert chosen(older, **KNOWN) == older
    assert chosen(first, schedule_id="schedule-9") == Absent()


def test_of_several_that_have_ended_the_newest_counts() -> None:
    # given
    first = a_schedule("REVOKED", created_at=NOON)
    second = a_schedule("FAILED", schedule_id="schedule-2", created_at=NOON + SECOND)

    # when, then
    assert chosen(first, second) == chosen(second, first) == second


def test_of_several_that_may_be_charged_by_the_newest_counts() -> None:
    # given
    dateless = a_schedule(created_at=None)
    newer = a_schedule(schedule_id="schedule-2", created_at=NOON)

    # when, then
    assert chosen(dateless, newer) == chosen(newer, dateless) == newer
