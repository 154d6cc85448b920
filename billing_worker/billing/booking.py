"""Bookings: what PortOne's answer and its records prove of an attempt that PortOne shall charge by itself.

While the booking may still be charged by, nothing here ends it unpaid: its end makes the cycle due, and a charge of
ours may follow. A payment that is there comes before whatever its schedule says, and silence proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from billing_worker.billing import charging, outcomes
from billing_worker.billing.charging import (
    ChargingRules,
    Contradiction,
    Resend,
    Revoked,
    Voided,
    Wait,
)
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    Absent,
    Booked,
    BookingOutcome,
    Declined,
    Look,
    Paid,
    Payment,
    Refused,
    Schedule,
    ScheduleLook,
    Unanswered,
)
from billing_worker.billing.states import CycleStatus

# PortOne need not keep the fractions of a second that it was told.
_SAME_TIME_WITHIN = timedelta(seconds=1)

_ENDED_UNPAID = outcomes.SCHEDULE_FAILED | outcomes.SCHEDULE_REVOKED
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BookedAt:
    """PortOne has the booking under this name: write it down, and ask again at that moment."""

    schedule_id: str
    look_at: datetime


@dataclass(frozen=True, slots=True)
class Revoke:
    """Have PortOne take this booking back, and look again."""

    schedule_id: str


WeighedBooking = Paid | Declined | Refused | Voided | Resend | Wait | Contradiction | BookedAt | Revoke | Revoked


def verdict_of_booking(
    attempt: Attempt, outcome: BookingOutcome, *, only_send: bool, now: datetime, rules: ChargingRules
) -> BookedAt | Refused | None:
    """What the answer to a booking proves by itself, or None where only a look can tell.

    A refusal is believed of a booking that was sent once: an earlier send of the same one may have been taken.
    """
    if isinstance(outcome, Booked):
        return BookedAt(outcome.schedule_id, _when_over(attempt, _time_to_pay(attempt), now=now, rules=rules))
    return outcome if isinstance(outcome, Refused) and only_send else None


def booked_one(attempt: Attempt, schedules: Sequence[Schedule], rules: ChargingRules) -> Schedule | Absent:
    """The schedule of this attempt among those that PortOne lists. Absent if none is.

    One that has ended unpaid before the attempt was opened is an older booking's. One that may still be charged by is
    ours whoever made it: there is one at a time on a payment_id.
    """
    ours = [schedule for schedule in schedules if _is_of_attempt(attempt, schedule, rules)]
    return max(
        ours,
        key=lambda each: (each.status not in _ENDED_UNPAID, each.created_at or _LONG_AGO),
        default=Absent(),
    )


def schedule_differences(attempt: Attempt, schedule: Schedule, rules: ChargingRules) -> tuple[str, ...]:
    """In what PortOne's booking is not the one we asked for, its time left aside. Empty means that it may stand."""
    found: list[str] = []
    if schedule.payment_id != attempt.payment_id:
        found.append("its schedule is another payment's")
    if schedule.amount_minor != attempt.price.amount_minor:
        found.append(f"scheduled amount is {schedule.amount_minor}, asked for {attempt.price.amount_minor}")
    if schedule.currency != attempt.price.currency:
        found.append(f"scheduled currency is {schedule.currency}, asked for {attempt.price.currency}")
    if schedule.store_id != rules.store_id:
        found.append("scheduled store is another one")
    if schedule.billing_key_matches is False:
        found.append("scheduled billing key is another one")
    return tuple(found)


def weigh_booking(
    attempt: Attempt,
    schedule: ScheduleLook,
    payment: Look,
    *,
    asked_at: datetime,
    now: datetime,
    rules: ChargingRules,
    answer: BookingOutcome | None = None,
) -> WeighedBooking:
    """What the looks at schedule and payment prove of an open booking, beside the answer that came just before them.

    asked_at is the moment before the first of the two. The schedule is asked for before the payment: what has ended
    when the schedule was read has left its payment by the time that the payment is.
    """
    match payment:
        case Unanswered():
            return _wait(attempt, now, rules, payment.reason)
        case Payment() if payment.status in outcomes.PAYMENT_PAID:
            return _paid(attempt, schedule, payment, rules)
        case Payment() if payment.status not in outcomes.PAYMENT_FAILED:
            return _pending(attempt, schedule, payment, asked_at=asked_at, now=now, rules=rules)
        case Payment() | Absent():
            return _weigh_unpaid(attempt, schedule, payment, answer, asked_at=asked_at, now=now, rules=rules)


def _paid(
    attempt: Attempt, schedule: ScheduleLook, payment: Payment, rules: ChargingRules
) -> Paid | Contradiction | Voided:
    """The money, or in what it is not ours. Of a period that is skipped a person is told once, and then it ends."""
    compared = charging.compared(attempt, payment, rules)
    if isinstance(compared, Paid) or attempt.cycle_status is not CycleStatus.SKIPPED:
        return compared
    ended = isinstance(schedule, Schedule) and schedule.status in _ENDED_UNPAID | outcomes.SCHEDULE_SUCCEEDED
    if not ended and not isinstance(schedule, Absent):
        return compared
    # Whoever skipped it after that was said knew what there is.
    return Voided() if attempt.contradiction == compared.what else Voided(compared.what)


def _pending(
    attempt: Attempt,
    schedule: ScheduleLook,
    payment: Payment,
    *,
    asked_at: datetime,
    now: datetime,
    rules: ChargingRules,
) -> Wait | Contradiction | Revoke:
    """A payment that may still be paid, so that nothing ends here.

    A schedule that waits may be taken back all the same: PortOne refuses where it has begun. One that has ended
    beside a payment that goes on pending long after its time is a person's to look at.
    """
    if not isinstance(schedule, Schedule):
        return _wait(attempt, now, rules, f"payment is {payment.status}")
    waiting = schedule.status in outcomes.SCHEDULE_WAITING
    if waiting and _is_wanted_back(attempt, schedule):
        return Revoke(schedule.schedule_id)
    over_at = max(_time_to_pay(attempt), schedule.time_to_pay, payment.changed_at)
    if schedule.status in _ENDED_UNPAID and asked_at >= over_at + rules.book_lost_after:
        return Contradiction(f"its schedule is {schedule.status}, and its payment goes on being {payment.status}")
    return _wait(attempt, now, rules, f"payment is {payment.status}")


def _is_wanted_back(attempt: Attempt, schedule: Schedule) -> bool:
    """Whether it shall be taken back. Another payment's booking is not ours to take back."""
    return attempt.revoke_reason is not None and schedule.payment_id == attempt.payment_id


def _weigh_unpaid(
    attempt: Attempt,
    schedule: ScheduleLook,
    payment: Payment | Absent,
    answer: BookingOutcome | None,
    *,
    asked_at: datetime,
    now: datetime,
    rules: ChargingRules,
) -> WeighedBooking:
    """What the schedule proves where PortOne shows no payment, or one that failed."""
    match schedule:
        case Unanswered():
            return _wait(attempt, now, rules, schedule.reason)
        case Schedule() if schedule.status in outcomes.SCHEDULE_WAITING:
            return _scheduled(attempt, schedule, now=now, rules=rules)
        case Schedule() if schedule.status not in _ENDED_UNPAID:
            return _begun(attempt, schedule, asked_at=asked_at, now=now, rules=rules)
        case Schedule():
            # A person may have brought it forward at PortOne.
            charged_from = min(_time_to_pay(attempt), schedule.time_to_pay)
            return _declined(attempt, payment, rules, charged_from=charged_from) or _ended_without_payment(
                attempt, schedule, asked_at=asked_at, now=now, rules=rules
            )
        case Absent():
            return _declined(attempt, payment, rules, charged_from=_time_to_pay(attempt)) or _nothing_found(
                attempt, answer, asked_at=asked_at, now=now, rules=rules
            )


def _scheduled(attempt: Attempt, schedule: Schedule, *, now: datetime, rules: ChargingRules) -> WeighedBooking:
    """PortOne is going to charge by it: take it back if that is wanted, else see that it is what we asked for."""
    problems = schedule_differences(attempt, schedule, rules)
    if _is_wanted_back(attempt, schedule):
        return Revoke(schedule.schedule_id)
    if problems:
        return Contradiction("; ".join(problems))
    over_at = _when_over(attempt, schedule.time_to_pay, now=now, rules=rules)
    if attempt.schedule_id != schedule.schedule_id:
        return BookedAt(schedule.schedule_id, over_at)
    if abs(schedule.time_to_pay - _time_to_pay(attempt)) >= _SAME_TIME_WITHIN:
        return Wait(over_at, f"its time was changed at PortOne to {schedule.time_to_pay.isoformat()}")
    return Wait(over_at, "PortOne has not charged yet")


def _begun(
    attempt: Attempt, schedule: Schedule, *, asked_at: datetime, now: datetime, rules: ChargingRules
) -> Wait | Contradiction:
    """PortOne charges, or has charged. What we do not know the status of may be either."""
    # By its time and not by looks: most of those were made while it waited, and are no reason to doubt.
    late = asked_at >= schedule.time_to_pay + rules.book_lost_after
    if schedule.status in outcomes.SCHEDULE_SUCCEEDED and late:
        return Contradiction("PortOne says that its schedule succeeded and shows no payment")
    return _wait(attempt, now, rules, f"schedule is {schedule.status}")


def _ended_without_payment(
    attempt: Attempt, schedule: Schedule, *, asked_at: datetime, now: datetime, rules: ChargingRules
) -> Wait | Contradiction | Revoked | Voided:
    if schedule.status in outcomes.SCHEDULE_REVOKED:
        if attempt.revoke_reason is None:
            return Contradiction("its schedule was revoked at PortOne, and not by us")
        # Under a key that PortOne has forgotten a send that is still on its way would book it anew.
        at_rest = asked_at >= attempt.last_sent_at + rules.at_work_for
        return Revoked() if at_rest else _wait(attempt, now, rules, "a send of it may still be on its way")
    over_at = max(_time_to_pay(attempt), schedule.time_to_pay)
    # Nothing is charged by what has failed, and a charge of our own will be told why.
    if asked_at >= over_at + rules.book_lost_after and not _decided_by_a_person(attempt):
        return Voided()
    return _wait(attempt, now, rules, "schedule is FAILED and shows no payment yet")


def _declined(
    attempt: Attempt, payment: Payment | Absent, rules: ChargingRules, *, charged_from: datetime
) -> Declined | None:
    """The decline that the payment shows, if it is this booking's and not an older try's on the same payment_id."""
    if isinstance(payment, Absent) or payment.transaction_id in attempt.older_transaction_ids:
        return None
    if payment.changed_at < charged_from - rules.clock_skew_max:
        return None
    return Declined(payment.failure_code, payment.failure_message, payment.transaction_id)


def _nothing_found(
    attempt: Attempt, answer: BookingOutcome | None, *, asked_at: datetime, now: datetime, rules: ChargingRules
) -> Refused | Voided | Resend | Wait | Revoked:
    if answer is not None:
        if isinstance(answer, Refused) and asked_at >= attempt.opened_at + rules.at_work_for:
            # Two witnesses: PortOne refused the bytes, and has nothing of them after every earlier send has ended.
            return answer
        return _wait(attempt, now, rules, "the answer is not confirmed yet")
    return _never_arrived(attempt, asked_at=asked_at, now=now, rules=rules)


def _never_arrived(
    attempt: Attempt, *, asked_at: datetime, now: datetime, rules: ChargingRules
) -> Voided | Resend | Wait | Revoked:
    if attempt.revoke_reason is not None:
        at_rest = asked_at >= _at_rest_from(attempt, rules)
        return Revoked() if at_rest else _wait(attempt, now, rules, "it may still be on its way")
    if _decided_by_a_person(attempt):
        return _wait(attempt, now, rules, "a person decides about the cycle")
    if attempt.schedule_id is None and now < _resend_until(attempt, rules):
        return Resend()
    if asked_at >= _lost_at(attempt, rules):
        return Voided()
    return _wait(attempt, now, rules, "PortOne knows neither schedule nor payment")


def _resend_until(attempt: Attempt, rules: ChargingRules) -> datetime:
    return min(attempt.opened_at + rules.resend_until, _time_to_pay(attempt) - rules.book_near)


def _at_rest_from(attempt: Attempt, rules: ChargingRules) -> datetime:
    """From when on there is nothing to take back where PortOne shows nothing. One that it had named is lost first."""
    if attempt.schedule_id is not None:
        return _lost_at(attempt, rules)
    # Whoever cancels is not charged: a booking that arrives late, or is shown late, has an hour to be found.
    return attempt.last_sent_at + rules.at_work_for + rules.book_lost_after


def _lost_at(attempt: Attempt, rules: ChargingRules) -> datetime:
    """From when on a booking that PortOne knows nothing of is none. One that it had named gets until after its time."""
    lost_at = max(_time_to_pay(attempt), attempt.last_sent_at + rules.at_work_for) + rules.book_lost_after
    if attempt.schedule_id is not None:
        return lost_at
    return min(lost_at, attempt.last_sent_at + rules.void_after)


def _is_of_attempt(attempt: Attempt, schedule: Schedule, rules: ChargingRules) -> bool:
    if schedule.payment_id != attempt.payment_id:
        return False
    if attempt.schedule_id == schedule.schedule_id or schedule.status not in _ENDED_UNPAID:
        return True
    made_since = (schedule.created_at or _LONG_AGO) >= attempt.opened_at - rules.clock_skew_max
    return attempt.schedule_id is None and made_since and not schedule_differences(attempt, schedule, rules)


def _decided_by_a_person(attempt: Attempt) -> bool:
    return attempt.cycle_status is CycleStatus.HELD and attempt.revoke_reason is None


def _when_over(attempt: Attempt, time_to_pay: datetime, *, now: datetime, rules: ChargingRules) -> datetime:
    """When there is more to see: after its time, or a little later where that is over."""
    over_at = time_to_pay + rules.book_grace
    return over_at if over_at > now else charging.next_look(attempt, now=now, rules=rules)


def _time_to_pay(attempt: Attempt) -> datetime:
    assert attempt.time_to_pay is not None, "a booking has its time"
    return attempt.time_to_pay


def _wait(attempt: Attempt, now: datetime, rules: ChargingRules, reason: str) -> Wait:
    return Wait(charging.next_look(attempt, now=now, rules=rules), reason)
