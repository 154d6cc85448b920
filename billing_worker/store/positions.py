"""Positions: how far PortOne's lists have been read, and the looks that are ordered by what they show.

A list is read by one worker at a time: the row's lease says who, and its epoch fences off whoever had it before. After
a failover the row may be older than what was written last, and then it is whoever reads next who goes on from there.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from billing_worker.billing.model import SHARDS
from billing_worker.store.db import Executor, columns

_NEWER_THAN_ANY = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """What of a list is being read: its two ends, and where the next page begins."""

    from_: datetime
    until: datetime
    started_at: datetime
    place: str | None = None  # None at the beginning


@dataclass(frozen=True, slots=True)
class Position:
    """A list that is ours to read until the lease ends."""

    name: str
    position: datetime  # everything before it has been read
    epoch: int
    lease_until: datetime  # as it was written last
    reading: Reading | None = None  # begun and not ended, by us or by somebody before us


class OrderResult(StrEnum):
    """What ordering a look came to."""

    ORDERED = "ordered"  # it is looked at next
    SENDING = "sending"  # its sender still has it, and learns the same by the answer
    KNOWN = "known"  # nothing that we have not seen
    BUSY = "busy"  # somebody was writing to it: to be ordered again
    NO_ATTEMPT = "no_attempt"  # the cycle is ours, and nothing was ever tried


@dataclass(frozen=True, slots=True)
class Change:
    """A payment that PortOne lists as changed. What it claims only says whether a look may be worth its cost."""

    payment_id: str
    changed_at: datetime
    paid: bool
    given_back: bool  # in part or as a whole; or the card holder contests it


async def claim_position(
    db: Executor, name: str, *, now: datetime, lease_until: datetime, first: datetime, at_once: bool = False
) -> Position | None:
    """Take the right to read a list. None while somebody has it, or until its time; at_once waits for nobody's time.

    A list that was never read begins at first.
    """
    rows = await db.fetch("claim_position", name, now, lease_until, first, at_once)
    if not rows:
        return None
    [row] = rows
    if row["reading_until"] is None:
        return Position(name, row["position"], row["epoch"], lease_until)
    reading = Reading(row["reading_from"], row["reading_until"], row["started_at"], row["place"])
    return Position(name, row["position"], row["epoch"], lease_until, reading)


async def keep_place(
    db: Executor, position: Position, reading: Reading, *, now: datetime, lease_until: datetime
) -> Position | None:
    """Write down how far the reading has come, and go on holding the list. None: it is not ours any more."""
    kept = await _move(db, position, reading, reached=position.position, now=now, claimable_at=lease_until)
    return replace(position, lease_until=lease_until, reading=reading) if kept else None


async def end_reading(
    db: Executor, position: Position, *, reached: datetime, now: datetime, claimable_at: datetime
) -> bool:
    """Write down that everything up to that moment has been read, and when to read on. False: it is not ours."""
    return await _move(db, position, None, reached=reached, now=now, claimable_at=claimable_at)


async def order_looks(
    db: Executor, changes: Sequence[Change], *, now: datetime, skew_max: timedelta
) -> dict[str, OrderResult]:
    """Have those of the payments that are ours looked at next, where there may be news; what came of it, by id."""
    rows = [(c.payment_id, c.changed_at, c.paid, c.given_back) for c in changes]
    found = await db.fetch("order_looks", list(range(SHARDS)), *columns(rows, 4), skew_max, now)
    return {row["payment_id"]: OrderResult(row["result"]) for row in found}


async def look_anyway(db: Executor, payment_ids: Collection[str], *, now: datetime) -> dict[str, OrderResult]:
    """The same whatever has been compared before."""
    changes = [Change(payment_id, _NEWER_THAN_ANY, paid=True, given_back=True) for payment_id in sorted(payment_ids)]
    return await order_looks(db, changes, now=now, skew_max=timedelta())


async def _move(
    db: Executor,
    position: Position,
    reading: Reading | None,
    *,
    reached: datetime,
    now: datetime,
    claimable_at: datetime,
) -> bool:
    ends = (reading.from_, reading.until, reading.place, reading.started_at) if reading else (None,) * 4
    written = (reached, *ends, claimable_at, now)
    return bool(await db.fetch("move_position", position.name, position.epoch, *written, position.lease_until))
