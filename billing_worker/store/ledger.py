"""The ledger as it is read: its newest entries, and whole chains for the verification."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

import asyncpg

from billing_worker.billing.ledger import StoredEntry, chain_fault
from billing_worker.store.db import Executor


async def tail_ledger(
    db: Executor, *, limit: int, after: datetime | None = None, business_key: str | None = None
) -> list[asyncpg.Record]:
    """The newest entries, newest first."""
    return await db.fetch("tail_ledger", after, business_key, limit)


async def follow_ledger(
    db: Executor, *, after: datetime, limit: int, business_key: str | None = None
) -> list[asyncpg.Record]:
    """The entries since a moment, that moment included, oldest first."""
    return await db.fetch("follow_ledger", after, business_key, limit)


async def verify_shard(db: Executor, shard: int) -> tuple[int, list[str]]:
    """Recompute every chain of a shard. Returns how many entries were read and what is wrong, in words."""
    heads = {row["subscription_id"]: row for row in await db.fetch("read_heads", shard)}
    entries = [StoredEntry(**dict(row)) for row in await db.fetch("read_chains", shard)]
    faults = list(_chain_faults(entries))
    last = {entry.subscription_id: entry for entry in entries}
    for subscription_id in sorted(heads.keys() | last.keys()):
        head, entry = heads.get(subscription_id), last.get(subscription_id)
        if (
            head is None
            or entry is None
            or (head["sequence"], head["entry_hash"]) != (entry.sequence, entry.entry_hash)
        ):
            faults.append(f"subscription {subscription_id}: the chain does not end where its head says")
    faults.extend(
        f"payment {row['payment_id']}: the cycle is {row['cycle_status']}, its paid entry is {row['paid_sequence']}"
        for row in await db.fetch("paid_disagreements", shard)
    )
    return len(entries), faults


def _chain_faults(entries: list[StoredEntry]) -> Iterator[str]:
    for subscription_id, chain in groupby(entries, key=lambda entry: entry.subscription_id):
        previous: StoredEntry | None = None
        for entry in chain:
            fault = chain_fault(entry, previous)
            if fault:
                yield f"subscription {subscription_id}, entry {entry.sequence}: {fault}"
            previous = entry
