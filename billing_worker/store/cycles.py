"""Cycles: opening, claiming, giving back, setting aside. One function a named query of sql/queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import asyncpg

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import SHARDS, ClaimedCycle, Customer
from billing_worker.billing.money import Money
from billing_worker.billing.states import CycleStatus, Mode, SubscriptionStatus
from billing_worker.store.db import Executor, columns


@dataclass(frozen=True, slots=True)
class NewCycle:
    """A cycle to open, and when its subscription's next one is due."""

    shard: int
    subscription_id: int
    business_key: str
    cycle_number: int
    period_start_on: date
    period_end_on: date
    due_at: datetime
    price: Money
    order_name: str
    payment_id: str
    next_due_at: datetime
    mode: Mode
    claimable_at: datetime  # before due_at where it is to be booked


@dataclass(frozen=True, slots=True)
class DueShard:
    """A shard with a cycle to collect; suspect where the oldest was claimed before and nothing came of it."""

    shard: int
    suspect: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What stands in the queue, for the gauges. due and unopened are counted up to 2,000 a shard.

    unopened are the periods that have come and are no cycles yet: a renewer takes seconds over them, if one runs. held
    is the list of exceptions. to_take_back are the bookings that PortOne is still to take back; the first is charged at
    first_unwanted_at unless it does.
    """

    due: int
    oldest_due_at: datetime | None
    unopened: int
    held: int
    open_attempts: int
    oldest_open_at: datetime | None
    to_take_back: int
    first_unwanted_at: datetime | None


async def shards_due(db: Executor, now: datetime, *, store_id: str) -> list[DueShard]:
    """The shards that have a cycle of the store to collect, the one that has waited longest first."""
    return [DueShard(row["shard"], row["suspect"]) for row in await db.fetch("shards_due", now, store_id)]


async def open_cycles(db: Executor, cycles: Sequence[NewCycle], *, store_id: str) -> int:
    """Open the store's cycles and move their subscriptions on. Returns how many were opened."""
    rows = [
        (
            c.shard,
            c.subscription_id,
            c.business_key,
            c.cycle_number,
            c.period_start_on,
            c.period_end_on,
            c.due_at,
            c.price.amount_minor,
            c.price.currency,
            c.order_name,
            c.payment_id,
            c.next_due_at,
            c.mode,
            c.claimable_at,
        )
        for c in cycles
    ]
    return int((await db.fetch("open_cycles", *columns(rows, 14), store_id))[0]["cycles"])


async def claim_due_cycles(
    db: Executor,
    shard: int,
    *,
    store_id: str,
    now: datetime,
    lease_until: datetime,
    limit: int,
    suspects: bool = False,
) -> list[ClaimedCycle]:
    """Take up to limit of the shard's oldest due cycles until lease_until: suspects only, or none of them."""
    rows = await db.fetch("claim_due_cycles", shard, now, lease_until, limit, suspects, store_id)
    return [_claimed(row) for row in rows]


async def release_cycles(db: Executor, cycles: Sequence[ClaimedCycle], *, claimable_at: datetime) -> None:
    """Give claimed cycles back."""
    rows = [(c.shard, c.cycle_id, c.payment_id, c.claim_epoch) for c in cycles]
    await db.fetch("release_cycles", *columns(rows, 4), claimable_at)


async def set_aside_cycles(
    db: Executor, cycles: Sequence[tuple[ClaimedCycle, CycleStatus, str]], *, actor: str
) -> set[str]:
    """End claims as held or skipped, each for a reason. Returns the payment_ids of those that were still ours."""
    rows = [(c.shard, c.cycle_id, c.payment_id, c.claim_epoch, status.value, reason) for c, status, reason in cycles]
    return {row["payment_id"] for row in await db.fetch("set_aside_cycles", *columns(rows, 6), actor)}


async def skip_cycle(
    db: Executor, payment_id: str, *, reason: str, actor: str, now: datetime, recheck_at: datetime
) -> bool:
    """Skip an uncollected cycle by a person's decision. False where there is none that may be skipped."""
    rows = await db.fetch("skip_cycle", list(range(SHARDS)), payment_id, reason, actor, recheck_at, now)
    return bool(rows[0]["moved"])


async def retry_cycle(db: Executor, payment_id: str, *, reason: str, actor: str, now: datetime) -> bool:
    """Make a held or given-up cycle due again. False where there is none that may be tried."""
    rows = await db.fetch("retry_cycle", list(range(SHARDS)), payment_id, reason, actor, now)
    return bool(rows[0]["moved"])


async def accept_cycle(db: Executor, payment_id: str, *, reason: str, actor: str) -> bool:
    """Accept a payment that differs from what a paid cycle asked for. False where nothing differs."""
    rows = await db.fetch("accept_cycle", list(range(SHARDS)), payment_id, reason, actor)
    return bool(rows[0]["moved"])


async def hold_cycle(db: Executor, payment_id: str, *, reason: str, actor: str, now: datetime) -> bool:
    """Set a cycle that is being collected aside for a person. False where it is not being collected."""
    rows = await db.fetch("hold_cycle", list(range(SHARDS)), payment_id, reason, actor, now)
    return bool(rows[0]["moved"])


async def list_exceptions(db: Executor, limit: int) -> list[asyncpg.Record]:
    """The cycles that a person has to decide about, oldest first."""
    return await db.fetch("list_exceptions", limit)


async def backlog(db: Executor, now: datetime) -> Backlog:
    """What stands in the queue."""
    row = (await db.fetch("backlog", now))[0]
    return Backlog(**dict(row))


def _claimed(row: asyncpg.Record) -> ClaimedCycle:
    return ClaimedCycle(
        shard=row["shard"],
        cycle_id=row["cycle_id"],
        subscription_id=row["subscription_id"],
        business_key=row["business_key"],
        subscription_status=SubscriptionStatus(row["subscription_status"]),
        cycle_number=row["cycle_number"],
        payment_id=row["payment_id"],
        price=Money(row["amount_minor"], row["currency"]),
        order_name=row["order_name"],
        customer=Customer(row["customer_id"], row["customer_name"], row["customer_phone"], row["customer_email"]),
        billing_key=BillingKey(row["billing_key"]),
        due_at=row["due_at"],
        claim_epoch=row["claim_epoch"],
        fruitless_claims=row["fruitless_claims"],
        attempts_count=row["attempts_count"],
        mode=Mode(row["mode"]),
    )
