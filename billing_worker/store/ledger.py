"""The ledger as it is read: its newest entries, and page by page for the verification and the seal."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

import asyncpg

from billing_worker.billing.audit import AttemptFacts, CycleFacts, disagreements
from billing_worker.billing.ledger import StoredEntry, chain_fault
from billing_worker.billing.model import shard_of
from billing_worker.billing.seal import Head, Seal
from billing_worker.store.db import Executor

# A page of the verification: as many subscriptions as have so many entries between them. A few megabytes.
PAGE_SUBSCRIPTIONS = 1_000
PAGE_ENTRIES = 5_000
# Nobody reads more; a shard that has as many is not read further.
FAULTS_MAX = 1_000

_LAST_ID = 2**63 - 1


async def tail_ledger(
    db: Executor, *, limit: int, after: datetime | None = None, business_key: str | None = None
) -> list[asyncpg.Record]:
    """The newest entries, newest first."""
    if business_key is None:
        return await db.fetch("tail_ledger", after, limit)
    return await db.fetch("tail_subscription", shard_of(business_key), business_key, after, limit)


async def follow_ledger(
    db: Executor, *, after: datetime, limit: int, business_key: str | None = None
) -> list[asyncpg.Record]:
    """The entries since a moment, that moment included, oldest first."""
    if business_key is None:
        return await db.fetch("follow_ledger", after, limit)
    return await db.fetch("follow_subscription", shard_of(business_key), business_key, after, limit)


async def verify_shard(db: Executor, shard: int, *, seal: Seal | None = None) -> tuple[int, list[str]]:
    """Recompute every chain of a shard, and compare its entries with its cycles and attempts.

    Returns how many entries were read and what is wrong, in words. The heads go into the seal, if there is one.
    """
    count, faults = 0, list[str]()
    async for span in _pages(db, shard):
        entries = [StoredEntry(**dict(row)) for row in await db.fetch("read_chains", *span)]
        heads = await db.fetch("read_heads", *span)
        cycles = [CycleFacts(**dict(row)) for row in await db.fetch("read_cycles", *span)]
        attempts = [AttemptFacts(**dict(row)) for row in await db.fetch("read_attempts", *span)]
        count += len(entries)
        faults += _chain_faults(entries)
        faults += _head_faults(heads, entries)
        faults += disagreements(cycles, attempts, entries)
        if seal:
            for head in _heads(heads):
                seal.add(head)
        if len(faults) > FAULTS_MAX:
            return count, [*faults[:FAULTS_MAX], "there is more; the rest of the shard was not read"]
    return count, faults


async def read_heads(db: Executor, shard: int) -> AsyncIterator[Head]:
    """The heads of a shard, in the order in which a seal has them."""
    async for span in _pages(db, shard):
        for head in _heads(await db.fetch("read_heads", *span)):
            yield head


async def broken_seals(db: Executor, heads: Sequence[Head]) -> list[str]:
    """Which of the sealed heads are no longer in their chains, in words."""
    rows = await db.fetch(
        "sealed_entries",
        list(range(len(heads))),
        [shard_of(head.business_key) for head in heads],
        [head.business_key for head in heads],
        [head.sequence for head in heads],
    )
    standing = {row["position"]: row["entry_hash"] for row in rows}
    return [
        f"subscription {head.business_key}: sealed entry {head.sequence} {'is another one' if there else 'is gone'}"
        for position, head in enumerate(heads)
        if (there := standing[position]) is None or there.hex() != head.entry_hash
    ]


async def _pages(db: Executor, shard: int) -> AsyncIterator[tuple[int, int, int]]:
    """The shard and the ends of each page of its subscriptions.

    The pages meet, and the last one has no end: whatever names a subscription that is not there is on one of them.
    """
    after = -_LAST_ID
    while True:
        rows = await db.fetch("chain_lengths", shard, after, PAGE_SUBSCRIPTIONS)
        taken, entries = 0, 0
        while taken < len(rows) and (taken == 0 or entries + rows[taken]["entries"] <= PAGE_ENTRIES):
            entries += rows[taken]["entries"]
            taken += 1
        if taken == len(rows) < PAGE_SUBSCRIPTIONS:
            yield shard, after, _LAST_ID
            return
        yield shard, after, (after := rows[taken - 1]["subscription_id"])


def _heads(rows: Iterable[asyncpg.Record]) -> Iterator[Head]:
    for row in rows:
        if row["business_key"] is not None:
            yield Head(row["business_key"], row["sequence"], row["entry_hash"].hex())


def _chain_faults(entries: Iterable[StoredEntry]) -> Iterator[str]:
    for subscription_id, chain in groupby(entries, key=lambda entry: entry.subscription_id):
        previous: StoredEntry | None = None
        for entry in chain:
            fault = chain_fault(entry, previous)
            if fault:
                yield f"subscription {subscription_id}, entry {entry.sequence}: {fault}"
            previous = entry


def _head_faults(rows: Iterable[asyncpg.Record], entries: Iterable[StoredEntry]) -> Iterator[str]:
    heads = {row["subscription_id"]: (row["sequence"], row["entry_hash"]) for row in rows}
    last = {entry.subscription_id: (entry.sequence, entry.entry_hash) for entry in entries}
    for subscription_id in sorted(heads.keys() | last.keys()):
        if heads.get(subscription_id) != last.get(subscription_id):
            yield f"subscription {subscription_id}: the chain does not end where its head says"
