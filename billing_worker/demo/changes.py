"""What people do while the run lasts: prices change and subscriptions end, by the statements that the commands use.

Nothing here looks at what comes of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from billing_worker.billing.money import Money
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.store import control, db, subscriptions
from billing_worker.store.db import Database, PoolLimits

_LIMITS = PoolLimits(claims_max=1, outcomes_max=1, command_seconds=60.0)
_ACTOR = "demo"

RISE_WON = 1_000


def set_due_times(url: str, due_at: Mapping[str, datetime]) -> None:
    """Have these subscriptions be due at these instants. The URL is the owner's of the tables."""

    async def set_them(database: Database) -> None:
        rows = await database.claims.fetch("demo_set_due", list(due_at), list(due_at.values()))
        assert len(rows) == len(due_at), "the file has been imported"

    asyncio.run(_on_database(url, set_them))


def raise_prices_and_cancel(url: str, dearer: Sequence[str], cancelled: Sequence[str]) -> None:
    """Raise the prices of some subscriptions and end others, as the worker's login may."""

    async def change(database: Database) -> None:
        async with database.claims.transaction() as transaction:
            now = await control.primary_clock(transaction)
            known = await subscriptions.find_subscriptions(transaction, dearer)
            changed = [(one, _dearer(one.plan)) for one in known.values()]
            await subscriptions.change_subscriptions(transaction, changed, now=now)
        for key in cancelled:
            await subscriptions.cancel_subscription(
                database.claims, key, reason="the customer has left", actor=_ACTOR, now=now
            )

    asyncio.run(_on_database(url, change))


def _dearer(plan: PlannedSubscription) -> PlannedSubscription:
    return replace(plan, price=Money(plan.price.amount_minor + RISE_WON, plan.price.currency))


async def _on_database(url: str, work: Callable[[Database], Awaitable[None]]) -> None:
    database = await db.connect(url, _LIMITS, application_name="billing-worker demo")
    try:
        await work(database)
    finally:
        await database.close()
