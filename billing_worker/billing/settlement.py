"""Settlement: everything that one verdict changes, decided before anything is written.

A settlement names the statuses it was decided on, and the store writes it only while they still stand. Nothing leads
out of PAID; a late truth is a correction that says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from billing_worker.billing import dunning
from billing_worker.billing.charging import ChargingRules, Revoked, Verdict, Voided
from billing_worker.billing.dunning import DunningPolicy
from billing_worker.billing.ledger import CODE_CHARS_MAX, MESSAGE_CHARS_MAX, Entry, bounded
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import Declined, Paid, Refused
from billing_worker.billing.states import AttemptStatus, CycleStatus, EntryKind, Source

_UNDER_WAY = frozenset({CycleStatus.COLLECTING, CycleStatus.HELD})
# Where a late truth finds a cycle. One that is being collected again finds out by its own attempt.
_AT_REST = frozenset({CycleStatus.DUE, CycleStatus.GIVEN_UP, CycleStatus.HELD, CycleStatus.SKIPPED})

EventValue = str | int | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell the merchant's systems, in the transaction that made it true."""

    event_type: str
    payload: Mapping[str, EventValue]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is written for one attempt, in one transaction, if it is still as it was when this was decided."""

    attempt: Attempt
    source: Source
    attempt_status: AttemptStatus
    cycle_from: frozenset[CycleStatus]
    cycle_status: CycleStatus
    entries: tuple[Entry, ...]
    events: tuple[Event, ...]
    claimable_at: datetime | None = None
    held_reason: str | None = None
    look_at: datetime | None = None
    transaction_id: str | None = None
    pg_tx_id: str | None = None
    paid_at: datetime | None = None
    decline_code: str | None = None
    decline_message: str | None = None
    declines_added: int = 0


@dataclass(frozen=True, slots=True)
class _CycleEnd:
    """What becomes of the cycle after a verdict that was not paid."""

    status: CycleStatus
    entries: tuple[Entry, ...] = ()
    claimable_at: datetime | None = None
    held_reason: str | None = None
    gives_up: str | None = None


def settle(
    attempt: Attempt, verdict: Verdict, source: Source, *, now: datetime, rules: ChargingRules, policy: DunningPolicy
) -> Settlement:
    """The settlement of a verdict on an attempt that is open, or of a late truth on one that is not."""
    match verdict:
        case Paid():
            return _settle_paid(attempt, verdict, source, now=now, rules=rules)
        case Declined():
            code, message = bounded(verdict.code, CODE_CHARS_MAX), bounded(verdict.message, MESSAGE_CHARS_MAX)
            status = AttemptStatus.DECLINED
        case Refused():
            code = bounded(verdict.error_type, CODE_CHARS_MAX)
            message, status = bounded(verdict.message, MESSAGE_CHARS_MAX), AttemptStatus.REFUSED
        case Voided():
            code, message, status = "not_found", "", AttemptStatus.VOIDED
        case Revoked():
            assert attempt.revoke_reason is not None, "nothing is taken back without a reason"
            code, message, status = attempt.revoke_reason, "", AttemptStatus.REVOKED
        case _:
            assert_never(verdict)
    assert attempt.status is AttemptStatus.OPEN, "only an open attempt can end unpaid"
    declined = _uses_up_a_try(attempt, verdict)
    end = _cycle_after(attempt, verdict, now=now, policy=policy, declined=declined)
    told = Entry(EntryKind(status.value), source, amount_minor=attempt.price.amount_minor, code=code, message=message)
    return Settlement(
        attempt=attempt,
        source=source,
        attempt_status=status,
        cycle_from=frozenset({attempt.cycle_status}) & _under_way(attempt),
        cycle_status=end.status,
        entries=(told, *end.entries),
        events=_unpaid_events(attempt, code, message, end, declined=declined),
        claimable_at=end.claimable_at,
        held_reason=end.held_reason,
        look_at=now + rules.recheck_after[0] if rules.recheck_after else None,
        transaction_id=verdict.transaction_id if isinstance(verdict, Declined) else None,
        decline_code=code,
        decline_message=message,
        declines_added=int(declined),
    )


def _settle_paid(attempt: Attempt, paid: Paid, source: Source, *, now: datetime, rules: ChargingRules) -> Settlement:
    late = attempt.status is not AttemptStatus.OPEN
    entries = [Entry(EntryKind.PAID, source, amount_minor=attempt.price.amount_minor, pg_tx_id=paid.pg_tx_id)]
    if late:
        note = f"the attempt was recorded as {attempt.status} and PortOne has been paid"
        entries.insert(0, Entry(EntryKind.CORRECTED, source, code=attempt.status, message=note))
    elif paid.transaction_id in attempt.older_transaction_ids:
        note = "an older try on this payment_id, recorded as unpaid, has been paid after all"
        entries.insert(0, Entry(EntryKind.CORRECTED, source, code="older_try", message=note))
    event = Event(
        "charge.succeeded", _named(attempt) | {"paid_at": paid.paid_at.isoformat(), "pg_tx_id": paid.pg_tx_id}
    )
    return Settlement(
        attempt=attempt,
        source=source,
        attempt_status=AttemptStatus.PAID,
        cycle_from=_AT_REST if late else _under_way(attempt),
        cycle_status=CycleStatus.PAID,
        entries=tuple(entries),
        events=(event,),
        look_at=_verify_at(paid, source, now=now, rules=rules),
        transaction_id=paid.transaction_id,
        pg_tx_id=paid.pg_tx_id,
        paid_at=paid.paid_at,
    )


def _verify_at(paid: Paid, source: Source, *, now: datetime, rules: ChargingRules) -> datetime | None:
    """When to look at a paid attempt once more: a 200 says neither amount nor store, a look's payment is compared."""
    if paid.given_back:
        return now
    return now + rules.verify_after if source is Source.ANSWER else None


def _under_way(attempt: Attempt) -> frozenset[CycleStatus]:
    """Where an open attempt finds its cycle. A cycle is skipped while its booking is still being taken back."""
    return _UNDER_WAY | {CycleStatus.SKIPPED} if attempt.time_to_pay else _UNDER_WAY


def _uses_up_a_try(attempt: Attempt, verdict: Verdict) -> bool:
    """Whether it counts against the customer. A booking that PortOne refused has asked no card."""
    if isinstance(verdict, Refused) and attempt.time_to_pay:
        return False
    return isinstance(verdict, Declined | Refused) and dunning.counts_as_decline(verdict)


def _cycle_after(
    attempt: Attempt,
    verdict: Declined | Refused | Voided | Revoked,
    *,
    now: datetime,
    policy: DunningPolicy,
    declined: bool,
) -> _CycleEnd:
    if isinstance(verdict, Voided) and verdict.contradiction:
        what = bounded(verdict.contradiction, MESSAGE_CHARS_MAX)
        entry = Entry(EntryKind.MISMATCH, Source.LOOK, code="mismatch", message=what)
        return _CycleEnd(CycleStatus.HELD, (entry,), held_reason=what)
    if attempt.cycle_status is CycleStatus.HELD:
        # A person has been asked to decide; a verdict does not take that away.
        return _CycleEnd(CycleStatus.HELD, held_reason="held while an attempt ended unpaid")
    if attempt.cycle_status is CycleStatus.SKIPPED:
        return _CycleEnd(CycleStatus.SKIPPED)
    if isinstance(verdict, Voided | Revoked):
        return _CycleEnd(CycleStatus.DUE, claimable_at=now)
    if isinstance(verdict, Refused) and attempt.time_to_pay:
        again_at = dunning.unbooked_until(policy, verdict, due_at=attempt.due_at, now=now)
        return _CycleEnd(CycleStatus.DUE, claimable_at=again_at)
    return _cycle_end(attempt, verdict, now=now, policy=policy, declined=declined)


def _cycle_end(
    attempt: Attempt, verdict: Declined | Refused, *, now: datetime, policy: DunningPolicy, declined: bool
) -> _CycleEnd:
    first = attempt.first_declined_at or now
    step = dunning.next_try(
        policy, verdict, first_declined_at=first, declines=attempt.declines_count + int(declined), now=now
    )
    match step:
        case dunning.RetryAt():
            return _CycleEnd(CycleStatus.DUE, claimable_at=step.at)
        case dunning.GiveUp():
            entry = Entry(EntryKind.GIVEN_UP, Source.RULE, amount_minor=attempt.price.amount_minor, code=step.reason)
            return _CycleEnd(CycleStatus.GIVEN_UP, entries=(entry,), gives_up=step.reason)
        case dunning.Hold():
            reason = bounded(step.reason, CODE_CHARS_MAX)
            return _CycleEnd(CycleStatus.HELD, (Entry(EntryKind.HELD, Source.RULE, code=reason),), held_reason=reason)
        case _:
            assert_never(step)


def _unpaid_events(attempt: Attempt, code: str, message: str, end: _CycleEnd, *, declined: bool) -> tuple[Event, ...]:
    """What the merchant's systems learn: nothing of a broken channel or of an attempt that never reached PortOne."""
    named = _named(attempt)
    retry_at = end.claimable_at.isoformat() if end.claimable_at else None
    events = [Event("charge.declined", named | {"code": code, "message": message, "retry_at": retry_at})]
    if not declined:
        events.clear()
    if end.status is CycleStatus.GIVEN_UP:
        events.append(Event("charge.given_up", named | {"reason": end.gives_up}))
    if end.status is CycleStatus.HELD and attempt.cycle_status is not CycleStatus.HELD:
        events.append(Event("charge.held", named | {"reason": end.held_reason}))
    return tuple(events)


def _named(attempt: Attempt) -> dict[str, EventValue]:
    return {
        "business_key": attempt.business_key,
        "cycle_number": attempt.cycle_number,
        "payment_id": attempt.payment_id,
        "attempt_number": attempt.attempt_number,
        "amount_minor": attempt.price.amount_minor,
        "currency": attempt.price.currency,
    }
