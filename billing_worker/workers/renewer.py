"""The renewer: opens the next cycle of every subscription whose time has come, or whose time to be booked has.

It works out dates and identifiers from the anchor and the cycle's number; it never sends anything. A subscription
whose next period cannot be worked out or opened is set aside with its reason, so that it does not stand before the
others.
"""

from datetime import datetime, timedelta

import structlog

from billing_worker.billing import model, periods
from billing_worker.billing.states import Mode
from billing_worker.store import cycles, subscriptions
from billing_worker.store.cycles import NewCycle
from billing_worker.store.db import Connection, Pool, RowRefusedError, StatementRefusedError
from billing_worker.store.subscriptions import DueSubscription
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()


class Renewer:
    """Turns due subscriptions into due cycles."""

    def __init__(self, claims: Pool, *, store_id: str, lead: timedelta, batch_max: int, actor: str) -> None:
        self._claims = claims
        self._store_id = store_id
        self._lead = lead  # how long before it is due a cycle of schedule mode is opened
        self._batch_max = batch_max
        self._actor = actor

    async def run_once(self, now: datetime) -> Counts:
        """Open one cycle for every due subscription, a batch a shard.

        A subscription several periods behind comes up again.
        """
        opened = 0
        shards = await subscriptions.shards_to_renew(self._claims, now, lead_until=now + self._lead)
        for shard in shards:
            opened += await self._renew(shard, now)
        return Counts(opened, more=bool(shards) and opened > 0)

    async def _renew(self, shard: int, now: datetime) -> int:
        try:
            return await self._open_together(shard, now)
        except StatementRefusedError:
            raise
        except RowRefusedError:
            # One cycle that Postgres does not take must not keep a whole shard from being renewed.
            return await self._open_one_by_one(shard, now)

    async def _open_one_by_one(self, shard: int, now: datetime) -> int:
        async with self._claims.transaction() as transaction:
            due = await self._lock_due(transaction, shard, now)
            return sum([await self._open_alone(transaction, one) for one in due])

    async def _open_alone(self, transaction: Connection, due: DueSubscription) -> int:
        new = await self._next_cycle(transaction, due)
        if new is None:
            return 0
        try:
            async with transaction.savepoint():
                return await cycles.open_cycles(transaction, [new], store_id=self._store_id)
        except RowRefusedError as error:
            await self._hold(transaction, due, f"cycle {new.cycle_number} is refused: {error}")
            return 0

    async def _open_together(self, shard: int, now: datetime) -> int:
        async with self._claims.transaction() as transaction:
            due = await self._lock_due(transaction, shard, now)
            new = [cycle for one in due if (cycle := await self._next_cycle(transaction, one)) is not None]
            return await cycles.open_cycles(transaction, new, store_id=self._store_id)

    async def _lock_due(self, transaction: Connection, shard: int, now: datetime) -> list[DueSubscription]:
        return await subscriptions.lock_due_subscriptions(
            transaction, shard, now=now, lead_until=now + self._lead, limit=self._batch_max
        )

    async def _next_cycle(self, transaction: Connection, due: DueSubscription) -> NewCycle | None:
        try:
            return new_cycle(due, store_id=self._store_id, lead=self._lead)
        except ValueError as error:
            await self._hold(transaction, due, str(error))
            return None

    async def _hold(self, transaction: Connection, due: DueSubscription, reason: str) -> None:
        log.error("subscription.held", subscription_id=due.subscription_id, reason=reason)
        await subscriptions.hold_subscription(transaction, due, reason=reason, actor=self._actor)


def new_cycle(due: DueSubscription, *, store_id: str, lead: timedelta) -> NewCycle:
    """The cycle that a subscription owes next, and when the one after it is due.

    Raises ValueError for an impossible cadence.
    """
    cadence = due.cadence()
    period = periods.nth_period(cadence, due.next_cycle_number)
    due_at = periods.due_at(cadence, period)
    following = periods.nth_period(cadence, due.next_cycle_number + 1)
    return NewCycle(
        shard=due.shard,
        subscription_id=due.subscription_id,
        business_key=due.business_key,
        cycle_number=due.next_cycle_number,
        period_start_on=period.start_on,
        period_end_on=period.end_on,
        due_at=due_at,
        price=due.price,
        order_name=due.order_name,
        payment_id=model.payment_id(store_id=store_id, business_key=due.business_key, period_start_on=period.start_on),
        next_due_at=periods.due_at(cadence, following),
        mode=due.mode,
        claimable_at=due_at - lead if due.mode is Mode.SCHEDULE else due_at,
    )
