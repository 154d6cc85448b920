"""The feed: what changes at PortOne is looked at within its interval, without any webhook, and none is skipped."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from billing_worker.store import positions
from billing_worker.workers.feed import Feed, FeedLimits
from tests.pulling import DyingDatabase, KilledError, run
from tests.rig import Crew, Rig

MINUTE = timedelta(minutes=1)
LIMITS = FeedLimits(
    source="payments",
    every=MINUTE,
    overlap=10 * MINUTE,
    lease=2 * MINUTE,
    skew_max=timedelta(seconds=30),
    page_size=2,
)


def a_feed(rig: Rig, crew: Crew | None = None, *, claims: Any = None, **changes: Any) -> Feed:
    rung = crew or rig.crew
    return Feed(
        claims or rig.database.claims,
        rig.portone,
        rig.clock,
        rung.metrics,
        limits=replace(LIMITS, **changes),
        ring=lambda: None,
    )


async def lost_answer(rig: Rig, business_key: str = "sub-1") -> str:
    """An attempt that PortOne has been paid for, and whose worker believes that it was declined."""
    of = await rig.owe(business_key, "bk-late-success-1")
    await rig.charge()
    return of


async def position(rig: Rig, name: str = "feed payments") -> Any:
    return await rig.admin.fetchrow("SELECT * FROM billing.positions WHERE name = $1", name)


async def looks_due(rig: Rig) -> int:
    found: int = await rig.admin.fetchval("SELECT count(*) FROM billing.attempts WHERE look_at <= $1", rig.clock.now())
    return found


@pytest.mark.parametrize("source", ["payments", "events"])
async def test_a_late_success_is_known_within_an_interval_without_webhooks(rig: Rig, source: Any) -> None:
    # given
    await lost_answer(rig)
    feed = a_feed(rig, source=source)
    await run(rig, feed)
    await rig.admin.execute("UPDATE billing.attempts SET look_at = NULL")
    await rig.pass_time(seconds=7201)

    # when
    await run(rig, feed)
    await rig.reconcile()

    # then
    assert (await rig.attempt())["status"] == "paid"
    assert "corrected" in await rig.kinds()


@pytest.mark.parametrize("source", ["payments", "events"])
async def test_a_refund_at_the_console_is_entered_within_an_interval(rig: Rig, source: Any) -> None:
    # given
    of = await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    feed = a_feed(rig, source=source)
    await run(rig, feed)
    await rig.ask("POST", "/payments/refund", paymentId=of, amount=900)
    await rig.pass_time(minutes=2)

    # when
    await run(rig, feed)
    await rig.reconcile()

    # then
    assert [entry["amount_minor"] for entry in await rig.entries() if entry["kind"] == "refunded"] == [900]


async def test_what_is_known_is_not_looked_at_again(rig: Rig) -> None:
    # given
    await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=11)

    # when
    await run(rig, a_feed(rig))

    # then
    assert await looks_due(rig) == 0


async def test_every_page_is_read_whatever_changed_at_one_moment(rig: Rig) -> None:
    # given
    for number in range(7):
        await lost_answer(rig, f"sub-{number}")
    await rig.admin.execute("UPDATE billing.attempts SET look_at = NULL")
    await rig.pass_time(seconds=7201)

    # when
    await run(rig, a_feed(rig))

    # then
    assert await looks_due(rig) == 7


@pytest.mark.parametrize("dies_before", ["order_looks", "move_position"])
async def test_a_kill_between_a_page_and_its_place_skips_nothing(rig: Rig, dies_before: str) -> None:
    # given
    for number in range(3):
        await lost_answer(rig, f"sub-{number}")
    await rig.admin.execute("UPDATE billing.attempts SET look_at = NULL")
    await rig.pass_time(seconds=7201)
    dying = a_feed(rig, claims=DyingDatabase(rig.database.claims, dies_before))
    with pytest.raises(KilledError):
        await dying.run_once(rig.clock.now())

    # when
    await run(rig, a_feed(rig))
    before_the_lease = await position(rig)
    await rig.pass_time(minutes=3)
    await run(rig, a_feed(rig))

    # then
    assert before_the_lease["epoch"] == 1
    assert await looks_due(rig) == 3
    assert (await position(rig))["reading_until"] is None


async def test_two_replicas_never_follow_at_the_same_time(rig: Rig) -> None:
    # given
    now = rig.clock.now()
    mine = await positions.claim_position(
        rig.database.claims, "feed payments", now=now, lease_until=now + MINUTE, first=now
    )

    # when
    theirs = await a_feed(rig, rig.hire("worker-2")).run_once(now)

    # then
    assert mine is not None
    assert theirs.rows == 0
    assert (await position(rig))["epoch"] == mine.epoch


async def test_who_was_overtaken_moves_nothing(rig: Rig) -> None:
    # given
    now = rig.clock.now()
    claims = rig.database.claims
    frozen = await positions.claim_position(claims, "feed payments", now=now, lease_until=now + MINUTE, first=now)
    assert frozen is not None
    await rig.pass_time(minutes=2)
    await run(rig, a_feed(rig))
    stands = await position(rig)

    # when
    moved = await positions.end_reading(claims, frozen, reached=now, now=now, claimable_at=now)

    # then
    assert not moved
    assert await position(rig) == stands


async def test_the_next_reading_begins_before_the_last_one_ended(rig: Rig) -> None:
    # given
    feed = a_feed(rig)
    await run(rig, feed)
    reached = (await position(rig))["position"]
    await rig.pass_time(minutes=2)

    # when
    await run(rig, feed)

    # then
    asked = [one for one in (await rig.ask("GET", "/requests"))["requests"] if one["path"].endswith("/payments")]
    assert (await position(rig))["position"] - reached == 2 * MINUTE
    assert len(asked) >= 2


async def test_an_answer_that_does_not_come_leaves_the_position(rig: Rig) -> None:
    # given
    await run(rig, a_feed(rig))
    reached = (await position(rig))["position"]
    await rig.pass_time(minutes=2)
    await rig.ask("POST", "/scripts", behaviour="503", times=1, on="list")

    # when
    counts = await a_feed(rig).run_once(rig.clock.now())
    unread = await position(rig)
    await rig.pass_time(minutes=2)
    await run(rig, a_feed(rig))

    # then
    assert not counts.more
    assert unread["position"] == reached
    assert (await position(rig))["position"] > reached


async def test_an_attempt_that_is_being_sent_is_left_to_its_sender(rig: Rig) -> None:
    # given
    of = await rig.owe()
    await rig.ask("POST", "/scripts", behaviour="drop-charged", times=2)
    await rig.charge()
    await rig.pass_time(seconds=10)
    lease = rig.clock.now() + 3 * MINUTE
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1, look_epoch = 0", lease)

    # when
    await run(rig, a_feed(rig))

    # then
    sending = rig.crew.metrics.registry.get_sample_value("billing_feed_changes_total", {"result": "sending"})
    assert [one["status"] for one in await rig.tries(of)] == ["PAID"]
    assert sending is not None
    assert sending >= 1
    assert (await rig.attempt())["look_at"] == lease
