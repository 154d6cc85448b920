"""Claims and intents: a row has one holder at a time, and who has lost it can do nothing with it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from billing_worker.billing.model import ClaimedCycle, idempotency_key, shard_of
from billing_worker.billing.states import CycleStatus, Mode, SubscriptionStatus
from billing_worker.store import attempts, cycles, subscriptions
from billing_worker.store.attempts import Intent
from billing_worker.store.cycles import NewCycle
from billing_worker.store.db import Database
from billing_worker.store.subscriptions import Cancellation
from tests.builders import NOON, STORE_ID, a_plan
from tests.conftest import DatabaseUrls
from tests.rig import a_database

KEYS = [key for key in (f"key-{number}" for number in range(9000)) if shard_of(key) == 7]
LEASE = timedelta(seconds=60)


@pytest.fixture
async def worker(database: DatabaseUrls) -> AsyncIterator[Database]:
    async with a_database(database, claims_max=8) as pools:
        yield pools


@pytest.fixture
async def admin(database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.admin_url)
    yield connection
    await connection.close()


async def owe(worker: Database, admin: Any, count: int = 1) -> list[int]:
    """Due cycles of as many subscriptions in one shard, the oldest first; their ids."""
    await subscriptions.add_subscriptions(worker.claims, [(a_plan(key), NOON) for key in KEYS[:count]])
    rows = await admin.fetch(
        "SELECT subscription_id, shard, business_key FROM billing.subscriptions ORDER BY subscription_id"
    )
    new = [
        NewCycle(
            shard=row["shard"],
            subscription_id=row["subscription_id"],
            business_key=row["business_key"],
            cycle_number=1,
            period_start_on=NOON.date(),
            period_end_on=NOON.date() + timedelta(days=30),
            due_at=NOON - timedelta(minutes=count - position),
            price=a_plan().price,
            order_name="x",
            payment_id=f"rb1{position:027d}",
            next_due_at=NOON + timedelta(days=30),
            mode=Mode.CHARGE,
            claimable_at=NOON - timedelta(minutes=count - position),
        )
        for position, row in enumerate(rows)
    ]
    assert await cycles.open_cycles(worker.claims, new, store_id=STORE_ID) == count
    return [row["cycle_id"] for row in await admin.fetch("SELECT cycle_id FROM billing.cycles ORDER BY due_at")]


async def claim(
    worker: Database, *, after: timedelta = timedelta(), limit: int = 100, suspects: bool = False
) -> list[ClaimedCycle]:
    now = NOON + after
    return await cycles.claim_due_cycles(
        worker.claims, 7, store_id=STORE_ID, now=now, lease_until=now + LEASE, limit=limit, suspects=suspects
    )


def intent(cycle: ClaimedCycle, number: int = 1) -> Intent:
    return Intent(cycle, number, idempotency_key(cycle.payment_id, number), b'{"billingKey":"bk-ok-1"}')


async def open_now(worker: Database, *intents: Intent) -> list[int]:
    opened = await attempts.open_attempts(
        worker.claims, intents, now=NOON, look_at=NOON + timedelta(minutes=2), worker="worker-1"
    )
    return [attempt.cycle_id for attempt in opened]


async def test_the_oldest_due_cycles_are_claimed_first_and_at_most_so_many(worker: Database, admin: Any) -> None:
    owed = await owe(worker, admin, 10)

    first, rest = await claim(worker, limit=4), await claim(worker)

    assert {cycle.cycle_id for cycle in first} == set(owed[:4])
    assert {cycle.cycle_id for cycle in rest} == set(owed[4:])


async def test_a_claim_brings_what_a_charge_needs(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    plan = a_plan(KEYS[0])

    # when
    [cycle] = await claim(worker)

    # then
    assert (cycle.business_key, cycle.shard, cycle.price) == (plan.business_key, 7, plan.price)
    assert (cycle.customer, cycle.billing_key) == (plan.customer, plan.billing_key)
    assert (cycle.claim_epoch, cycle.fruitless_claims, cycle.attempts_count) == (1, 1, 0)
    assert cycle.subscription_status is SubscriptionStatus.ACTIVE


async def test_claimers_at_the_same_time_never_share_a_cycle(worker: Database, admin: Any) -> None:
    owed = await owe(worker, admin, 60)

    claims = await asyncio.gather(*(claim(worker, limit=15) for _ in range(8)))

    claimed = [cycle.cycle_id for batch in claims for cycle in batch]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= set(owed)


async def test_a_claimed_row_that_another_transaction_holds_is_passed_over(worker: Database, admin: Any) -> None:
    # given
    first, second = await owe(worker, admin, 2)
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute("SELECT 1 FROM billing.cycles WHERE cycle_id = $1 FOR UPDATE", first)

    # when
    claimed = await claim(worker)
    await transaction.rollback()

    # then
    assert [cycle.cycle_id for cycle in claimed] == [second]


async def test_a_claimed_cycle_is_not_due_until_its_lease_has_run_out(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    [first] = await claim(worker)

    # when
    early = await claim(worker, after=LEASE - timedelta(seconds=1), suspects=True)
    [late] = await claim(worker, after=LEASE, suspects=True)

    # then
    assert early == []
    assert (late.cycle_id, late.claim_epoch, late.fruitless_claims) == (first.cycle_id, 2, 2)
    assert await cycles.shards_due(worker.claims, NOON + LEASE, store_id=STORE_ID) == []
    [due] = await cycles.shards_due(worker.claims, NOON + 2 * LEASE, store_id=STORE_ID)
    assert (due.shard, due.suspect) == (7, True)


async def test_a_cycle_that_was_claimed_in_vain_is_claimed_apart_from_the_others(worker: Database, admin: Any) -> None:
    """It may be what ended the worker that had it before, and must not take a batch along."""
    # given
    await owe(worker, admin, 3)
    [suspect] = await claim(worker, limit=1)

    # when
    others, [again] = await claim(worker, after=LEASE), await claim(worker, after=LEASE, suspects=True)

    # then
    assert len(others) == 2
    assert again.cycle_id == suspect.cycle_id


async def test_nothing_is_claimed_before_it_is_due(worker: Database, admin: Any) -> None:
    await owe(worker, admin)

    assert await claim(worker, after=-timedelta(hours=1)) == []
    assert await cycles.shards_due(worker.claims, NOON - timedelta(hours=1), store_id=STORE_ID) == []


async def test_an_outage_delays_a_cycle_and_never_skips_it(worker: Database, admin: Any) -> None:
    await owe(worker, admin)

    assert len(await claim(worker, after=timedelta(days=4000))) == 1


async def test_who_has_lost_the_lease_opens_nothing(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    [stale] = await claim(worker)
    [fresh] = await claim(worker, after=LEASE, suspects=True)

    # when
    lost, won = await open_now(worker, intent(stale)), await open_now(worker, intent(fresh))

    # then
    assert (lost, won) == ([], [fresh.cycle_id])
    assert await admin.fetchval("SELECT count(*) FROM billing.attempts") == 1
    assert await admin.fetchval("SELECT count(*) FROM billing.ledger") == 1


async def test_an_intent_is_opened_once_however_often_it_is_written(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    [cycle] = await claim(worker)

    # when
    opened = await asyncio.gather(*(open_now(worker, intent(cycle)) for _ in range(6)))
    again = await open_now(worker, intent(cycle), intent(cycle))
    next_number = await open_now(worker, intent(cycle, 2))

    # then
    assert sorted(opened) == [[]] * 5 + [[cycle.cycle_id]]
    assert again == next_number == []
    assert await admin.fetchval("SELECT count(*) FROM billing.attempts") == 1
    assert await admin.fetchval("SELECT count(*) FROM billing.ledger WHERE kind = 'intent'") == 1


async def test_one_intent_twice_in_a_batch_is_one_attempt(worker: Database, admin: Any) -> None:
    await owe(worker, admin)
    [cycle] = await claim(worker)

    opened = await open_now(worker, intent(cycle), intent(cycle))

    assert opened == [cycle.cycle_id]
    assert await admin.fetchval("SELECT count(*) FROM billing.attempts") == 1


@pytest.mark.parametrize("number", [2, 3])
async def test_no_attempt_number_is_left_out(worker: Database, admin: Any, number: int) -> None:
    await owe(worker, admin)
    [cycle] = await claim(worker)

    assert await open_now(worker, intent(cycle, number)) == []


async def test_an_attempt_carries_the_exact_bytes_and_what_deciding_needs(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    [cycle] = await claim(worker)

    # when
    [attempt] = await attempts.open_attempts(
        worker.claims, [intent(cycle)], now=NOON, look_at=NOON + timedelta(minutes=2), worker="worker-1"
    )

    # then
    row = await admin.fetchrow("SELECT * FROM billing.attempts")
    assert (attempt.attempt_id, attempt.opened_at, attempt.cycle_status) == (
        row["attempt_id"],
        NOON,
        CycleStatus.COLLECTING,
    )
    assert attempt.request_body == row["request_body"] == intent(cycle).request_body
    assert (attempt.price, attempt.payment_id) == (cycle.price, cycle.payment_id)
    assert (row["worker"], row["look_at"], row["last_sent_at"]) == ("worker-1", NOON + timedelta(minutes=2), NOON)
    assert (await admin.fetchrow("SELECT * FROM billing.cycles"))["fruitless_claims"] == 0


async def test_a_cycle_that_was_cancelled_between_claim_and_intent_is_not_attempted(
    worker: Database, admin: Any
) -> None:
    # given
    await owe(worker, admin)
    [cycle] = await claim(worker)

    # when
    cancelled = await subscriptions.cancel_subscription(
        worker.claims, KEYS[0], reason="moved away", actor="kim", now=NOON
    )
    opened = await open_now(worker, intent(cycle))

    # then
    assert cancelled == Cancellation(ended=True, skipped=1, revoking=0)
    assert opened == []
    assert await admin.fetchval("SELECT status FROM billing.cycles") == "skipped"
    kinds = await admin.fetch("SELECT kind, code, message, actor FROM billing.ledger ORDER BY sequence")
    assert sorted(row["kind"] for row in kinds) == ["operator", "skipped"]
    assert {(row["code"], row["message"], row["actor"]) for row in kinds} == {("cancelled", "moved away", "kim")}


async def test_a_claim_that_is_given_back_can_be_taken_at_once_and_does_not_count(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    claimed = await claim(worker)

    # when
    await cycles.release_cycles(worker.claims, claimed, claimable_at=NOON)
    [again] = await claim(worker)

    # then
    assert (again.claim_epoch, again.fruitless_claims) == (2, 1)


async def test_only_one_s_own_claim_is_given_back(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    stale = await claim(worker)
    await claim(worker, after=LEASE, suspects=True)

    # when
    await cycles.release_cycles(worker.claims, stale, claimable_at=NOON)

    # then
    assert await claim(worker, after=LEASE, suspects=True) == []


async def test_a_cycle_is_set_aside_by_its_holder_only_and_with_its_reason(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin, 2)
    first, second = await claim(worker)
    stale = replace(first, claim_epoch=0)

    # when
    lost = await cycles.set_aside_cycles(worker.claims, [(stale, CycleStatus.HELD, "why")], actor="worker-1")
    done = await cycles.set_aside_cycles(
        worker.claims,
        [(first, CycleStatus.HELD, "claimed 5 times"), (second, CycleStatus.SKIPPED, "subscription cancelled")],
        actor="worker-1",
    )

    # then
    assert (lost, done) == (set(), {first.payment_id, second.payment_id})
    rows = await admin.fetch("SELECT status, held_reason FROM billing.cycles ORDER BY status")
    assert [tuple(row) for row in rows] == [("held", "claimed 5 times"), ("skipped", None)]
    entries = await admin.fetch("SELECT kind, code, source, actor FROM billing.ledger ORDER BY kind")
    assert [tuple(row) for row in entries] == [
        ("held", "claimed 5 times", "rule", "worker-1"),
        ("skipped", "subscription cancelled", "rule", "worker-1"),
    ]


async def test_a_person_s_retry_waits_until_no_attempt_is_open(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    [cycle] = await claim(worker)
    await open_now(worker, intent(cycle))
    await admin.execute("UPDATE billing.cycles SET status = 'held', held_reason = 'x'")

    async def retry() -> bool:
        return await cycles.retry_cycle(worker.claims, cycle.payment_id, reason="card changed", actor="kim", now=NOON)

    # when
    with_open = await retry()
    await admin.execute(
        "UPDATE billing.attempts SET status = 'declined', request_body = NULL, settled_at = now(), look_at = NULL"
    )
    without = await retry()

    # then
    assert (with_open, without) == (False, True)
    assert (await claim(worker))[0].attempts_count == 1


async def test_a_person_s_skip_closes_the_open_attempt_of_a_held_cycle(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, admin)
    [cycle] = await claim(worker)
    await open_now(worker, intent(cycle))
    recheck_at = NOON + timedelta(hours=1)

    async def skip() -> bool:
        return await cycles.skip_cycle(
            worker.claims, cycle.payment_id, reason="goodwill", actor="kim", now=NOON, recheck_at=recheck_at
        )

    # when
    while_collecting = await skip()
    await admin.execute("UPDATE billing.cycles SET status = 'held', held_reason = 'x'")
    when_held = await skip()

    # then
    attempt = await admin.fetchrow("SELECT * FROM billing.attempts")
    assert (while_collecting, when_held) == (False, True)
    assert (attempt["status"], attempt["source"], attempt["look_at"]) == ("voided", "operator", recheck_at)
    kinds = await admin.fetch("SELECT kind, actor FROM billing.ledger ORDER BY sequence")
    assert [tuple(row) for row in kinds] == [("intent", "worker-1"), ("voided", "kim"), ("skipped", "kim")]
