"""Intake: a file of subscriptions, taken whole or not at all.

Every cell is checked before anything is built, so that one reading names every fault. Nothing here may raise over what
a file says, quote a cell in a fault, or know what day it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.channels import ChannelProfile
from billing_worker.billing.columns import COLUMNS, MAY_START_WITH_SIGN, REQUIRED, Check, checks_for
from billing_worker.billing.csv_rows import Fault, Record, cell_fault, read_records, shape_of
from billing_worker.billing.model import Customer
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit, first_number_from, nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode

# Whoever has a thousand faults to mend does not read more of them.
FAULTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class IntakeDefaults:
    """What an empty cell or a missing column stands for. An empty order name means that each row must have one."""

    order_name: str = ""
    currency: str = "KRW"
    period_unit: PeriodUnit = PeriodUnit.MONTH
    period_count: int = 1
    zone: str = "Asia/Seoul"
    charge_at: time = time(10, 0)
    mode: Mode = Mode.CHARGE


@dataclass(frozen=True, slots=True)
class Intake:
    """Either no faults and every plan of the file, or faults and no plan. At most FAULTS_MAX faults are named."""

    plans: tuple[PlannedSubscription, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class _Rules:
    """How the cells of this file are judged: which are needed, what empty ones stand for, what checks the others."""

    required: frozenset[str]
    instead_of_empty: Mapping[str, str]
    checks: Mapping[str, Check]


def read_rows(text: str, *, profile: ChannelProfile, defaults: IntakeDefaults) -> Intake:
    """The subscriptions of a CSV file for one channel."""
    rules = _rules(profile, defaults)
    plans: list[PlannedSubscription] = []
    faults: list[Fault] = []
    lines_by_key: dict[str, int] = {}
    for item in read_records(text, columns=COLUMNS, required=rules.required):
        if isinstance(item, Fault):
            faults.append(item)
        else:
            record = _with_defaults(item, rules)
            found = (*_cell_faults(record, rules), *_repeated_key(record, lines_by_key))
            plan_or_faults = found or _plan(record)
            if isinstance(plan_or_faults, PlannedSubscription):
                plans.append(plan_or_faults)
            else:
                faults.extend(plan_or_faults)
        if len(faults) >= FAULTS_MAX:
            break
    return Intake(plans=() if faults else tuple(plans), faults=tuple(faults[:FAULTS_MAX]))


def periods_past(plan: PlannedSubscription, on: date) -> int:
    """How many periods began before a date and would be collected at once. More than one is seldom what is meant."""
    return max(0, first_number_from(plan.cadence, on) - plan.first_cycle_number)


def _rules(profile: ChannelProfile, defaults: IntakeDefaults) -> _Rules:
    instead_of_empty = {
        "order_name": defaults.order_name,
        "currency": defaults.currency,
        "period_unit": defaults.period_unit.value,
        "period_count": str(defaults.period_count),
        "zone": defaults.zone,
        "charge_at": f"{defaults.charge_at:%H:%M}",
        "mode": defaults.mode.value,
    }
    named = {"customer_name"} if profile.customer_name_required else set()
    ordered = set() if defaults.order_name else {"order_name"}
    return _Rules(REQUIRED | named | ordered, instead_of_empty, checks_for(profile))


def _with_defaults(record: Record, rules: _Rules) -> Record:
    """The record with every column in it; an absent or empty cell is the default, or empty."""
    cells = {column: record.cells.get(column) or rules.instead_of_empty.get(column, "") for column in COLUMNS}
    return Record(record.line, cells)


def _cell_faults(record: Record, rules: _Rules) -> tuple[Fault, ...]:
    return tuple(
        Fault(record.line, column, reason, shape_of(record.cells[column]))
        for column in sorted(COLUMNS)
        if (reason := _reason(column, record.cells[column], rules))
    )


def _reason(column: str, cell: str, rules: _Rules) -> str:
    """What is wrong with a cell of that column, or nothing."""
    if not cell:
        return "must not be empty" if column in rules.required else ""
    if fault := cell_fault(cell, may_start_with_sign=column in MAY_START_WITH_SIGN):
        return fault
    try:
        rules.checks[column](cell)
    except ValueError as error:
        return str(error)
    return ""


def _repeated_key(record: Record, lines_by_key: dict[str, int]) -> tuple[Fault, ...]:
    """The fault of a business key that an earlier line has; a new one is entered with its line."""
    first_line = lines_by_key.setdefault(record.cells["business_key"], record.line)
    if first_line == record.line or not record.cells["business_key"]:
        return ()
    return (Fault(record.line, "business_key", f"stands on line {first_line} already"),)


def _plan(record: Record) -> PlannedSubscription | tuple[Fault, ...]:
    """The plan of a record whose cells are each sound; what is left to check is how they go together."""
    cells = record.cells
    cadence = Cadence(
        unit=PeriodUnit(cells["period_unit"]),
        count=int(cells["period_count"]),
        anchor_on=date.fromisoformat(cells["anchor_on"]),
        zone=cells["zone"],
        charge_at=time.fromisoformat(cells["charge_at"]),
    )
    start_on = date.fromisoformat(cells["start_on"] or cells["anchor_on"])
    if start_on < cadence.anchor_on:
        return (Fault(record.line, "start_on", "must not be before anchor_on"),)
    first_cycle_number = first_number_from(cadence, start_on)
    if not _exists(cadence, first_cycle_number):
        column = "start_on" if cells["start_on"] else "anchor_on"
        return (Fault(record.line, column, "leaves no whole period before the year 10000"),)
    return PlannedSubscription(
        business_key=cells["business_key"],
        customer=Customer(
            customer_id=cells["customer_id"],
            name=cells["customer_name"],
            phone=cells["customer_phone"],
            email=cells["customer_email"],
        ),
        billing_key=BillingKey(cells["billing_key"]),
        order_name=cells["order_name"],
        price=Money(int(cells["amount"]), cells["currency"]),
        cadence=cadence,
        first_cycle_number=first_cycle_number,
        mode=Mode(cells["mode"]),
        line=record.line,
    )


def _exists(cadence: Cadence, number: int) -> bool:
    try:
        nth_period(cadence, number)
    except ValueError:
        return False
    return True
