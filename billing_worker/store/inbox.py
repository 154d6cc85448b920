"""The webhook inbox: hints that wait to be read, and what each came to. One function a named query of sql/queries.

A hint orders a look and changes nothing else, here as everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing_worker.billing.model import SHARDS
from billing_worker.store.db import Executor, columns


@dataclass(frozen=True, slots=True)
class Hint:
    """What is kept of a webhook: of which payment it spoke, never what it claimed about it."""

    webhook_id: str
    event_type: str
    payment_id: str
    transaction_id: str | None
    cancellation_id: str | None
    # Whether it named our store; None where its version names none.
    store_matches: bool | None
    sent_at: datetime
    received_at: datetime


class HintResult(StrEnum):
    """What reading a hint came to."""

    ORDERED = "ordered"  # the newest attempt is looked at next
    SENDING = "sending"  # its sender still has it, and learns the same by the answer
    NO_ATTEMPT = "no_attempt"  # the cycle is ours, and nothing was ever tried
    UNKNOWN = "unknown"  # no payment of ours


@dataclass(frozen=True, slots=True)
class ReadHint:
    """A hint that has just been read."""

    webhook_id: str
    result: HintResult
    received_at: datetime


async def keep_hints(db: Executor, hints: Sequence[Hint]) -> set[str]:
    """Write the hints. Returns the ids of those that were not there before."""
    # In one order everywhere: of two workers that are sent the same two webhooks, neither waits for the other for ever.
    rows = [
        (
            h.webhook_id,
            h.event_type,
            h.payment_id,
            h.transaction_id,
            h.cancellation_id,
            h.store_matches,
            h.sent_at,
            h.received_at,
        )
        for h in sorted(hints, key=lambda hint: hint.webhook_id)
    ]
    kept = await db.fetch("keep_hints", *columns(rows, 8))
    return {row["webhook_id"] for row in kept}


async def read_hints(db: Executor, *, now: datetime, limit: int) -> list[ReadHint]:
    """Order the looks of up to limit unread hints, oldest first, and mark them read."""
    rows = await db.fetch("read_hints", list(range(SHARDS)), now, limit)
    return [ReadHint(row["webhook_id"], HintResult(row["result"]), row["received_at"]) for row in rows]


async def unread_hints(db: Executor, *, limit: int) -> int:
    """How many hints are unread, counted up to a limit."""
    count: int = (await db.fetch("unread_hints", limit))[0]["unread"]
    return count


async def forget_hints(db: Executor, *, before: datetime, limit: int) -> int:
    """Delete up to limit hints that were read and are older than that. Returns how many."""
    return len(await db.fetch("forget_hints", before, limit))
