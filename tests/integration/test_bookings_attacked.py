"""What an attack on bookings tried: to sleep between two looks, to stop a worker over one, and to lose a failover."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from billing_worker.portone.transport import AiohttpTransport
from billing_worker.store import attempts, cycles
from billing_worker.store.db import Database
from tests import booked
from tests.builders import NOON, a_cadence, a_plan
from tests.conftest import DatabaseUrls
from tests.rig import CLAIM_LEASE, Rig, a_rig

# From the rig's opening of the cycle to its due time.
AHEAD = timedelta(days=2)


class Interrupted(AiohttpTransport):
    """PortOne, and what happens right after its first answer to a look."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if request.method == "GET" and self.meanwhile:
            once, self.meanwhile = self.meanwhile, None
            await once()
        return answer


@pytest.fixture
async def portone() -> Interrupted:
    return Interrupted()


@pytest.fixture
async def rig(database: DatabaseUrls, portone: Interrupted) -> AsyncIterator[Rig]:
    async with a_rig(database, transport=lambda: portone) as made:
        yield made


def a_scheduled_plan(rig: Rig, ahead: timedelta = AHEAD) -> PlannedSubscription:
    """A subscription whose first period is due that long from now."""
    due = (rig.clock.now() + ahead).replace(microsecond=0)
    cadence = replace(a_cadence(), anchor_on=due.date(), zone="UTC", charge_at=due.time())
    return replace(a_plan(), cadence=cadence, mode=Mode.SCHEDULE)


async def owe(rig: Rig, ahead: timedelta = AHEAD) -> None:
    """A cycle that is to be booked."""
    await rig.subscribe(a_scheduled_plan(rig, ahead))
    await rig.crew.renewer.run_once(rig.clock.now())


async def book(rig: Rig, ahead: timedelta = AHEAD) -> None:
    """A cycle that has been booked at PortOne, or has been tried to."""
    await owe(rig, ahead)
    await rig.charge()


async def lose_bookings(rig: Rig, times: int) -> None:
    """Have that many requests for a booking end without an answer and without a booking."""
    await rig.ask("POST", "/scripts", behaviour="drop-uncharged", on="schedule", times=times)


async def look_and_stop(rig: Rig) -> None:
    """A pass of a reconciler that is told to stop while its looks are under way."""
    await rig.crew.reconciler.run_once(rig.clock.now())
    rig.crew.reconciler.stop()
    await rig.crew.looks.drained()


async def look_and_sleep(rig: Rig, portone: Interrupted) -> None:
    """A pass of a reconciler whose machine sleeps for hours after PortOne's first answer."""

    async def sleep() -> None:
        rig.clock.advance(hours=3)

    portone.meanwhile = sleep
    await rig.reconcile_after(minutes=1)


async def test_after_a_failover_a_booking_is_looked_for_before_it_is_sent(rig: Rig) -> None:
    # given
    rig.crew.gate.look_first(before=rig.clock.now() + timedelta(minutes=10))

    # when
    await book(rig)

    # then
    assert (await rig.attempt())["status"] == "open"
    assert await rig.posts() == []


async def test_a_charge_is_looked_for_first_where_a_booking_of_its_period_may_have_been_lost(rig: Rig) -> None:
    # given
    await owe(rig, AHEAD)
    rig.crew.gate.look_first(before=rig.clock.now() + timedelta(minutes=10))
    await rig.pass_time(seconds=AHEAD.total_seconds() + 1)

    # when
    await rig.charge()

    # then
    attempt = await rig.attempt()
    assert (attempt["status"], attempt["time_to_pay"]) == ("open", None)
    assert await rig.posts() == []


async def test_a_worker_that_slept_between_its_looks_does_not_take_a_booking_for_gone(
    rig: Rig, portone: Interrupted
) -> None:
    # given
    await lose_bookings(rig, times=100)
    await book(rig)
    await rig.cancel()

    # when
    await look_and_sleep(rig, portone)

    # then
    assert portone.meanwhile is None
    assert (await rig.attempt())["status"] == "open"


async def test_a_worker_that_slept_past_its_lease_takes_no_booking_back(rig: Rig, portone: Interrupted) -> None:
    # given
    await book(rig)
    await rig.cancel()

    # when
    await look_and_sleep(rig, portone)

    # then: what it found may be what somebody has booked anew since
    assert portone.meanwhile is None
    assert (await rig.attempt())["status"] == "open"

    # when
    await rig.reconcile_after(hours=2)

    # then
    assert (await rig.attempt())["status"] == "revoked"


async def test_a_booking_that_is_charged_between_the_two_looks_is_paid(rig: Rig, portone: Interrupted) -> None:
    # given
    await book(rig)
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", rig.clock.now())

    # when
    async def come_to_its_time() -> None:
        await rig.pass_time(days=2, minutes=1)

    portone.meanwhile = come_to_its_time
    await rig.reconcile()

    # then
    assert (await rig.attempt())["status"] == "paid"


async def test_a_booking_of_another_store_is_neither_given_up_nor_sent_again(rig: Rig) -> None:
    # given
    await lose_bookings(rig, times=2)
    await book(rig)
    sent = len(await rig.posts())
    await rig.admin.execute("UPDATE billing.cycles SET store_id = 'store-other'")

    # when
    await rig.reconcile_after(minutes=3)
    await rig.reconcile_after(days=3)

    # then
    assert ((await rig.attempt())["status"], len(await rig.posts())) == ("open", sent)


async def test_a_lost_booking_is_not_given_up_while_sending_is_halted(rig: Rig) -> None:
    # given
    await lose_bookings(rig, times=100)
    await book(rig, ahead=timedelta(hours=3))
    rig.crew.gate.operator_order("kim: clocks")

    # when
    await rig.reconcile_after(hours=8)

    # then
    assert (await rig.attempt())["status"] == "open"


async def test_what_a_look_finds_is_written_though_the_worker_stops_meanwhile(rig: Rig) -> None:
    # given
    await book(rig)
    await rig.pass_time(days=2, minutes=2)

    # when
    await look_and_stop(rig)

    # then
    assert (await rig.attempt())["status"] == "paid"


async def test_nothing_is_booked_again_by_a_worker_that_stops(rig: Rig) -> None:
    # given
    await lose_bookings(rig, times=2)
    await book(rig)
    sent = len(await rig.posts())
    await rig.pass_time(minutes=3)

    # when
    await look_and_stop(rig)

    # then
    assert len(await rig.posts()) == sent


async def test_a_cycle_whose_subscription_is_being_changed_is_given_back_before_its_lease_ends(rig: Rig) -> None:
    # given
    await owe(rig)

    # when
    async with rig.admin.transaction():
        await rig.admin.execute("SELECT 1 FROM billing.subscriptions FOR NO KEY UPDATE")
        await rig.charge()

    # then
    cycle, now = await rig.cycle(), rig.clock.now()
    assert (cycle["status"], cycle["fruitless_claims"], await rig.posts()) == ("due", 0, [])
    assert now < cycle["claimable_at"] < now + CLAIM_LEASE


async def test_who_did_not_know_of_the_wish_does_not_put_it_off_by_a_contradiction(
    worker: Database, admin: Any
) -> None:
    # given
    await booked.book(worker)
    await admin.execute("UPDATE billing.attempts SET look_at = $1", NOON)
    [stale] = await booked.look(worker)
    await booked.cancel(worker)

    # when
    await attempts.contradict_attempt(
        worker.outcomes, stale, what="scheduled amount is 1", look_at=NOON + timedelta(hours=6), actor="worker-1"
    )

    # then
    assert (await booked.attempt_of(admin))["look_at"] == NOON


async def test_a_person_s_retry_ends_what_was_said_against_the_booking(worker: Database, admin: Any) -> None:
    # given
    attempt = await booked.book(worker)
    what = "its schedule was revoked at PortOne, and not by us"
    await attempts.contradict_attempt(
        worker.outcomes, attempt, what=what, look_at=NOON + booked.LEASE, actor="worker-1"
    )

    # when
    done = await cycles.retry_cycle(worker.claims, attempt.payment_id, reason="again", actor="kim", now=NOON)

    # then
    row = await booked.attempt_of(admin)
    assert done
    assert (row["revoke_reason"], row["look_at"], row["contradiction"]) == ("retried", NOON, None)
