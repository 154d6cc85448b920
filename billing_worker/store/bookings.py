"""Bookings as people see them: what PortOne is to charge by itself, and the wish to have one taken back."""

from datetime import datetime

import asyncpg

from billing_worker.billing.model import SHARDS
from billing_worker.store.db import Executor


async def list_bookings(db: Executor, *, ended_too: bool, limit: int) -> list[asyncpg.Record]:
    """What is booked, the next to be charged first."""
    return await db.fetch("list_bookings", ended_too, limit)


async def revoke_booking(db: Executor, payment_id: str, *, reason: str, actor: str, now: datetime) -> bool:
    """Have a worker take the booking of a cycle back. False where none stands, or it is being taken back already."""
    return bool(await db.fetch("revoke_booking", list(range(SHARDS)), payment_id, reason, actor, now))
