"""Schedules that are taken over from a merchant: what they are compared with, and the cycle that one becomes.

One function a named query of sql/queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import SHARDS, booking_key, shard_of
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit
from billing_worker.billing.states import SubscriptionStatus
from billing_worker.billing.taking_over import Candidate, TakeOver
from billing_worker.store.db import Executor, Pool


@dataclass(frozen=True, slots=True)
class Known:
    """What our books have of some rows: subscriptions by business key, and by payment_id whose cycle has it."""

    candidates: dict[str, Candidate]
    owners: dict[str, str]


async def find_known(db: Executor, business_keys: Sequence[str], payment_ids: Sequence[str]) -> Known:
    """What is known of them. Raises ValueError where a row has a cadence that no date can be counted from."""
    shards = sorted({shard_of(key) for key in business_keys})
    found = await db.fetch("subscriptions_to_take_over", shards, list(business_keys))
    owners = await db.fetch("payments_known", list(range(SHARDS)), list(payment_ids))
    return Known(
        {row["business_key"]: _candidate(row) for row in found},
        {row["payment_id"]: row["business_key"] for row in owners},
    )


async def take_over_schedule(
    pool: Pool, wanted: TakeOver, *, store_id: str, now: datetime, look_at: datetime, actor: str
) -> bool:
    """Make the schedule the next cycle of its subscription, in one transaction.

    False where the subscription is not what the schedule was compared with any more, or the payment_id has a cycle.
    """
    candidate = wanted.candidate
    async with pool.transaction() as transaction:
        await transaction.fetch("take_turns", now)
        rows = await transaction.fetch(
            "take_over_schedule",
            candidate.shard,
            candidate.subscription_id,
            candidate.business_key,
            candidate.next_cycle_number,
            candidate.billing_key.reveal(),
            candidate.price.amount_minor,
            candidate.price.currency,
            list(range(SHARDS)),
            wanted.payment_id,
            wanted.period.start_on,
            wanted.period.end_on,
            wanted.time_to_pay,
            store_id,
            wanted.next_due_at,
            booking_key(wanted.payment_id, 1),
            now,
            look_at,
            actor,
            wanted.schedule_id,
        )
    return bool(rows)


def _candidate(row: asyncpg.Record) -> Candidate:
    return Candidate(
        shard=row["shard"],
        subscription_id=row["subscription_id"],
        business_key=row["business_key"],
        status=SubscriptionStatus(row["status"]),
        billing_key=BillingKey(row["billing_key"]),
        price=Money(row["amount_minor"], row["currency"]),
        cadence=Cadence(
            PeriodUnit(row["period_unit"]), row["period_count"], row["anchor_on"], row["zone"], row["charge_at"]
        ),
        first_cycle_number=row["first_cycle_number"],
        next_cycle_number=row["next_cycle_number"],
    )
