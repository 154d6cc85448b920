"""What an attack on the feed tried: to die over a page, to be locked out, to sleep, and to be overtaken."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from billing_worker.workers import feed as feed_module
from billing_worker.workers.feed import Feed, FeedLimits
from tests.conftest import DatabaseUrls
from tests.interrupted import Interrupted
from tests.pulling import DyingDatabase, KilledError, run
from tests.rig import Rig

MINUTE = timedelta(minutes=1)
LIMITS = FeedLimits(
    source="payments",
    every=MINUTE,
    overlap=10 * MINUTE,
    lease=2 * MINUTE,
    skew_max=timedelta(seconds=30),
    page_size=100,
)


def a_feed(rig: Rig, claims: Any = None, **changes: Any) -> Feed:
    return Feed(
        claims or rig.database.claims,
        rig.portone,
        rig.clock,
        rig.crew.metrics,
        limits=replace(LIMITS, **changes),
        ring=lambda: None,
    )


async def late_successes(rig: Rig, count: int = 1) -> None:
    """Payments that PortOne was paid for two hours later, and that nobody here would look at again."""
    for number in range(count):
        await rig.owe(f"sub-{number}", "bk-late-success-1")
        await rig.charge()
    await rig.admin.execute("UPDATE billing.attempts SET look_at = NULL")
    await rig.pass_time(seconds=7201)


async def position(rig: Rig) -> Any:
    return await rig.admin.fetchrow("SELECT * FROM billing.positions WHERE name = 'feed payments'")


async def looks_due(rig: Rig) -> int:
    found: int = await rig.admin.fetchval("SELECT count(*) FROM billing.attempts WHERE look_at <= $1", rig.clock.now())
    return found


@asynccontextmanager
async def held_row(database: DatabaseUrls) -> AsyncIterator[None]:
    """Somebody is writing to every attempt."""
    connection = await asyncpg.connect(database.admin_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM billing.attempts FOR UPDATE")
            yield
    finally:
        await connection.close()


async def test_a_kill_over_a_page_skips_nothing_that_the_overlap_would_not_read(rig: Rig) -> None:
    # given
    await late_successes(rig)
    await rig.pass_time(minutes=30)
    dying = a_feed(rig, DyingDatabase(rig.database.claims, "order_looks"))
    with pytest.raises(KilledError):
        await dying.run_once(rig.clock.now())

    # when
    await rig.pass_time(minutes=3)
    await run(rig, a_feed(rig))

    # then
    assert await looks_due(rig) == 1


async def test_an_attempt_that_somebody_writes_to_is_ordered_again(rig: Rig, database: DatabaseUrls) -> None:
    # given
    await late_successes(rig)
    await rig.pass_time(minutes=30)
    async with held_row(database):
        await a_feed(rig).run_once(rig.clock.now())
    unread = await position(rig)

    # when
    await rig.pass_time(seconds=2)
    await run(rig, a_feed(rig))

    # then
    assert unread["reading_until"] is not None
    assert await looks_due(rig) == 1
    assert (await position(rig))["reading_until"] is None


async def test_a_record_that_appears_late_is_read_within_the_overlap(rig: Rig) -> None:
    # given: a payment that changed two minutes before the place that has been read to
    await run(rig, a_feed(rig))
    await late_successes(rig)
    await rig.pass_time(minutes=2)
    await rig.admin.execute("UPDATE billing.positions SET position = $1, claimable_at = $1", rig.clock.now())

    # when
    await rig.pass_time(seconds=1)
    await run(rig, a_feed(rig))

    # then
    assert await looks_due(rig) == 1


async def test_what_changed_while_it_read_is_left_to_the_next_reading(rig: Rig) -> None:
    # given
    await late_successes(rig)
    began_at = rig.clock.now()

    # when
    claims = Interrupted(rig.database.claims, "order_looks", lambda: rig.pass_time(minutes=1))
    await run(rig, a_feed(rig, claims))

    # then
    assert (await position(rig))["position"] == began_at


async def test_a_pass_is_bounded_and_the_next_one_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setattr(feed_module, "PAGES_MAX", 2)
    await late_successes(rig, 5)
    feed = a_feed(rig, page_size=1)

    # when
    first = await feed.run_once(rig.clock.now())
    rest = await feed.run_once(rig.clock.now())
    await run(rig, feed)

    # then
    assert (first.rows, first.more, rest.more) == (2, True, True)
    assert await looks_due(rig) == 5


async def test_a_pass_that_takes_long_ends_and_the_next_one_goes_on(rig: Rig) -> None:
    # given
    await late_successes(rig, 3)
    claims = Interrupted(rig.database.claims, "order_looks", lambda: rig.pass_time(seconds=61))

    # when
    first = await a_feed(rig, claims, page_size=1).run_once(rig.clock.now())
    await run(rig, a_feed(rig, page_size=1))

    # then
    assert (first.rows, first.more) == (1, True)
    assert await looks_due(rig) == 3


async def test_a_place_that_portone_may_have_forgotten_is_given_up_and_nothing_is_skipped(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a reading that stopped after its first page, hours ago
    monkeypatch.setattr(feed_module, "PAGES_MAX", 1)
    await late_successes(rig, 3)
    feed = a_feed(rig, page_size=1)
    await feed.run_once(rig.clock.now())
    kept = (await position(rig))["place"]
    await rig.pass_time(hours=2)
    await rig.ask("POST", "/scripts", behaviour="503", times=1, on="list")

    # when
    await feed.run_once(rig.clock.now())
    given_up = (await position(rig))["place"]
    await rig.pass_time(minutes=2)
    await run(rig, feed)

    # then
    assert kept is not None
    assert given_up is None
    assert await looks_due(rig) == 3


async def test_who_is_overtaken_reads_no_further(rig: Rig) -> None:
    # given
    await late_successes(rig, 5)

    async def overtaken() -> None:
        await rig.pass_time(minutes=3)
        taken = a_feed(rig, DyingDatabase(rig.database.claims, "order_looks"))
        with pytest.raises(KilledError):
            await taken.run_once(rig.clock.now())

    # when
    counts = await a_feed(rig, Interrupted(rig.database.claims, "move_position", overtaken), page_size=2).run_once(
        rig.clock.now()
    )

    # then
    assert (counts.rows, counts.more) == (2, False)
    assert (await position(rig))["epoch"] == 2


async def test_the_first_reading_of_a_database_goes_a_day_back(rig: Rig) -> None:
    # given
    await late_successes(rig)
    await rig.pass_time(hours=21)

    # when
    await run(rig, a_feed(rig))

    # then
    assert await looks_due(rig) == 1


async def test_a_look_that_is_late_already_is_not_moved_to_a_later_time(rig: Rig) -> None:
    # given
    await late_successes(rig)
    long_ago = rig.clock.now() - timedelta(hours=1)
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", long_ago)

    # when
    await run(rig, a_feed(rig))

    # then
    assert (await rig.attempt("sub-0"))["look_at"] == long_ago


async def test_the_worker_forgets_no_place_and_rewrites_no_difference(rig: Rig, database: DatabaseUrls) -> None:
    worker = await asyncpg.connect(database.worker_url)
    for forbidden in (
        "DELETE FROM billing.positions",
        "UPDATE billing.positions SET name = 'x'",
        "DELETE FROM billing.differences",
        "UPDATE billing.differences SET class = 'foreign'",
        "UPDATE billing.differences SET payment_id = 'x'",
        "UPDATE billing.differences SET first_seen_at = last_seen_at",
        "TRUNCATE billing.positions, billing.differences",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute(forbidden)
    await worker.close()
