"""Writing down a schedule that was taken over: onto the subscription that it was compared with, and one at a time."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import asyncpg
import pytest

from billing_worker.billing.outcomes import Absent
from billing_worker.billing.periods import due_at, nth_period
from billing_worker.billing.taking_over import Row, TakeOver, judge
from billing_worker.store import subscriptions
from billing_worker.store.db import Database
from billing_worker.store.taking_over import find_known, take_over_schedule
from billing_worker.workers.renewer import Renewer
from tests.builders import STORE_ID, a_plan, eventually
from tests.sound_bookings import a_schedule

THEIRS = "order-0001"
PLAN = a_plan()
DUE_AT = due_at(PLAN.cadence, nth_period(PLAN.cadence, 1))
NOW = DUE_AT - timedelta(days=2)


async def compared(worker: Database, business_key: str = "sub-1") -> TakeOver:
    """A schedule that was found to be the subscription's next period."""
    plan = replace(PLAN, business_key=business_key)
    await subscriptions.add_subscriptions(worker.claims, [(plan, DUE_AT)])
    known = await find_known(worker.claims, [business_key], [THEIRS])
    schedule = a_schedule(payment_id=THEIRS, time_to_pay=DUE_AT)
    taken = judge(Row(2, business_key, THEIRS), known.candidates[business_key], [schedule], Absent(), store_id=STORE_ID)
    assert isinstance(taken, TakeOver), taken
    return taken


async def write(worker: Database, taken: TakeOver) -> bool:
    return await take_over_schedule(
        worker.claims, taken, store_id=STORE_ID, now=NOW, look_at=DUE_AT + timedelta(minutes=1), actor="kim"
    )


async def test_what_was_compared_is_written_once(worker: Database, admin: Any) -> None:
    taken = await compared(worker)

    assert [await write(worker, taken), await write(worker, taken)] == [True, False]
    row = await admin.fetchrow("SELECT next_cycle_number, next_due_at FROM billing.subscriptions")
    assert tuple(row) == (2, due_at(PLAN.cadence, nth_period(PLAN.cadence, 2)).astimezone(UTC))


@pytest.mark.parametrize(
    "change",
    [
        "amount_minor = 12900",
        "billing_key = 'bk-ok-new'",
        "status = 'cancelled'",
        "status = 'held', held_reason = 'x'",
        "currency = 'USD'",
        "next_cycle_number = 2",
    ],
)
async def test_onto_a_subscription_that_has_changed_nothing_is_written(
    worker: Database, admin: Any, change: str
) -> None:
    # given
    taken = await compared(worker)
    await admin.execute(f"UPDATE billing.subscriptions SET {change}")

    # when
    written = await write(worker, taken)

    # then
    assert written is False
    assert await admin.fetchval("SELECT count(*) FROM billing.cycles") == 0
    assert await admin.fetchval("SELECT count(*) FROM billing.ledger") == 0


async def test_a_period_that_a_renewer_has_opened_meanwhile_is_left_to_it(worker: Database, admin: Any) -> None:
    # given
    taken = await compared(worker)
    renewer = Renewer(worker.claims, store_id=STORE_ID, lead=timedelta(days=3), batch_max=10, actor="worker-1")
    await renewer.run_once(DUE_AT)

    # when
    written = await write(worker, taken)

    # then
    assert written is False
    assert [row["adopted"] for row in await admin.fetch("SELECT adopted FROM billing.cycles")] == [False]


async def test_one_payment_id_is_never_two_subscriptions_whatever_their_shards(worker: Database, admin: Any) -> None:
    first, second = await compared(worker), await compared(worker, "sub-2")
    assert first.candidate.shard != second.candidate.shard

    assert [await write(worker, first), await write(worker, second)] == [True, False]
    assert await admin.fetchval("SELECT count(*) FROM billing.cycles") == 1


async def test_whoever_comes_second_waits_for_what_the_first_is_writing(worker: Database, admin: Any) -> None:
    # given
    taken = await compared(worker)
    async with worker.claims.transaction() as before:
        await before.fetch("take_turns", NOW)

    async def waits() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
        return bool(await admin.fetchval(waiting, "%schedules import%"))

    # when
    async with worker.claims.transaction() as first:
        await first.fetch("take_turns", NOW)
        second = asyncio.create_task(write(worker, taken))
        await eventually(waits)
        waited = not second.done()

    # then
    assert (waited, await second) == (True, True)


@pytest.mark.parametrize(
    ("adopted", "mode", "payment_id", "taken"),
    [
        (True, "schedule", "abc_-1", True),
        (True, "schedule", "a" * 64, True),
        (True, "schedule", "short", False),
        (True, "schedule", "a" * 65, False),
        (True, "schedule", "has space", False),
        (True, "charge", "abc_-1", False),
        (False, "schedule", "abc_-1", False),
        (False, "charge", "A" * 30, False),
    ],
)
async def test_the_database_takes_another_form_of_id_for_adopted_cycles_only(
    worker: Database, admin: Any, *, adopted: bool, mode: str, payment_id: str, taken: bool
) -> None:
    await compared(worker)
    insert = (
        "INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, "
        "amount_minor, currency, order_name, store_id, claimable_at, adopted, mode, payment_id) "
        "SELECT shard, subscription_id, 1, '2026-01-31', '2026-02-28', now(), 9900, 'KRW', 'x', 'store-test', now(), "
        "$1, $2, $3 FROM billing.subscriptions"
    )
    expected = nullcontext() if taken else pytest.raises(asyncpg.CheckViolationError, match="cycles_")
    with expected:
        await admin.execute(insert, adopted, mode, payment_id)
