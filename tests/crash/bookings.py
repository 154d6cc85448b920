"""Subscriptions in schedule mode, and what people do to them while PortOne has their bookings.

A database may be away while somebody works: what was not acknowledged is done again, and the same thing twice is once.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.money import Money
from billing_worker.billing.periods import PeriodUnit
from billing_worker.billing.states import Mode
from billing_worker.store import subscriptions
from billing_worker.store.db import Database, DatabaseGoneError, RowRefusedError
from tests.builders import a_cadence, a_plan, eventually
from tests.crash.harness import Stage
from tests.crash.servers import AWAY, RECOVERY_SECONDS_MAX

DEARER = Money(12_000, "KRW")

# Long enough for a test to do something before the time comes, and less than the lead.
AHEAD = timedelta(minutes=40)


async def add_ahead(stage: Stage, billing_keys: Sequence[str], due_in: Callable[[int], timedelta]) -> list[str]:
    """One subscription of schedule mode for each billing key, its first month due that long from now."""
    plans = []
    for number, billing_key in enumerate(billing_keys):
        due_at = (stage.now.astimezone(UTC) + due_in(number)).replace(microsecond=0) + timedelta(seconds=1)
        cadence = replace(
            a_cadence(PeriodUnit.MONTH, anchor_on=due_at.date(), zone="UTC"),
            charge_at=due_at.time().replace(tzinfo=None),
        )
        plan = a_plan(f"sub-{billing_key}", billing_key, cadence=cadence, mode=Mode.SCHEDULE)
        plans.append((plan, due_at))
    await surely(stage, lambda store: subscriptions.add_subscriptions(store.claims, plans))
    return [plan.business_key for plan, _ in plans]


async def change_price(stage: Stage, *business_keys: str) -> None:
    """What an import with another price does."""
    await _change(stage, business_keys, lambda _: {"price": DEARER})


async def change_card(stage: Stage, *business_keys: str) -> None:
    """What an import with another card does."""
    await _change(stage, business_keys, lambda key: {"billing_key": BillingKey(f"bk-ok-new-{key}")})


async def _change(stage: Stage, business_keys: Sequence[str], changed: Callable[[str], dict[str, Any]]) -> None:
    async def change(store: Database) -> None:
        async with store.claims.transaction() as transaction:
            known = await subscriptions.find_subscriptions(transaction, business_keys)
            pairs = [(one, replace(one.plan, **changed(key))) for key, one in known.items()]
            await subscriptions.change_subscriptions(transaction, pairs, now=stage.now)

    await surely(stage, change)


async def cancel(stage: Stage, *business_keys: str) -> None:
    """What `billing-worker cancel` does."""

    async def end(store: Database) -> None:
        for key in business_keys:
            await subscriptions.cancel_subscription(store.claims, key, reason="moved away", actor="kim", now=stage.now)

    await surely(stage, end)


async def surely(stage: Stage, work: Callable[[Database], Awaitable[object]]) -> None:
    """Do it until it is acknowledged. A row that is there already was written by a commit that was not."""

    async def done() -> bool:
        try:
            store = await stage.store()
        except (DatabaseGoneError, *AWAY):
            return False
        try:
            await work(store)
        except (DatabaseGoneError, *AWAY):
            return False
        except RowRefusedError as error:
            return "duplicate" in str(error) or "unique" in str(error).lower()
        finally:
            await store.close()
        return True

    await eventually(done, seconds_max=RECOVERY_SECONDS_MAX)
