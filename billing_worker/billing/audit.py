"""Audit: whether cycles, attempts and ledger entries tell one story.

The hash chain shows that an entry was changed; this shows that one was invented, or that what it speaks of was changed
under it. It judges what it is shown and asks nobody. A story that is invented whole, with cycle, attempt and entries,
it cannot tell from a true one: only PortOne's records can.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from billing_worker.billing.ledger import StoredEntry
from billing_worker.billing.states import AttemptStatus, CycleStatus, EntryKind

_OUTCOMES = frozenset(status.value for status in AttemptStatus) - {AttemptStatus.OPEN.value}
_OF_ATTEMPTS = _OUTCOMES | {EntryKind.INTENT.value, EntryKind.SCHEDULED.value}


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """A cycle as far as entries speak of it."""

    cycle_id: int
    subscription_id: int
    payment_id: str
    amount_minor: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """An attempt as far as entries speak of it."""

    attempt_id: int
    cycle_id: int
    subscription_id: int
    payment_id: str
    amount_minor: int
    currency: str
    status: str
    pg_tx_id: str | None
    booking: bool = False


def disagreements(
    cycles: Iterable[CycleFacts], attempts: Iterable[AttemptFacts], entries: Iterable[StoredEntry]
) -> Iterator[str]:
    """In what they differ, in words. All of each subscription's must be shown, of a shard or of a part of it."""
    cycle_of = {cycle.cycle_id: cycle for cycle in cycles}
    attempt_of = {attempt.attempt_id: attempt for attempt in attempts}
    repriced = _may_cost_otherwise(attempt_of.values())
    of_cycle: dict[int, list[StoredEntry]] = defaultdict(list)
    of_attempt: dict[int, list[StoredEntry]] = defaultdict(list)
    for entry in entries:
        for fault in _entry_faults(entry, cycle_of, attempt_of, repriced):
            yield f"subscription {entry.subscription_id}, entry {entry.sequence} ({entry.kind}): {fault}"
        if entry.cycle_id is not None:
            of_cycle[entry.cycle_id].append(entry)
        if entry.attempt_id is not None:
            of_attempt[entry.attempt_id].append(entry)
    paid_attempts = {a.cycle_id for a in attempt_of.values() if a.status == AttemptStatus.PAID}
    for cycle in cycle_of.values():
        faults = _cycle_faults(cycle, of_cycle[cycle.cycle_id], attempted=cycle.cycle_id in paid_attempts)
        yield from (f"payment {cycle.payment_id}: {fault}" for fault in faults)
    for attempt in attempt_of.values():
        priced = attempt.attempt_id not in repriced
        faults = _attempt_faults(attempt, cycle_of[attempt.cycle_id], of_attempt[attempt.attempt_id], priced=priced)
        yield from (f"payment {attempt.payment_id}, attempt {attempt.attempt_id}: {fault}" for fault in faults)


def _may_cost_otherwise(attempts: Collection[AttemptFacts]) -> frozenset[int]:
    """The attempts whose cycle may have another price than they.

    A booking that came to nothing may have been made before the price changed. Where such a one turned out paid, the
    cycle costs what it did, and what was tried after it without success cost otherwise.
    """
    paid_by_booking = {each.cycle_id for each in attempts if each.booking and each.status == AttemptStatus.PAID}
    return frozenset(
        each.attempt_id
        for each in attempts
        if each.status not in {AttemptStatus.OPEN, AttemptStatus.PAID}
        and (each.booking or each.cycle_id in paid_by_booking)
    )


def _entry_faults(
    entry: StoredEntry,
    cycles: Mapping[int, CycleFacts],
    attempts: Mapping[int, AttemptFacts],
    repriced: Collection[int],
) -> Iterator[str]:
    """What an entry says otherwise than the cycle and the attempt that it names."""
    if entry.kind in _OF_ATTEMPTS | {EntryKind.REFUNDED} and (entry.cycle_id is None or entry.attempt_id is None):
        yield "names no attempt on a cycle"
    if entry.cycle_id is None:
        return
    cycle = cycles.get(entry.cycle_id)
    if cycle is None or cycle.subscription_id != entry.subscription_id:
        yield "its cycle is not one of the subscription's"
        return
    attempt = None if entry.attempt_id is None else attempts.get(entry.attempt_id)
    yield from _differences(entry, cycle, "the cycle's", priced=entry.attempt_id not in repriced)
    if entry.attempt_id is None:
        return
    if attempt is None or attempt.cycle_id != entry.cycle_id:
        yield "its attempt is not one of the cycle's"
        return
    yield from _differences(entry, attempt, "the attempt's")
    if entry.kind == EntryKind.PAID and entry.pg_tx_id != attempt.pg_tx_id:
        yield "its PG transaction is not the attempt's"


def _differences(
    entry: StoredEntry, facts: CycleFacts | AttemptFacts, whose: str, *, priced: bool = True
) -> Iterator[str]:
    # An entry about an attempt says all of it, except that a person's voiding names no amount.
    whole = entry.kind in _OF_ATTEMPTS
    if (whole or entry.payment_id is not None) and entry.payment_id != facts.payment_id:
        yield f"its payment id is not {whose}"
    if (whole or entry.currency is not None) and entry.currency != facts.currency:
        yield f"its currency is not {whose}"
    if priced and whole and entry.kind != EntryKind.VOIDED and entry.amount_minor != facts.amount_minor:
        yield f"its amount is not {whose}"


def _cycle_faults(cycle: CycleFacts, entries: Sequence[StoredEntry], *, attempted: bool) -> Iterator[str]:
    paid = [entry for entry in entries if entry.kind == EntryKind.PAID]
    if len(paid) != (cycle.status == CycleStatus.PAID):
        found = ", ".join(str(entry.sequence) for entry in paid) or "not there"
        yield f"the cycle is {cycle.status}, its paid entry is {found}"
    if attempted != (cycle.status == CycleStatus.PAID):
        yield f"the cycle is {cycle.status}, and {'an' if attempted else 'no'} attempt on it is paid"
    refunded = sum(entry.amount_minor or 0 for entry in entries if entry.kind == EntryKind.REFUNDED)
    collected = sum(entry.amount_minor or 0 for entry in paid)
    if refunded > collected:
        yield f"{refunded} is refunded of {collected} that were paid"


def _attempt_faults(
    attempt: AttemptFacts, cycle: CycleFacts, entries: Sequence[StoredEntry], *, priced: bool
) -> Iterator[str]:
    if attempt.subscription_id != cycle.subscription_id or attempt.payment_id != cycle.payment_id:
        yield "its subscription or payment id is not the cycle's"
    same_amount = attempt.amount_minor == cycle.amount_minor or not priced
    if not same_amount or attempt.currency != cycle.currency:
        yield "its amount or currency is not the cycle's"
    kinds = [entry.kind for entry in entries]
    intents = kinds.count(EntryKind.INTENT)
    if intents != 1:
        yield f"has {intents} intent entries"
    booked = kinds.count(EntryKind.SCHEDULED)
    if booked > int(attempt.booking):
        yield f"is {'a' if attempt.booking else 'no'} booking, and has {booked} scheduled entries"
    told = [kind for kind in kinds if kind in _OUTCOMES]
    if told not in _stories(attempt, kinds):
        yield f"is {attempt.status}, and its entries say {', '.join(told) or 'nothing'}"


def _stories(attempt: AttemptFacts, kinds: Sequence[str]) -> list[list[str]]:
    """What the outcome entries of an attempt may say, in their order."""
    if attempt.status == AttemptStatus.OPEN:
        return [[]]
    stories = [[attempt.status]]
    if attempt.status == AttemptStatus.PAID and EntryKind.CORRECTED in kinds:
        stories += [[earlier, attempt.status] for earlier in sorted(_OUTCOMES - {AttemptStatus.PAID.value})]
    return stories
