"""Comparison: in what PortOne's books and ours differ, by class, and what is done about each.

It judges one payment or one schedule beside the cycle of the same payment_id, and changes nothing by itself. What may
still change within minutes is not compared: who calls leaves out what is young.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from billing_worker.billing import outcomes
from billing_worker.billing.outcomes import Absent, Payment, Schedule
from billing_worker.billing.states import AttemptStatus, CycleStatus

# By the day of the people who read what was found.
COMPARED_IN = ZoneInfo("Asia/Seoul")

# What every payment_id of ours begins with, and how long it is; see model.payment_id.
_OURS = "rb1"
_OURS_CHARS = 30

# PortOne need not keep the fractions of a second that it was told.
_SAME_TIME_WITHIN = timedelta(seconds=1)

_MAY_STILL_CHARGE = outcomes.SCHEDULE_WAITING | outcomes.SCHEDULE_STARTED


class DifferenceClass(StrEnum):
    """How the books differ. docs/reconciliation.md says what to do about each."""

    PAID_UNKNOWN = "paid_unknown"  # paid there; here the cycle is not
    FOREIGN = "foreign"  # paid there under an id that is not ours
    UNKNOWN_CYCLE = "unknown_cycle"  # the id has our form, and no cycle has it
    MISSING_THERE = "missing_there"  # paid here, and PortOne knows no such payment
    AMOUNT = "amount"
    CURRENCY = "currency"
    LATE_FLIP = "late_flip"  # ended unpaid here, and paid there
    PAID_TWICE = "paid_twice"  # more than one paid transaction on one id
    REFUND_UNKNOWN = "refund_unknown"  # given back there beyond what is entered here
    DISPUTED = "disputed"  # the card holder contests it
    SCHEDULE_MISSING = "schedule_missing"  # booked here, and PortOne knows no such schedule
    SCHEDULE_ORPHAN = "schedule_orphan"  # PortOne will charge a cycle of ours that has no such booking
    SCHEDULE_AMOUNT = "schedule_amount"
    SCHEDULE_TIME = "schedule_time"
    SCHEDULE_REVOKED = "schedule_revoked"  # taken back there, and not by us
    SCHEDULE_FOREIGN = "schedule_foreign"  # a schedule on an id that is not ours


_C = DifferenceClass

# Another system of the same store: counted and shown, and nobody is woken.
STRANGERS = frozenset({_C.FOREIGN, _C.SCHEDULE_FOREIGN})

# Where no attempt of ours is there to be looked at, one is opened for it. It is never sent.
ADOPTABLE = frozenset({_C.PAID_UNKNOWN, _C.SCHEDULE_ORPHAN})

# A look may put it right, or put it before a person.
WORTH_A_LOOK = frozenset(
    {
        _C.PAID_UNKNOWN,
        _C.MISSING_THERE,
        _C.AMOUNT,
        _C.CURRENCY,
        _C.LATE_FLIP,
        _C.REFUND_UNKNOWN,
        _C.DISPUTED,
        _C.SCHEDULE_MISSING,
        _C.SCHEDULE_AMOUNT,
        _C.SCHEDULE_REVOKED,
    }
)


@dataclass(frozen=True, slots=True)
class Booking:
    """The open booking of a cycle."""

    time_to_pay: datetime
    amount_minor: int
    currency: str
    schedule_id: str | None
    revoke_reason: str | None
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class OurCycle:
    """What we have under one payment_id, as far as PortOne can be compared with it."""

    shard: int
    subscription_id: int
    cycle_id: int
    payment_id: str
    cycle_status: CycleStatus
    amount_minor: int  # of the paid attempt, else of the newest, else of the cycle
    currency: str
    attempts_count: int
    attempt_status: AttemptStatus | None  # of the newest; None where nothing was tried
    refunded_minor: int  # entered in the ledger
    sent_again: bool = False  # the newest attempt was sent more than once: PortOne may have forgotten its key
    twice: bool = False  # found to be paid twice before, and that stands
    booking: Booking | None = None

    @property
    def bookable(self) -> bool:
        """Whether the cycle waits to be booked or charged."""
        return self.cycle_status is CycleStatus.DUE

    @property
    def forgotten(self) -> bool:
        """Whether nobody here looks any more at what PortOne has on the cycle, or will charge by.

        A database that lost its last commits may have lost the attempt, and then the period was skipped without a look.
        """
        return self.cycle_status is CycleStatus.SKIPPED and self.attempt_status is not AttemptStatus.OPEN


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `what` is for people, and free of secrets."""

    difference_class: DifferenceClass
    payment_id: str
    what: str
    schedule_id: str = ""


def has_our_form(payment_id: str) -> bool:
    """Whether an id looks like one that we make."""
    return payment_id.startswith(_OURS) and len(payment_id) == _OURS_CHARS


# --- payments -------------------------------------------------------------------------------------------------------


def compare_payment(payment_id: str, ours: OurCycle | None, payment: Payment) -> tuple[Difference, ...]:
    """In what a payment at PortOne differs from the cycle of the same id. Only what was paid can differ."""
    if payment.status not in outcomes.PAYMENT_PAID:
        return _no_longer_paid(ours, payment)
    paid = _money(payment.amount_minor, payment.currency)
    if ours is None:
        if has_our_form(payment_id):
            return (Difference(_C.UNKNOWN_CYCLE, payment_id, f"{paid} were paid, and no cycle here has this id"),)
        return (Difference(_C.FOREIGN, payment_id, f"{paid} were paid under an id that is not ours"),)
    found = [*_of_status(ours, payment), *_of_price(ours, payment)]
    if ours.cycle_status is CycleStatus.PAID and payment.refunded_minor > ours.refunded_minor:
        told = f"{payment.refunded_minor} given back there, {ours.refunded_minor} entered here"
        found.append(Difference(_C.REFUND_UNKNOWN, payment_id, told))
    if payment.disputed:
        found.append(Difference(_C.DISPUTED, payment_id, "the card holder contests the payment"))
    return tuple(found)


def compare_tries(ours: OurCycle, tries: Sequence[Payment]) -> Difference | None:
    """Whether more than one try of one id has money of the customer's. The id of each is PortOne's, for a refund."""
    paid = [
        each.transaction_id
        for each in tries
        if each.status in outcomes.PAYMENT_PAID and each.refunded_minor < each.amount_minor
    ]
    if len(paid) < 2:
        return None
    return Difference(_C.PAID_TWICE, ours.payment_id, f"{len(paid)} transactions are paid: {', '.join(paid)}"[:500])


def needs_tries(ours: OurCycle, payment: Payment, *, since: datetime) -> bool:
    """Whether the single tries are asked for: PortOne may have made several, and something has changed since then."""
    if payment.status not in outcomes.PAYMENT_PAID:
        return False
    several = ours.attempts_count > 1 or ours.sent_again
    return ours.twice or (several and payment.changed_at >= since)


def missing_payment(ours: OurCycle, look: Payment | Absent) -> tuple[Difference, ...]:
    """What a look at a payment shows that we have as paid and that PortOne does not list."""
    if isinstance(look, Absent):
        return (Difference(_C.MISSING_THERE, ours.payment_id, "paid here, and PortOne knows no such payment"),)
    return compare_payment(ours.payment_id, ours, look)


def _no_longer_paid(ours: OurCycle | None, payment: Payment) -> tuple[Difference, ...]:
    if ours is None or ours.cycle_status is not CycleStatus.PAID or payment.status not in outcomes.PAYMENT_FAILED:
        return ()
    return (Difference(_C.MISSING_THERE, ours.payment_id, f"paid here, and PortOne has it {payment.status}"),)


def _of_status(ours: OurCycle, payment: Payment) -> list[Difference]:
    if ours.cycle_status is CycleStatus.PAID:
        return []
    paid = f"{_money(payment.amount_minor, payment.currency)} were paid there; here the cycle is {ours.cycle_status}"
    if ours.attempt_status in (None, AttemptStatus.OPEN):
        return [Difference(_C.PAID_UNKNOWN, ours.payment_id, paid)]
    return [Difference(_C.LATE_FLIP, ours.payment_id, f"{paid}, its last attempt {ours.attempt_status}")]


def _of_price(ours: OurCycle, payment: Payment) -> list[Difference]:
    found = []
    if payment.currency != ours.currency:
        told = f"paid in {payment.currency}, asked for {ours.currency}"
        found.append(Difference(_C.CURRENCY, ours.payment_id, told))
    if payment.amount_minor != ours.amount_minor:
        told = f"{payment.amount_minor} were paid, asked for {ours.amount_minor}"
        found.append(Difference(_C.AMOUNT, ours.payment_id, told))
    return found


# --- schedules ------------------------------------------------------------------------------------------------------


def compare_schedule(ours: OurCycle | None, schedule: Schedule) -> tuple[Difference, ...]:
    """In what a schedule at PortOne differs from the booking of the cycle of the same payment_id."""
    charges = schedule.status in _MAY_STILL_CHARGE
    if ours is None:
        return (_stranger(schedule),) if charges else ()
    booking = ours.booking
    if booking is None or booking.schedule_id not in (None, schedule.schedule_id):
        return (_orphan(ours, schedule),) if charges else ()
    if booking.revoke_reason is not None or booking.schedule_id is None:
        return ()  # being taken back, or being made: its looks are under way
    if schedule.status in outcomes.SCHEDULE_REVOKED:
        return (_of(schedule, _C.SCHEDULE_REVOKED, "taken back at PortOne, and not by us"),)
    return tuple(_altered(booking, schedule)) if schedule.status in outcomes.SCHEDULE_WAITING else ()


def missing_schedule(ours: OurCycle, look: Schedule | Absent) -> tuple[Difference, ...]:
    """What a look at a booking's schedule shows that PortOne does not list."""
    if isinstance(look, Schedule):
        return compare_schedule(ours, look)
    if ours.booking is None or ours.booking.schedule_id is None or ours.booking.revoke_reason is not None:
        return ()
    told = f"booked for {ours.booking.time_to_pay.isoformat()}, and PortOne knows no such schedule"
    return (Difference(_C.SCHEDULE_MISSING, ours.payment_id, told, ours.booking.schedule_id),)


def _stranger(schedule: Schedule) -> Difference:
    when = f"{_money(schedule.amount_minor, schedule.currency)} at {schedule.time_to_pay.isoformat()}"
    if has_our_form(schedule.payment_id):
        return _of(schedule, _C.UNKNOWN_CYCLE, f"{when} will be charged, and no cycle here has this id")
    return _of(schedule, _C.SCHEDULE_FOREIGN, f"{when} will be charged under an id that is not ours")


def _orphan(ours: OurCycle, schedule: Schedule) -> Difference:
    told = f"PortOne will charge at {schedule.time_to_pay.isoformat()}; here the cycle is {ours.cycle_status}"
    if ours.bookable:
        remedy = "it is booked again and so adopted"
    elif ours.forgotten:
        remedy = "it is adopted, to be taken back"
    else:
        remedy = "revoke it in PortOne's console"
    return _of(schedule, _C.SCHEDULE_ORPHAN, f"{told} and has no such booking: {remedy}")


def _altered(booking: Booking, schedule: Schedule) -> list[Difference]:
    found = []
    here, there = (booking.amount_minor, booking.currency), (schedule.amount_minor, schedule.currency)
    if here != there:
        told = f"{_money(*there)} will be charged, booked {_money(*here)}"
        found.append(_of(schedule, _C.SCHEDULE_AMOUNT, told))
    if abs(schedule.time_to_pay - booking.time_to_pay) >= _SAME_TIME_WITHIN:
        told = f"will be charged at {schedule.time_to_pay.isoformat()}, booked for {booking.time_to_pay.isoformat()}"
        found.append(_of(schedule, _C.SCHEDULE_TIME, told))
    return found


def _of(schedule: Schedule, difference_class: DifferenceClass, what: str) -> Difference:
    return Difference(difference_class, schedule.payment_id, what, schedule.schedule_id)


def _money(amount_minor: int, currency: str) -> str:
    return f"{amount_minor} {currency}"


# --- when -----------------------------------------------------------------------------------------------------------


def next_night(now: datetime, at: time) -> datetime:
    """The next moment after now at which it is that time of the day in Seoul."""
    local = now.astimezone(COMPARED_IN)
    tonight = datetime.combine(local.date(), at, tzinfo=COMPARED_IN)
    return (tonight if tonight > local else tonight + timedelta(days=1)).astimezone(now.tzinfo)
