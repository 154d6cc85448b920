"""Bookings, whatever is found at whatever time: what is never believed, ended, sent again or waited for without end."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.booking import BookedAt, Revoke, WeighedBooking, booked_one, weigh_booking
from billing_worker.billing.charging import Contradiction, Resend, Revoked, Voided, Wait, differences
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    PAYMENT_PAID,
    PAYMENT_PENDING,
    Absent,
    Booked,
    BookingOutcome,
    Declined,
    Look,
    NoVerdict,
    Paid,
    Payment,
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
MAY_BE_CHARGED_BY = {"SCHEDULED", "STARTED", "PENDING"}

spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))
around = st.timedeltas(min_value=timedelta(days=-9), max_value=timedelta(days=9))
moments = st.sampled_from([NOON, TIME]).flatmap(lambda moment: around.map(lambda off: moment + off))


@st.composite
def payments(draw: st.DrawFn) -> Payment:
    return a_payment(
        draw(st.sampled_from(["PAID", "PARTIAL_CANCELLED", "CANCELLED", "FAILED", *sorted(PAYMENT_PENDING), "NEW"])),
        transaction_id=draw(st.sampled_from(["tx-1", "tx-old"])),
        amount_minor=draw(st.sampled_from([9900, 100])),
        store_id=draw(st.sampled_from(["store-test", "store-other"])),
        is_test=draw(st.sampled_from([True, False, None])),
        changed_at=draw(moments),
    )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    return a_schedule(
        draw(st.sampled_from(["SCHEDULED", "STARTED", "PENDING", "SUCCEEDED", "FAILED", "REVOKED", "NEW"])),
        schedule_id=draw(st.sampled_from(["schedule-1", "schedule-2"])),
        payment_id=draw(st.sampled_from([a_booking().payment_id] * 3 + ["rb1other"])),
        amount_minor=draw(st.sampled_from([9900, 9900, 100])),
        billing_key_matches=draw(st.sampled_from([True, None, False])),
        time_to_pay=draw(st.one_of(st.just(TIME), moments)),
        created_at=draw(st.one_of(st.none(), moments)),
    )


@st.composite
def bookings(draw: st.DrawFn) -> Attempt:
    return a_booking(
        time_to_pay=draw(st.sampled_from([TIME, NOON + timedelta(minutes=11), NOON + timedelta(hours=2)])),
        schedule_id=draw(st.sampled_from([None, "schedule-1", "schedule-2"])),
        revoke_reason=draw(st.sampled_from([None, "cancelled"])),
        cycle_status=draw(st.sampled_from([CycleStatus.COLLECTING, CycleStatus.HELD, CycleStatus.SKIPPED])),
        looks=draw(st.integers(1, 40)),
        last_sent_at=NOON + draw(st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=3))),
        older_transaction_ids=draw(st.sampled_from([frozenset(), frozenset({"tx-old"})])),
    )


schedule_looks = st.one_of(schedules(), st.just(Absent()), st.just(Unanswered("no answer")))
looks = st.one_of(payments(), st.just(Absent()), st.just(Unanswered("no answer")))
answers = st.sampled_from(
    [None, None, NoVerdict("silence"), Booked("schedule-1"), Refused("INVALID_REQUEST", "no", RefusalScope.CYCLE)]
)
worlds = st.tuples(bookings(), schedule_looks, looks)
World = tuple[Attempt, ScheduleLook, Look]


def weighed(
    world: World, after: timedelta, answer: BookingOutcome | None = None, slept: timedelta = timedelta()
) -> WeighedBooking:
    attempt, schedule, payment = world
    now = NOON + after
    return weigh_booking(attempt, schedule, payment, asked_at=now - slept, now=now, rules=RULES, answer=answer)


@given(world=worlds, after=spans, answer=answers)
def test_a_payment_is_never_believed_that_is_not_what_we_asked_for(
    world: World, after: timedelta, answer: BookingOutcome | None
) -> None:
    attempt, _, payment = world

    if isinstance(weighed(world, after, answer), Paid):
        assert isinstance(payment, Payment)
        assert payment.status in PAYMENT_PAID
        assert differences(attempt, payment, RULES) == ()


@given(world=worlds, after=spans, answer=answers, slept=spans)
def test_nothing_ends_unpaid_while_portone_may_charge_by_it_or_nobody_knows(
    world: World, after: timedelta, answer: BookingOutcome | None, slept: timedelta
) -> None:
    _, schedule, payment = world

    found = weighed(world, after, answer, slept)

    if isinstance(found, Voided | Revoked | Declined | Refused):
        assert not isinstance(schedule, Unanswered)
        assert not isinstance(payment, Unanswered)
        assert not isinstance(schedule, Schedule) or schedule.status in {"FAILED", "REVOKED"}


@given(world=worlds, after=spans, answer=answers)
def test_no_booking_is_sent_again_near_its_time_or_when_the_key_may_be_forgotten_or_when_it_is_there(
    world: World, after: timedelta, answer: BookingOutcome | None
) -> None:
    attempt, schedule, _ = world

    if isinstance(weighed(world, after, answer), Resend):
        assert attempt.time_to_pay is not None
        assert NOON + after < attempt.time_to_pay - RULES.book_near
        assert after < RULES.resend_until
        assert schedule == Absent()
        assert attempt.schedule_id is None
        assert attempt.revoke_reason is None


@given(world=worlds, after=spans, answer=answers)
def test_what_has_been_paid_is_never_revoked_declined_or_voided(
    world: World, after: timedelta, answer: BookingOutcome | None
) -> None:
    attempt, _, payment = world

    if isinstance(payment, Payment) and payment.status in PAYMENT_PAID:
        found = weighed(world, after, answer)

        # Of a period that a person has skipped, money that is not ours is not put before him at every look for ever.
        skipped = attempt.cycle_status is CycleStatus.SKIPPED and differences(attempt, payment, RULES)
        assert isinstance(found, Paid | Contradiction) or (skipped and isinstance(found, Voided))


@given(world=worlds, after=spans, answer=answers)
def test_only_what_we_want_back_is_taken_back(world: World, after: timedelta, answer: BookingOutcome | None) -> None:
    attempt, schedule, _ = world

    found = weighed(world, after, answer)

    if isinstance(found, Revoke | Revoked):
        assert attempt.revoke_reason is not None
    if isinstance(found, Revoke):
        assert isinstance(schedule, Schedule)
        assert (schedule.status, schedule.payment_id) == ("SCHEDULED", attempt.payment_id)
        assert found.schedule_id == schedule.schedule_id


@given(world=worlds, after=spans)
def test_a_decline_is_never_taken_from_an_older_try(world: World, after: timedelta) -> None:
    attempt, schedule, payment = world

    if isinstance(weighed(world, after), Declined):
        assert isinstance(payment, Payment)
        assert payment.status == "FAILED"
        assert payment.transaction_id not in attempt.older_transaction_ids
        assert attempt.time_to_pay is not None
        told = schedule.time_to_pay if isinstance(schedule, Schedule) else attempt.time_to_pay
        assert payment.changed_at >= min(told, attempt.time_to_pay) - RULES.clock_skew_max


@given(world=worlds, after=spans, answer=answers)
def test_whoever_waits_is_asked_again_later_than_now_and_soon_or_after_its_time(
    world: World, after: timedelta, answer: BookingOutcome | None
) -> None:
    now = NOON + after

    found = weighed(world, after, answer)

    if isinstance(found, Wait | BookedAt):
        assert found.look_at > now
        assert found.look_at <= max(now + RULES.ask_widest, last_time_of(world) + RULES.book_grace)


def last_time_of(world: World) -> datetime:
    attempt, schedule, _ = world
    assert attempt.time_to_pay is not None
    return max(attempt.time_to_pay, schedule.time_to_pay) if isinstance(schedule, Schedule) else attempt.time_to_pay


@given(
    booking=bookings(),
    payment=st.one_of(st.just(Absent()), payments().filter(lambda one: one.status in {"PAID", "FAILED", "CANCELLED"})),
    schedule=st.one_of(st.just(Absent()), schedules().filter(lambda one: one.status in {"FAILED", "REVOKED"})),
)
def test_what_does_not_change_any_more_at_portone_ends_or_is_put_before_a_person(
    booking: Attempt, payment: Look, schedule: ScheduleLook
) -> None:
    # given
    in_time = replace(booking, cycle_status=CycleStatus.COLLECTING)
    late = timedelta(days=30)

    # when
    found = weighed((in_time, schedule, payment), late)

    # then
    assert isinstance(found, Paid | Declined | Voided | Revoked | Contradiction)


@given(booking=bookings(), listed=st.lists(schedules(), max_size=4))
def test_the_schedule_that_counts_is_this_payment_s_and_none_that_ended_hides_one_that_has_not(
    booking: Attempt, listed: list[Schedule]
) -> None:
    # given
    ours = [one for one in listed if one.payment_id == booking.payment_id]
    open_ones = [one for one in ours if one.status not in {"FAILED", "REVOKED"}]

    # when
    chosen = booked_one(booking, listed, RULES)

    # then
    assert chosen == Absent() or chosen in ours
    assert not open_ones or chosen in open_ones
