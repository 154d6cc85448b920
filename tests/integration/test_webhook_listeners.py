"""Listeners together, interrupted, and over time: each hint is read once, and old ones go."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from billing_worker.store import inbox
from billing_worker.store.inbox import HintResult
from billing_worker.workers import listener
from billing_worker.workers.listener import Listener
from tests.conftest import DatabaseUrls
from tests.hints import Bell, hint, results
from tests.rig import Rig

HOUR = timedelta(hours=1)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def ear(rig: Rig, bell: Bell) -> Listener:
    return Listener(rig.database.claims, rig.clock, rig.crew.metrics, ring=bell)


async def paid(rig: Rig) -> str:
    """A paid and verified period; its payment_id."""
    payment_id = await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    assert (await rig.attempt())["look_at"] is None
    return payment_id


async def test_an_attempt_that_is_being_written_keeps_its_hint_unread(
    rig: Rig, ear: Listener, database: DatabaseUrls
) -> None:
    # given: two payments, the row of one of which somebody has
    payment_id, other = await paid(rig), await rig.owe("sub-2")
    await rig.charge()
    await hint(rig, payment_id, webhook_id="locked")
    await hint(rig, other, webhook_id="free")
    writer = await asyncpg.connect(database.admin_url)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("SELECT 1 FROM billing.attempts WHERE payment_id = $1 FOR UPDATE", payment_id)

    # when
    first = await asyncio.wait_for(ear.run_once(rig.clock.now()), 5)
    meanwhile = await results(rig)
    await transaction.rollback()
    await writer.close()
    second = await ear.run_once(rig.clock.now())

    # then
    assert (first.rows, second.rows) == (1, 1)
    assert meanwhile == {"locked": None, "free": "ordered"}
    assert set((await results(rig)).values()) == {"ordered"}


async def test_several_listeners_read_each_hint_once_and_never_wait_for_each_other(
    rig: Rig, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(listener, "READ_MAX", 7)
    payments = [await rig.owe(f"sub-{number}") for number in range(10)]
    await rig.charge()
    for number in range(100):
        await hint(rig, payments[number % 10], webhook_id=f"wh-{number}")
    ears = [Listener(rig.database.claims, rig.clock, rig.crew.metrics, ring=bell) for _ in range(4)]

    # when
    async def read_all(ear: Listener) -> int:
        rows = 0
        while await inbox.unread_hints(rig.database.claims, limit=1):
            rows += (await ear.run_once(rig.clock.now())).rows
        return rows

    read = await asyncio.wait_for(asyncio.gather(*map(read_all, ears)), 30)

    # then
    assert sum(read) == 100
    assert set((await results(rig)).values()) == {"ordered"}


async def test_a_hint_whose_keeper_died_is_found_by_the_next_pass_of_anybody(
    rig: Rig, database: DatabaseUrls, bell: Bell
) -> None:
    # given: kept and acknowledged, and nobody was woken
    payment_id = await paid(rig)
    await hint(rig, payment_id)

    # when
    late = Listener(rig.database.claims, rig.clock, rig.crew.metrics, ring=bell)
    counts = await late.run_once(rig.clock.now() + HOUR)

    # then
    assert counts.rows == 1
    assert await results(rig) == {"wh-1": "ordered"}


async def test_a_listener_that_dies_in_between_leaves_neither_half(rig: Rig, ear: Listener) -> None:
    # given
    payment_id = await paid(rig)
    await hint(rig, payment_id)

    async def die() -> None:
        async with rig.database.claims.transaction() as doomed:
            await inbox.read_hints(doomed, now=rig.clock.now(), limit=10)
            raise asyncio.CancelledError

    # when: the statement ran and its commit did not
    with pytest.raises(asyncio.CancelledError):
        await die()

    # then
    assert await results(rig) == {"wh-1": None}
    assert (await rig.attempt())["look_at"] is None
    assert (await ear.run_once(rig.clock.now())).rows == 1


async def test_an_order_that_nobody_rang_for_is_carried_out_all_the_same(rig: Rig) -> None:
    # given: committed, and then the listener died before it could ring
    payment_id = await paid(rig)
    await rig.refund(payment_id, 1000)
    await hint(rig, payment_id)
    await inbox.read_hints(rig.database.claims, now=rig.clock.now(), limit=10)

    # when
    await rig.reconcile()

    # then
    assert (await rig.kinds())[-1] == "refunded"


async def test_a_pass_is_bounded_and_says_that_there_is_more(
    rig: Rig, ear: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "READ_MAX", 3)
    for number in range(5):
        await hint(rig, "unknown", webhook_id=f"wh-{number}", received_at=rig.clock.now() - number * HOUR)

    first = await ear.run_once(rig.clock.now())
    after_first = await results(rig)
    second = await ear.run_once(rig.clock.now())

    assert [(counts.rows, counts.more) for counts in (first, second)] == [(3, True), (2, False)]
    assert [webhook_id for webhook_id, result in sorted(after_first.items()) if result is None] == ["wh-0", "wh-1"]


async def test_what_was_read_a_month_ago_is_deleted_a_little_at_a_time(
    rig: Rig, ear: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(listener, "FORGET_MAX", 2)
    month_ago = rig.clock.now() - listener.KEEP_FOR
    for number in range(3):
        await hint(rig, "unknown", webhook_id=f"old-{number}", received_at=month_ago - HOUR)
    await ear.run_once(month_ago)
    await hint(rig, "unknown", webhook_id="young", received_at=month_ago + HOUR)
    monkeypatch.setattr(listener, "READ_MAX", 0)
    await hint(rig, "unknown", webhook_id="old and unread", received_at=month_ago - HOUR)
    rig.clock.advance(seconds=listener.TIDY_SECONDS)

    # when
    passes = []
    for _ in range(3):
        await ear.run_once(rig.clock.now() - timedelta(seconds=listener.TIDY_SECONDS))
        passes.append(len(await results(rig)))

    # then
    assert passes == [3, 2, 2]
    assert set(await results(rig)) == {"young", "old and unread"}
    assert rig.crew.metrics.registry.get_sample_value("billing_webhooks_unread") == 2


async def test_it_is_counted_what_hints_come_to_and_how_long_they_take(rig: Rig, ear: Listener) -> None:
    await hint(rig, "unknown", received_at=rig.clock.now() - timedelta(seconds=3))

    await ear.run_once(rig.clock.now())

    value = rig.crew.metrics.registry.get_sample_value
    assert value("billing_webhooks_read_total", {"result": HintResult.UNKNOWN.value}) == 1
    assert value("billing_webhooks_read_total", {"result": HintResult.ORDERED.value}) == 0
    assert value("billing_webhook_seconds_sum") == pytest.approx(3, abs=0.1)


async def test_the_worker_deletes_nothing_but_hints_and_rewrites_none(rig: Rig, database: DatabaseUrls) -> None:
    worker = await asyncpg.connect(database.worker_url)
    for forbidden in ("UPDATE billing.webhook_inbox SET payment_id = 'x'", "TRUNCATE billing.webhook_inbox"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(forbidden)
    await worker.execute("DELETE FROM billing.webhook_inbox")
    await worker.close()

    auditor = await asyncpg.connect(database.auditor_url)
    assert await auditor.fetch("SELECT * FROM billing.webhook_inbox") == []
    await auditor.close()
