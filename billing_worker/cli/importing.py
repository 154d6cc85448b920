"""Bringing planned subscriptions in: all of them or none, in one transaction.

What is known already is changed by name or left alone, never doubled; what moves a date is refused. A subscription that
is known keeps its dates, so the same file may be imported any number of times.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from billing_worker.billing.csv_rows import Fault
from billing_worker.billing.intake import FAULTS_MAX, periods_past
from billing_worker.billing.model import shard_of
from billing_worker.billing.periods import due_at, nth_period
from billing_worker.billing.plans import Change, PlannedSubscription, changes, refused_changes
from billing_worker.billing.states import SubscriptionStatus
from billing_worker.store import control, subscriptions
from billing_worker.store.db import Connection, Database, RowRefusedError
from billing_worker.store.subscriptions import KnownSubscription

T = TypeVar("T")

# One statement's worth: large enough that the round trip does not count, small enough for any statement time-out.
CHUNK_ROWS = 1_000

# The constraint by which somebody who adds the same subscription at the same moment is noticed.
_SAME_KEY = "subscriptions_business_key"

_CANCELLED = "is cancelled for good, so it cannot change; add another subscription under a new key"
_NOT_ASKED_FOR = "is known with another value; add --change to change it"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the person who imports agrees to."""

    collect_past: bool = False
    changes_allowed: bool = True


@dataclass(frozen=True, slots=True)
class NamedChange:
    """What changes in one subscription."""

    known: KnownSubscription
    plan: PlannedSubscription
    changes: tuple[Change, ...]


@dataclass(slots=True)
class Judgement:
    """What an import would do, or the faults for which it does nothing."""

    added: list[PlannedSubscription] = field(default_factory=list)
    changed: list[NamedChange] = field(default_factory=list)
    unchanged: int = 0
    cancelled: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


async def bring_in(
    database: Database, plans: Sequence[PlannedSubscription], *, rules: Rules, dry_run: bool = False
) -> Judgement:
    """Import the plans, unless there is a fault or nothing shall be done. Raises DatabaseGoneError, RowRefusedError."""
    ordered = _in_locking_order(plans)
    try:
        return await _bring_in_once(database, ordered, rules=rules, dry_run=dry_run)
    except RowRefusedError as error:
        if _SAME_KEY not in str(error):
            raise
        # Somebody has just added one of them and committed. Now it is known, and compared like any other.
        return await _bring_in_once(database, ordered, rules=rules, dry_run=dry_run)


def judge(
    plans: Sequence[PlannedSubscription], known: Mapping[str, KnownSubscription], *, now: datetime, rules: Rules
) -> Judgement:
    """What is to be done with each plan, in view of what is known."""
    judgement = Judgement()
    for plan in plans:
        existing = known.get(plan.business_key)
        if existing is None:
            _judge_new(judgement, plan, now=now, rules=rules)
        else:
            _judge_known(judgement, existing, plan, rules=rules)
    judgement.faults.sort(key=lambda fault: (fault.line, fault.column))
    del judgement.faults[FAULTS_MAX:]
    return judgement


def _judge_new(judgement: Judgement, plan: PlannedSubscription, *, now: datetime, rules: Rules) -> None:
    today = now.astimezone(ZoneInfo(plan.cadence.zone)).date()
    # A period that begins today is owed today, and counts.
    begun = periods_past(plan, today + timedelta(days=1))
    if begun > 1 and not rules.collect_past:
        reason = (
            f"{begun} periods have begun by now and would be collected at once, {begun:,} x {plan.price}; "
            "set start_on to the first day to collect from, or agree with --collect-past"
        )
        judgement.faults.append(Fault(plan.line, "start_on", reason))
    else:
        judgement.added.append(plan)


def _judge_known(judgement: Judgement, known: KnownSubscription, plan: PlannedSubscription, *, rules: Rules) -> None:
    refused, wanted = refused_changes(known.plan, plan), changes(known.plan, plan)
    if known.status is SubscriptionStatus.CANCELLED:
        # Whoever imports the whole list again means no harm; whoever changes it in the list expects to be charged.
        judgement.cancelled.append(plan.business_key)
        if refused or wanted:
            judgement.faults.append(Fault(plan.line, "business_key", _CANCELLED))
    elif refused:
        judgement.faults.extend(refused)
    elif wanted and not rules.changes_allowed:
        judgement.faults.extend(Fault(plan.line, change.field, _NOT_ASKED_FOR) for change in wanted)
    elif wanted:
        judgement.changed.append(NamedChange(known, plan, wanted))
    else:
        judgement.unchanged += 1


async def _bring_in_once(
    database: Database, plans: Sequence[PlannedSubscription], *, rules: Rules, dry_run: bool
) -> Judgement:
    async with database.claims.transaction() as transaction:
        now = await control.primary_clock(transaction)
        known: dict[str, KnownSubscription] = {}
        for chunk in _chunks(plans):
            known |= await subscriptions.find_subscriptions(transaction, [plan.business_key for plan in chunk])
        judgement = judge(plans, known, now=now, rules=rules)
        if not judgement.faults and not dry_run:
            await _write(transaction, judgement, now)
    return judgement


async def _write(transaction: Connection, judgement: Judgement, now: datetime) -> None:
    for new in _chunks(judgement.added):
        added = await subscriptions.add_subscriptions(transaction, [(plan, _first_due_at(plan)) for plan in new])
        assert added == len(new), "every row is added or the statement fails"
    for changed in _chunks(judgement.changed):
        known_and_plans = [(change.known, change.plan) for change in changed]
        await subscriptions.change_subscriptions(transaction, known_and_plans, now=now)


def _first_due_at(plan: PlannedSubscription) -> datetime:
    return due_at(plan.cadence, nth_period(plan.cadence, plan.first_cycle_number))


def _in_locking_order(plans: Sequence[PlannedSubscription]) -> list[PlannedSubscription]:
    """Two imports that take the same rows in the same order wait for each other and never for ever."""
    return sorted(plans, key=lambda plan: (shard_of(plan.business_key), plan.business_key))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in itertools.count(0, CHUNK_ROWS):
        chunk = items[start : start + CHUNK_ROWS]
        if not chunk:
            return
        yield chunk
