"""Bookings as people see them: what PortOne is to charge by itself, and the wish to have one taken back."""

from datetime import datetime

import asyncpg

from billing_worker.billing.model import SHARDS
from billing_worker.store.db import Executor


async def list_bookings(db: Executor, *, ended_too: bool, limit: int) -> list[asyncpg.Record]:
    """What is booked, the next to be charged first."""
    return await db.fetch("list_bookings", ended_too, limit)


async def bookings_to_take_back(db: Executor) -> tuple[int, datetime | None]:
    """How many bookings PortOne is still to take back, and when the first of them would be charged."""
    [row] = await db.fetch("bookings_to_take_back")
    return row["waiting"], row["first_at"]


async def revoke_booking(db: Executor, payment_id: str, *, reason: str, actor: str, now: datetime) -> bool:
    """Have a worker take the booking of a cycle back. False where none stands, or it is being taken back already."""
    return bool(await db.fetch("revoke_booking", list(range(SHARDS)), payment_id, reason, actor, now))
