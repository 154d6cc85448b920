"""Differences between PortOne's books and ours: what stands here to be compared, and what was found to differ."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from billing_worker.billing.comparison import STRANGERS, Booking, Difference, DifferenceClass, OurCycle
from billing_worker.billing.ledger import MESSAGE_CHARS_MAX, bounded
from billing_worker.billing.model import SHARDS, booking_key
from billing_worker.billing.states import AttemptStatus, CycleStatus
from billing_worker.store.db import Executor, columns

# As many strangers' payments are shown at a time; a store whose other systems make more needs no list of them here.
STRANGERS_MAX = 1000

_ALL_SHARDS = list(range(SHARDS))


@dataclass(frozen=True, slots=True)
class PaidHere:
    """A payment of ours, and when it was made by PortOne's word."""

    payment_id: str
    paid_at: datetime


async def our_cycles(db: Executor, payment_ids: Collection[str]) -> dict[str, OurCycle]:
    """Those of the payment_ids that are ours."""
    rows = await db.fetch("our_cycles", _ALL_SHARDS, list(payment_ids))
    return {row["payment_id"]: _our_cycle(row) for row in rows}


async def paid_between(
    db: Executor, from_: datetime, until: datetime, *, store_id: str, seen: Collection[str], limit: int
) -> list[PaidHere]:
    """What was paid here within that time, without those that were seen; the oldest first."""
    rows = await db.fetch("paid_between", from_, until, store_id, list(seen), limit)
    return [PaidHere(row["payment_id"], row["paid_at"]) for row in rows]


async def booked_between(
    db: Executor,
    from_: datetime,
    until: datetime,
    *,
    made_before: datetime,
    store_id: str,
    seen: Collection[str],
    limit: int,
) -> list[str]:
    """The payment_ids of open bookings that are to be charged within that time, without those that were seen."""
    rows = await db.fetch("booked_between", from_, until, made_before, store_id, list(seen), limit)
    return [row["payment_id"] for row in rows]


async def note_differences(db: Executor, found: Sequence[Difference], *, now: datetime, actor: str) -> list[Difference]:
    """Write down what differs. Returns what is new."""
    if not found:
        return []
    unique = {(each.difference_class, each.payment_id, each.schedule_id): each for each in found}
    rows = [
        (each.difference_class, each.payment_id, each.schedule_id, bounded(each.what, MESSAGE_CHARS_MAX))
        for each in unique.values()
    ]
    strangers = sorted(STRANGERS)
    new = await db.fetch("note_differences", _ALL_SHARDS, *columns(rows, 4), now, strangers, STRANGERS_MAX, actor)
    return [
        Difference(DifferenceClass(row["class"]), row["payment_id"], row["what"], row["schedule_id"]) for row in new
    ]


async def end_differences(db: Executor, *, of_schedules: bool, not_seen_since: datetime, now: datetime) -> int:
    """End those that a whole comparison has not seen any more. Returns how many."""
    return len(await db.fetch("end_differences", of_schedules, not_seen_since, now))


async def count_differences(db: Executor) -> Mapping[DifferenceClass, int]:
    """How many stand, by class."""
    return {DifferenceClass(row["class"]): row["count"] for row in await db.fetch("count_differences")}


async def list_differences(db: Executor, *, ended_too: bool, limit: int) -> list[asyncpg.Record]:
    """The differences that stand, the newest first."""
    return await db.fetch("list_differences", ended_too, limit)


async def adopt_orphans(db: Executor, payment_ids: Collection[str], *, now: datetime) -> list[str]:
    """Let cycles be booked whose schedule stands at PortOne already. Returns whose."""
    rows = await db.fetch("adopt_orphans", _ALL_SHARDS, list(payment_ids), now)
    return [row["payment_id"] for row in rows]


async def adopt_skipped(
    db: Executor, forgotten: Sequence[tuple[OurCycle, str]], *, now: datetime, actor: str
) -> list[str]:
    """Open an attempt that is only looked at, and taken back, on skipped cycles that have none open. Returns whose.

    Each comes with the id of the schedule that PortOne has for it, or an empty one.
    """
    rows = [
        (each.shard, each.cycle_id, each.payment_id, number, booking_key(each.payment_id, number), schedule_id)
        for each, schedule_id in forgotten
        for number in [each.attempts_count + 1]
    ]
    adopted = await db.fetch("adopt_skipped", *columns(rows, 6), now, actor)
    return [row["payment_id"] for row in adopted]


def _our_cycle(row: Mapping[str, Any]) -> OurCycle:
    status = AttemptStatus(row["attempt_status"]) if row["attempt_status"] else None
    return OurCycle(
        shard=row["shard"],
        subscription_id=row["subscription_id"],
        cycle_id=row["cycle_id"],
        payment_id=row["payment_id"],
        cycle_status=CycleStatus(row["cycle_status"]),
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        attempts_count=row["attempts_count"],
        attempt_status=status,
        refunded_minor=row["refunded_minor"],
        sent_again=row["sent_again"],
        twice=row["twice"],
        booking=_booking(row) if status is AttemptStatus.OPEN and row["time_to_pay"] else None,
    )


def _booking(row: Mapping[str, Any]) -> Booking:
    return Booking(
        time_to_pay=row["time_to_pay"],
        amount_minor=row["booked_minor"],
        currency=row["booked_currency"],
        schedule_id=row["schedule_id"],
        revoke_reason=row["revoke_reason"],
        opened_at=row["opened_at"],
    )
