"""Taking over: whether a schedule that a merchant made may stand as the next period of a subscription.

It judges what PortOne shows beside the subscription as it is, and asks nobody. In doubt nothing is taken over: a
schedule that is not the period's would be charged beside it. No reason quotes a cell, where a billing key may stand.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from billing_worker.billing import outcomes
from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.columns import TEXT_CHARS_MAX
from billing_worker.billing.comparison import has_our_form
from billing_worker.billing.csv_rows import Fault, Record, cell_fault, read_records, shape_of
from billing_worker.billing.intake import FAULTS_MAX
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Absent, Look, Payment, Schedule, Unanswered
from billing_worker.billing.periods import Cadence, Period, due_at, nth_period
from billing_worker.billing.states import SubscriptionStatus

COLUMNS = frozenset({"business_key", "payment_id"})

# What PortOne takes. Keep in step with cycles_payment_id_form.
_PAYMENT_ID = re.compile(r"[A-Za-z0-9_-]{6,64}")

# How PortOne's own billing keys begin: in the wrong column, one would be asked for as a payment.
_BILLING_KEY_START = "billing-key"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: this payment_id's schedule is this subscription's next period."""

    line: int
    business_key: str
    payment_id: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subscription as it stands, as far as a schedule is compared with it."""

    shard: int
    subscription_id: int
    business_key: str
    status: SubscriptionStatus
    billing_key: BillingKey
    price: Money
    cadence: Cadence
    first_cycle_number: int
    next_cycle_number: int


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The schedule is the next period's, and may become its cycle."""

    candidate: Candidate
    payment_id: str
    schedule_id: str
    time_to_pay: datetime
    period: Period
    next_due_at: datetime


@dataclass(frozen=True, slots=True)
class TakenBefore:
    """There is nothing to do: the payment_id is a cycle of this subscription already."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Why it is not taken over, and what a person may do about it."""

    column: str
    reason: str
    remedy: str


Judged = TakeOver | TakenBefore | NotTaken | Unanswered


# --- the file -------------------------------------------------------------------------------------------------------


def read_rows(text: str) -> tuple[Row, ...] | tuple[Fault, ...]:
    """The rows of a CSV file, or its faults; at most FAULTS_MAX are named."""
    rows: list[Row] = []
    faults: list[Fault] = []
    first_lines: dict[tuple[str, str], int] = {}
    for item in read_records(text, columns=COLUMNS, required=COLUMNS):
        if isinstance(item, Fault):
            faults.append(item)
        elif found := tuple(_record_faults(item, first_lines)):
            faults.extend(found)
        else:
            rows.append(Row(item.line, item.cells["business_key"], item.cells["payment_id"]))
        if len(faults) >= FAULTS_MAX:
            break
    return tuple(faults[:FAULTS_MAX]) if faults else tuple(rows)


def _record_faults(record: Record, first_lines: dict[tuple[str, str], int]) -> Iterable[Fault]:
    for column in sorted(COLUMNS):
        cell = record.cells[column]
        first_line = first_lines.setdefault((column, cell), record.line)
        if reason := _cell_fault(column, cell):
            yield Fault(record.line, column, reason, shape_of(cell))
        elif first_line != record.line:
            yield Fault(record.line, column, f"stands on line {first_line} already", shape_of(cell))


def _cell_fault(column: str, cell: str) -> str:
    if not cell:
        return "must not be empty"
    # A payment_id may begin with a hyphen; its own form keeps everything else out.
    if fault := cell_fault(cell, may_start_with_sign=column == "payment_id"):
        return fault
    if column == "business_key":
        return f"must have at most {TEXT_CHARS_MAX} characters" if len(cell) > TEXT_CHARS_MAX else ""
    if cell.lower().startswith(_BILLING_KEY_START):
        return "looks like a billing key; the paymentId of the schedule belongs here"
    if not _PAYMENT_ID.fullmatch(cell):
        return "must be a paymentId: 6 to 64 letters, digits, hyphens or underscores"
    return "has the form of this worker's own ids, which are not taken over" if has_our_form(cell) else ""


# --- one row --------------------------------------------------------------------------------------------------------


def judge_known(row: Row, candidate: Candidate | None, owner: str | None) -> TakenBefore | NotTaken | None:
    """What our own books say of a row, before PortOne is asked. None: nothing against it.

    The owner is the subscription that has a cycle of this payment_id.
    """
    if candidate is None:
        return NotTaken("business_key", "is no subscription here", "import the subscription first")
    if owner == row.business_key:
        return TakenBefore()
    if owner is not None:
        return NotTaken("payment_id", "is the cycle of another subscription here", "correct the file")
    if candidate.status is SubscriptionStatus.CANCELLED:
        remedy = "revoke the schedule at PortOne, or it will be charged"
        return NotTaken("business_key", "is a subscription that is cancelled", remedy)
    if candidate.status is SubscriptionStatus.HELD:
        remedy = "mend what holds it, run `subscriptions resume`, and import again"
        return NotTaken("business_key", "is a subscription that is held", remedy)
    period = next_period(candidate)
    return period if isinstance(period, NotTaken) else None


def next_period(candidate: Candidate) -> Period | NotTaken:
    """The period that the subscription's next cycle is for."""
    try:
        # The one behind it is needed too: the subscription goes on from there.
        nth_period(candidate.cadence, candidate.next_cycle_number + 1)
        return nth_period(candidate.cadence, candidate.next_cycle_number)
    except ValueError:
        return NotTaken("business_key", "is a subscription without a next period", "run `subscriptions show`")


def judge(
    row: Row,
    candidate: Candidate,
    schedules: Sequence[Schedule],
    payment: Look | None,
    *,
    store_id: str,
) -> Judged:
    """Whether what PortOne has under the row's payment_id may be taken over.

    The schedules are those that it lists of it, on the subscription's billing key. Without a payment the answer is
    only whether to ask for one: TakeOver is final where there is one.
    """
    period = next_period(candidate)
    if isinstance(period, NotTaken):
        return period
    schedule = _standing(schedules, period)
    if isinstance(schedule, NotTaken):
        return schedule
    against = (
        _against(row, candidate, schedule, store_id)
        or _against_day(candidate, schedule, period)
        or (_against_payment(payment) if payment is not None else None)
    )
    if against is not None:
        return against
    following = nth_period(candidate.cadence, candidate.next_cycle_number + 1)
    return TakeOver(
        candidate=candidate,
        payment_id=row.payment_id,
        schedule_id=schedule.schedule_id,
        time_to_pay=schedule.time_to_pay,
        period=period,
        next_due_at=due_at(candidate.cadence, following),
    )


def _standing(schedules: Sequence[Schedule], period: Period) -> Schedule | NotTaken:
    """The one schedule that PortOne will charge by."""
    waiting = [schedule for schedule in schedules if schedule.status in outcomes.SCHEDULE_WAITING]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        reason = f"has {len(waiting)} schedules that wait to be charged"
        return NotTaken("payment_id", reason, "revoke all but one of them at PortOne")
    if schedules:
        found = ", ".join(sorted({schedule.status for schedule in schedules}))
        remedy = "take the row out: there is nothing to take over, and the period is collected as any other"
        return NotTaken("payment_id", f"has a schedule that does not wait to be charged: it is {found}", remedy)
    reason = f"has no schedule on the subscription's billing key within a month of {period.start_on}"
    remedy = (
        "compare it with PortOne's console: is it another store's, or on another billing key? "
        "With the billing key that it is on, `subscriptions import` the subscription again"
    )
    return NotTaken("payment_id", reason, remedy)


def _against(row: Row, candidate: Candidate, schedule: Schedule, store_id: str) -> NotTaken | None:
    revoke = "or revoke the schedule at PortOne: the period is then booked anew, or charged"
    price = candidate.price
    if schedule.payment_id != row.payment_id:
        return NotTaken("payment_id", "is not that of the schedule", "import again")
    if schedule.store_id != store_id:
        return NotTaken("payment_id", "has a schedule of another store", "correct BILLING_PORTONE_STORE_ID")
    if schedule.billing_key_matches is not True:
        reason = "has a schedule that does not show the subscription's billing key"
        return NotTaken("payment_id", reason, f"import the subscription with the billing key of the schedule, {revoke}")
    if schedule.currency != price.currency:
        reason = f"has a schedule in {schedule.currency}, and the subscription is in {price.currency}"
        return NotTaken("payment_id", reason, "revoke the schedule at PortOne")
    if schedule.amount_minor != price.amount_minor:
        reason = f"has a schedule of {schedule.amount_minor}, and the subscription costs {price.amount_minor}"
        return NotTaken("payment_id", reason, f"import the subscription with the amount of the schedule, {revoke}")
    return None


def _against_day(candidate: Candidate, schedule: Schedule, period: Period) -> NotTaken | None:
    """A schedule that is another period's would be charged beside the next one."""
    on = schedule.time_to_pay.astimezone(ZoneInfo(candidate.cadence.zone)).date()
    if on == period.start_on:
        return None
    if _has_begun(candidate, on):
        reason = f"has a schedule of {on}, and the period of that day has been opened here under another payment id"
        return NotTaken("payment_id", reason, "revoke the schedule at PortOne at once, or the period is charged twice")
    reason = f"has a schedule of {on}, and the next period begins on {period.start_on}"
    remedy = (
        "revoke the schedule at PortOne; or cancel the subscription and import it under another key with a start_on "
        "of the day of the schedule"
    )
    return NotTaken("payment_id", reason, remedy)


def _has_begun(candidate: Candidate, on: date) -> bool:
    """Whether that day is the first of the period before the next one, which we have opened."""
    before = candidate.next_cycle_number - 1
    return before >= candidate.first_cycle_number and nth_period(candidate.cadence, before).start_on == on


def _against_payment(payment: Look) -> NotTaken | Unanswered | None:
    """A payment that failed before is an older try's; whatever else there is may be money."""
    match payment:
        case Unanswered():
            return payment
        case Absent():
            return None
        case Payment() if payment.status in outcomes.PAYMENT_FAILED:
            return None
        case Payment():
            remedy = "find out in PortOne's console what was paid by it, and revoke the schedule"
            return NotTaken("payment_id", f"has a payment already: it is {payment.status}", remedy)
