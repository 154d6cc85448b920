"""Bookings: what the answer, the schedule and the payment prove of a charge that PortOne makes by itself."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from billing_worker.billing.booking import (
    BookedAt,
    Revoke,
    WeighedBooking,
    schedule_differences,
    verdict_of_booking,
    weigh_booking,
)
from billing_worker.billing.charging import (
    Contradiction,
    Revoked,
    Wait,
)
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    PAYMENT_PENDING,
    Absent,
    Booked,
    BookingOutcome,
    Declined,
    Look,
    NoVerdict,
    Paid,
    RefusalScope,
    Refused,
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


# --- the answer -----------------------------------------------------------------------------------------------------


def verdict(outcome: BookingOutcome, *, only_send: bool = True, now: datetime = NOON) -> object:
    return verdict_of_booking(a_booking(), outcome, only_send=only_send, now=now, rules=RULES)


@pytest.mark.parametrize("only_send", [True, False])
def test_a_booking_that_portone_took_is_asked_about_after_its_time(only_send: bool) -> None:
    assert verdict(Booked("schedule-9"), only_send=only_send) == BookedAt("schedule-9", TIME + RULES.book_grace)


def test_an_answer_that_comes_after_its_time_is_followed_by_a_look_soon() -> None:
    over = TIME + RULES.book_grace

    assert verdict(Booked("schedule-9"), now=over - SECOND) == BookedAt("schedule-9", over)
    assert verdict(Booked("schedule-9"), now=over) == BookedAt("schedule-9", over + SOON)


def test_a_refused_booking_is_believed_only_when_it_was_sent_once() -> None:
    assert verdict(REFUSED) == REFUSED
    assert verdict(REFUSED, only_send=False) is None


@pytest.mark.parametrize("only_send", [True, False])
def test_a_silence_proves_nothing_of_a_booking(only_send: bool) -> None:
    assert verdict(SILENCE, only_send=only_send) is None


# --- a payment comes before every schedule --------------------------------------------------------------------------


SCHEDULES = [
    *(a_schedule(status) for status in ("SCHEDULED", "STARTED", "PENDING", "SUCCEEDED", "FAILED", "REVOKED", "NEW")),
    NOTHING,
    Unanswered("no answer"),
]


@pytest.mark.parametrize("reason", [None, "cancelled"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: getattr(one, "status", repr(one)))
def test_a_payment_that_is_there_is_adopted_whatever_its_schedule_says(
    schedule: ScheduleLook, reason: str | None
) -> None:
    found = weighed(a_booking(revoke_reason=reason), schedule, a_payment())

    assert found == Paid("pg-1", NOON + SECOND, transaction_id="tx-1")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: getattr(one, "status", repr(one)))
def test_a_payment_that_is_not_what_we_asked_for_is_put_before_a_person(schedule: ScheduleLook) -> None:
    found = weighed(a_booking(), schedule, a_payment(amount_minor=1))

    assert found == Contradiction("amount is 1, asked for 9900")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: getattr(one, "status", repr(one)))
@pytest.mark.parametrize("status", [*sorted(PAYMENT_PENDING), "BRAND_NEW"])
def test_a_payment_under_way_is_waited_for_whatever_its_schedule_says(schedule: ScheduleLook, status: str) -> None:
    found = weighed(a_booking(), schedule, a_payment(status), at=AFTER)

    assert found == Wait(AFTER + SOON, f"payment is {status}")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: getattr(one, "status", repr(one)))
def test_an_unanswered_look_at_the_payment_is_never_a_verdict(schedule: ScheduleLook) -> None:
    late = TIME + timedelta(days=30)

    found = weighed(a_booking(revoke_reason="cancelled"), schedule, Unanswered("HTTP 503"), at=late)

    assert found == Wait(late + SOON, "HTTP 503")


# --- a charge that failed -------------------------------------------------------------------------------------------


FAILED = a_payment("FAILED", failure_code="51", failure_message="잔액부족", changed_at=TIME + SECOND)
AFTER = TIME + RULES.book_grace


@pytest.mark.parametrize("reason", [None, "cancelled"])
@pytest.mark.parametrize(
    "schedule", [a_schedule("FAILED"), a_schedule("REVOKED"), NOTHING], ids=lambda one: getattr(one, "status", "none")
)
def test_a_charge_that_failed_when_its_time_had_come_is_a_decline(schedule: ScheduleLook, reason: str | None) -> None:
    found = weighed(a_booking(revoke_reason=reason, **KNOWN), schedule, FAILED, at=AFTER)

    assert found == Declined("51", "잔액부족", "tx-1")


@pytest.mark.parametrize("status", ["SCHEDULED", "STARTED", "PENDING", "SUCCEEDED", "NEW"])
def test_a_failed_charge_is_no_decline_while_its_schedule_may_be_charged_by_again(status: str) -> None:
    assert isinstance(weighed(a_booking(**KNOWN), a_schedule(status), FAILED, at=AFTER), Wait)


def test_a_failed_charge_is_no_decline_while_nobody_says_how_its_schedule_stands() -> None:
    found = weighed(a_booking(**KNOWN), Unanswered("HTTP 500"), FAILED, at=AFTER)

    assert found == Wait(AFTER + SOON, "HTTP 500")


def test_a_failure_from_before_its_time_is_an_older_try_s() -> None:
    # given
    booking, failed = a_booking(**KNOWN), a_schedule("FAILED")
    first = replace(FAILED, changed_at=TIME - RULES.clock_skew_max)
    older = replace(FAILED, changed_at=TIME - RULES.clock_skew_max - SECOND)

    # when, then
    assert isinstance(weighed(booking, failed, first, at=AFTER), Declined)
    assert isinstance(weighed(booking, failed, older, at=AFTER), Wait)
    assert isinstance(weighed(booking, NOTHING, first, at=AFTER), Declined)
    assert isinstance(weighed(booking, NOTHING, older, at=AFTER), Wait)


def test_a_try_that_is_known_to_be_older_is_no_decline_whenever_it_changed() -> None:
    booking = a_booking(older_transaction_ids=frozenset({"tx-1"}), **KNOWN)

    assert isinstance(weighed(booking, a_schedule("FAILED"), FAILED, at=AFTER), Wait)


def test_a_charge_that_a_person_brought_forward_at_portone_is_a_decline_from_its_new_time_on() -> None:
    # given
    earlier = TIME - timedelta(days=1)
    failed = replace(FAILED, changed_at=earlier)

    # when, then
    assert isinstance(weighed(a_booking(**KNOWN), a_schedule("FAILED", time_to_pay=earlier), failed), Declined)
    assert isinstance(weighed(a_booking(**KNOWN), a_schedule("FAILED"), failed), Wait)


# --- it is booked ---------------------------------------------------------------------------------------------------


def test_a_booking_whose_answer_was_lost_is_found_and_asked_about_after_its_time() -> None:
    assert weighed(a_booking(), a_schedule()) == BookedAt("schedule-1", TIME + RULES.book_grace)


def test_a_booking_that_stands_under_another_name_takes_that_name() -> None:
    found = weighed(a_booking(schedule_id="schedule-0"), a_schedule())

    assert found == BookedAt("schedule-1", TIME + RULES.book_grace)


def test_a_booking_that_is_known_is_waited_for_until_after_its_time() -> None:
    booking = a_booking(**KNOWN)

    assert weighed(booking, a_schedule()) == Wait(AFTER, "PortOne has not charged yet")
    assert weighed(booking, a_schedule(), at=AFTER - SECOND) == Wait(AFTER, "PortOne has not charged yet")
    # Nobody says when PortOne keeps its time, so a late one is waited for.
    assert weighed(booking, a_schedule(), at=AFTER) == Wait(AFTER + SOON, "PortOne has not charged yet")


def test_a_time_that_a_person_changed_at_portone_is_waited_for() -> None:
    # given
    later = TIME + timedelta(days=2)
    booking = a_booking(**KNOWN)

    # when
    found = weighed(booking, a_schedule(time_to_pay=later))

    # then
    assert found == Wait(later + RULES.book_grace, f"its time was changed at PortOne to {later.isoformat()}")
    assert weighed(a_booking(), a_schedule(time_to_pay=later)) == BookedAt("schedule-1", later + RULES.book_grace)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_time_is_the_same_within_a_second(sign: int) -> None:
    def reason(off: timedelta) -> str:
        found = weighed(a_booking(**KNOWN), a_schedule(time_to_pay=TIME + sign * off))
        assert isinstance(found, Wait)
        return found.reason

    assert reason(SECOND - timedelta(microseconds=1)) == "PortOne has not charged yet"
    assert "changed" in reason(SECOND)


@pytest.mark.parametrize("known", [{}, KNOWN])
@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"amount_minor": 9901}, "scheduled amount is 9901, asked for 9900"),
        ({"currency": "USD"}, "scheduled currency is USD, asked for KRW"),
        ({"store_id": "store-other"}, "scheduled store is another one"),
        ({"billing_key_matches": False}, "scheduled billing key is another one"),
        ({"payment_id": "rb1other"}, "its schedule is another payment's"),
    ],
)
def test_a_booking_that_is_not_what_we_asked_for_is_put_before_a_person(
    changes: dict[str, object], word: str, known: dict[str, str]
) -> None:
    assert weighed(a_booking(**known), a_schedule(**changes)) == Contradiction(word)


def test_a_billing_key_that_was_not_compared_is_no_difference() -> None:
    assert schedule_differences(a_booking(), a_schedule(billing_key_matches=None), RULES) == ()
    assert schedule_differences(a_booking(), a_schedule(billing_key_matches=True), RULES) == ()


def test_every_difference_of_a_booking_is_named() -> None:
    schedule = a_schedule(amount_minor=1, currency="USD", store_id="x", billing_key_matches=False, payment_id="y")

    found = weighed(a_booking(), schedule)

    assert isinstance(found, Contradiction)
    assert found.what.count("; ") == 4


# --- it is to be taken back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, KNOWN, {"schedule_id": "schedule-0"}])
@pytest.mark.parametrize("at", [NOON, TIME - SECOND, TIME + timedelta(days=1)])
def test_a_booking_that_is_to_be_taken_back_is_revoked_by_the_name_it_stands_under(
    known: dict[str, str], at: datetime
) -> None:
    # What is wrong with it is no reason to let it be charged.
    assert weighed(a_booking(revoke_reason="price", **known), a_schedule(amount_minor=1), at=at) == Revoke("schedule-1")


def test_another_payment_s_booking_is_not_taken_back() -> None:
    found = weighed(a_booking(revoke_reason="price", **KNOWN), a_schedule(payment_id="rb1other"))

    assert found == Contradiction("its schedule is another payment's")


@pytest.mark.parametrize("status", ["STARTED", "PENDING", "SUCCEEDED", "NEW"])
def test_a_booking_that_portone_has_begun_to_charge_by_is_waited_for_although_it_is_not_wanted(status: str) -> None:
    found = weighed(a_booking(revoke_reason="cancelled", **KNOWN), a_schedule(status), at=AFTER)

    assert found == Wait(AFTER + SOON, f"schedule is {status}")


@pytest.mark.parametrize("payment", [NOTHING, a_payment("FAILED", changed_at=NOON - timedelta(days=20))])
def test_a_booking_that_was_taken_back_is_revoked_if_we_had_asked_for_it(payment: Look) -> None:
    # given
    wanted, unasked = a_booking(revoke_reason="card", **KNOWN), a_booking(**KNOWN)

    # when, then
    assert weighed(wanted, a_schedule("REVOKED"), payment, at=NOON + RULES.at_work_for) == Revoked()
    assert weighed(unasked, a_schedule("REVOKED"), payment) == Contradiction(
        "its schedule was revoked at PortOne, and not by us"
    )


def test_what_was_taken_back_is_over_when_no_send_of_it_can_be_on_its_way() -> None:
    # given
    sent_again_at = NOON + timedelta(minutes=5)
    booking = a_booking(revoke_reason="cancelled", last_sent_at=sent_again_at, **KNOWN)
    at_rest = sent_again_at + RULES.at_work_for
    early = at_rest - SECOND

    # when, then
    assert weighed(booking, a_schedule("REVOKED"), at=early) == Wait(
        early + SOON, "a send of it may still be on its way"
    )
    assert weighed(booking, a_schedule("REVOKED"), at=at_rest) == Revoked()
    assert isinstance(weighed(booking, a_schedule("REVOKED"), at=at_rest, slept=SECOND), Wait)


def test_what_is_not_there_is_revoked_when_it_can_no_longer_arrive() -> None:
    # given
    sent_at = NOON + timedelta(minutes=5)
    booking = a_booking(revoke_reason="cancelled", last_sent_at=sent_at)
    arrived = sent_at + RULES.at_work_for + RULES.book_lost_after
    early = arrived - SECOND

    # when, then
    assert weighed(booking, NOTHING, at=early) == Wait(early + SOON, "it may still be on its way")
    assert weighed(booking, NOTHING, at=arrived) == Revoked()
    assert isinstance(weighed(booking, NOTHING, at=arrived, slept=SECOND), Wait)


@pytest.mark.parametrize("status", [CycleStatus.HELD, CycleStatus.SKIPPED])
def test_a_booking_is_taken_back_for_a_person_who_has_decided(status: CycleStatus) -> None:
    booking = a_booking(cycle_status=status, revoke_reason="held", **KNOWN)

    assert weighed(booking, a_schedule()) == Revoke("schedule-1")
    assert weighed(booking, a_schedule("REVOKED"), at=NOON + RULES.at_work_for) == Revoked()


def test_a_booking_that_portone_had_named_is_not_gone_before_its_time_is_over() -> None:
    # given
    booking = a_booking(revoke_reason="cancelled", **KNOWN)
    lost = TIME + RULES.book_lost_after

    # when, then
    assert isinstance(weighed(booking, NOTHING, at=lost - SECOND), Wait)
    assert weighed(booking, NOTHING, at=lost) == Revoked()
