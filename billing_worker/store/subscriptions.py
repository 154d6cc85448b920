"""Subscriptions: renewing, adding, changing, ending. One function a named query of sql/queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import Customer, shard_of
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode, SubscriptionStatus
from billing_worker.store.db import Executor, Pool, columns


@dataclass(frozen=True, slots=True)
class DueSubscription:
    """A subscription whose next period has come, as it stands in its row; the cadence is not checked yet."""

    shard: int
    subscription_id: int
    business_key: str
    order_name: str
    price: Money
    mode: Mode
    cadence_row: asyncpg.Record
    next_cycle_number: int

    def cadence(self) -> Cadence:
        """The cadence. Raises ValueError where the row has one that no date can be counted from."""
        return _cadence(self.cadence_row)


@dataclass(frozen=True, slots=True)
class KnownSubscription:
    """A subscription as it stands, for an import to compare with."""

    shard: int
    subscription_id: int
    status: SubscriptionStatus
    plan: PlannedSubscription


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What ending a subscription has done: nothing where it had been ended before."""

    ended: bool
    skipped: int  # cycles that were due
    revoking: int  # bookings that are to be taken back


async def shards_to_renew(db: Executor, now: datetime, *, lead_until: datetime) -> list[int]:
    """The shards that have a subscription whose next period has come, or is to be booked and comes by lead_until."""
    return [row["shard"] for row in await db.fetch("shards_to_renew", now, lead_until)]


async def lock_due_subscriptions(
    db: Executor, shard: int, *, now: datetime, lead_until: datetime, limit: int
) -> list[DueSubscription]:
    """The same of one shard, locked for this transaction: those that are owed first."""
    return [
        DueSubscription(
            shard=row["shard"],
            subscription_id=row["subscription_id"],
            business_key=row["business_key"],
            order_name=row["order_name"],
            price=Money(row["amount_minor"], row["currency"]),
            mode=Mode(row["mode"]),
            cadence_row=row,
            next_cycle_number=row["next_cycle_number"],
        )
        for row in await db.fetch("lock_due_subscriptions", shard, now, limit, lead_until)
    ]


async def hold_subscription(db: Executor, due: DueSubscription, *, reason: str, actor: str) -> None:
    """Set a subscription aside for a person."""
    await db.fetch("hold_subscription", due.shard, due.subscription_id, reason, actor)


async def find_subscriptions(db: Executor, business_keys: Sequence[str]) -> dict[str, KnownSubscription]:
    """Those of the business keys that are known, locked for this transaction."""
    shards = sorted({shard_of(key) for key in business_keys})
    rows = await db.fetch("find_subscriptions", shards, list(business_keys))
    return {
        row["business_key"]: KnownSubscription(
            row["shard"], row["subscription_id"], SubscriptionStatus(row["status"]), _plan(row)
        )
        for row in rows
    }


async def add_subscriptions(db: Executor, plans: Sequence[tuple[PlannedSubscription, datetime]]) -> int:
    """Insert the plans, each with the instant at which its first cycle is due. Raises RowRefusedError."""
    rows = [(*_identity(p), *_changeable(p), *_fixed(p), p.first_cycle_number, due_at) for p, due_at in plans]
    return len(await db.fetch("add_subscriptions", *columns(rows, 18)))


async def change_subscriptions(
    db: Executor, changed: Sequence[tuple[KnownSubscription, PlannedSubscription]], *, now: datetime
) -> None:
    """Give known subscriptions what may change of their plans.

    In the transaction in which they were found, so that they are locked. Bookings with another price or card than the
    plan's are marked to be taken back.
    """
    rows = [(known.shard, known.subscription_id, *_changeable(plan)) for known, plan in changed]
    await db.fetch("change_subscriptions", *columns(rows, 10), now)


async def cancel_subscription(pool: Pool, business_key: str, *, reason: str, actor: str, now: datetime) -> Cancellation:
    """End a subscription now. Its bookings are marked to be taken back."""
    shard = shard_of(business_key)
    async with pool.transaction() as transaction:
        await transaction.fetch("lock_subscription", shard, business_key)
        [row] = await transaction.fetch("cancel_subscription", shard, business_key, reason, actor, now)
    return Cancellation(bool(row["cancelled"]), row["skipped"], row["revoking"])


async def resume_subscription(db: Executor, business_key: str, *, reason: str, actor: str) -> bool:
    """Let a held subscription renew again. False where none is held."""
    rows = await db.fetch("resume_subscription", shard_of(business_key), business_key, reason, actor)
    return bool(rows[0]["resumed"])


async def list_subscriptions(
    db: Executor, *, status: str | None = None, after: str = "", limit: int = 100
) -> list[asyncpg.Record]:
    """Subscriptions in the order of their business keys, without billing keys."""
    return await db.fetch("list_subscriptions", status, after, limit)


async def show_subscription(db: Executor, business_key: str) -> asyncpg.Record | None:
    """One subscription, without its billing key; None where there is none."""
    rows = await db.fetch("show_subscription", shard_of(business_key), business_key)
    return rows[0] if rows else None


async def list_cycles(db: Executor, business_key: str, *, limit: int = 24) -> list[asyncpg.Record]:
    """The newest cycles of a subscription, newest first."""
    return await db.fetch("list_cycles", shard_of(business_key), business_key, limit)


def _cadence(row: asyncpg.Record) -> Cadence:
    return Cadence(PeriodUnit(row["period_unit"]), row["period_count"], row["anchor_on"], row["zone"], row["charge_at"])


def _plan(row: asyncpg.Record) -> PlannedSubscription:
    return PlannedSubscription(
        business_key=row["business_key"],
        customer=Customer(row["customer_id"], row["customer_name"], row["customer_phone"], row["customer_email"]),
        billing_key=BillingKey(row["billing_key"]),
        order_name=row["order_name"],
        price=Money(row["amount_minor"], row["currency"]),
        cadence=_cadence(row),
        first_cycle_number=row["first_cycle_number"],
        mode=Mode(row["mode"]),
    )


def _identity(plan: PlannedSubscription) -> tuple[object, ...]:
    return shard_of(plan.business_key), plan.business_key


def _changeable(plan: PlannedSubscription) -> tuple[object, ...]:
    return (
        plan.customer.customer_id,
        plan.customer.name,
        plan.customer.phone,
        plan.customer.email,
        plan.billing_key.reveal(),
        plan.order_name,
        plan.price.amount_minor,
        plan.mode,
    )


def _fixed(plan: PlannedSubscription) -> tuple[object, ...]:
    cadence = plan.cadence
    return (
        plan.price.currency,
        cadence.unit.value,
        cadence.count,
        cadence.anchor_on,
        cadence.zone,
        cadence.charge_at,
    )
