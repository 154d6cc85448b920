"""The charger among others: cancellations, stops, a second charger, and time that runs out between two steps."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from billing_worker.store import attempts, subscriptions
from tests.builders import eventually, some_rules
from tests.conftest import DatabaseUrls
from tests.rig import ATTEMPT_LEASE, CLAIM_LEASE, Rig, a_database, a_rig


async def test_a_cancelled_subscription_s_cycle_is_skipped(rig: Rig) -> None:
    # given
    await rig.owe()
    await rig.admin.execute("UPDATE billing.subscriptions SET status = 'cancelled'")

    # when
    await rig.charge()

    # then
    assert (await rig.cycle())["status"] == "skipped"
    assert await rig.kinds() == ["skipped"]
    assert await rig.posts() == []


async def test_a_held_subscription_s_open_period_is_collected(rig: Rig) -> None:
    await rig.owe()
    await rig.admin.execute("UPDATE billing.subscriptions SET status = 'held', held_reason = 'no such zone'")

    await rig.charge()

    assert (await rig.cycle())["status"] == "paid"


async def test_a_subscription_cancelled_while_its_charge_is_under_way_keeps_the_outcome(rig: Rig) -> None:
    # given
    await rig.owe()
    hold = await rig.ask("POST", "/hold", at="before_charge")
    await rig.crew.charger.run_once(rig.clock.now())
    await rig.held_requests("held_before_charge")

    # when
    cancelled = await subscriptions.cancel_subscription(
        rig.database.outcomes, "sub-1", reason="moved away", actor="kim", now=rig.clock.now()
    )
    await rig.ask("POST", "/release", **hold)
    await rig.crew.charges.drained()

    # then
    assert (cancelled.ended, cancelled.skipped) == (True, 0)
    assert (await rig.cycle())["status"] == "paid"


async def test_a_charger_that_stops_gives_back_what_it_has_not_sent(rig: Rig) -> None:
    # given
    await rig.owe()
    rig.crew.charger.stop()

    # when
    counts = await rig.charge()

    # then
    assert counts.rows == 0
    assert (await rig.cycle())["claim_epoch"] == 0
    assert (await rig.charge(rig.hire("worker-2"))).rows == 1


async def test_an_attempt_that_is_opened_while_the_charger_stops_is_handed_over_unsent(rig: Rig) -> None:
    # given
    await rig.owe()
    between_intent_and_send(rig, rig.crew.charger.stop)

    # when
    await rig.charge()

    # then
    assert await rig.posts() == []
    assert (await rig.attempt())["look_at"] == rig.clock.now()
    await rig.reconcile(rig.hire("worker-2"))
    assert (await rig.cycle())["status"] == "paid"


async def test_an_attempt_belongs_to_its_sender_for_as_long_as_a_call_can_take(rig: Rig) -> None:
    """A reconciler that took it sooner would find nothing there yet, and send beside the call under way."""
    # given
    await rig.owe()
    hold = await rig.ask("POST", "/hold", at="before_charge")

    # when
    await rig.crew.charger.run_once(rig.clock.now())
    await rig.held_requests("held_before_charge")
    looked = (await rig.reconcile_after(seconds=(ATTEMPT_LEASE - CLAIM_LEASE).total_seconds() + 1)).rows

    # then
    assert looked == 0
    assert (await rig.attempt())["look_at"] == (await rig.attempt())["opened_at"] + ATTEMPT_LEASE
    await rig.ask("POST", "/release", **hold)
    await rig.crew.charges.drained()


async def test_two_chargers_never_charge_one_cycle_twice(rig: Rig, database: DatabaseUrls) -> None:
    # given
    async with a_database(database) as second_pools:
        other = rig.hire("worker-2", database=second_pools)
        owed = [await rig.owe(f"sub-{number}", f"bk-ok-{number}") for number in range(60)]

        # when
        async def all_paid() -> bool:
            await rig.crew.charger.run_once(rig.clock.now())
            await other.charger.run_once(rig.clock.now())
            paid = await rig.admin.fetchval("SELECT count(*) FROM billing.cycles WHERE status = 'paid'")
            return bool(paid == len(owed))

        await eventually(all_paid)
        await other.charges.drained()

    # then
    truth = await rig.ask("GET", "/truth")
    assert sorted(truth["successes"]) == sorted(owed)
    assert set(truth["successes"].values()) == {1}
    assert truth["executions"] == len(owed)


async def test_a_lease_that_ran_out_is_not_a_second_charge(rig: Rig) -> None:
    """The first worker stops between its claim and its intent; another takes the cycle; the first wakes up."""
    # given
    payment_id = await rig.owe()
    late = rig.hire("worker-2")
    taken: list[Any] = []
    open_now = late.charger._open

    async def open_much_later(intents: list[Any]) -> list[Any]:
        taken.extend(intents)
        rig.clock.advance(seconds=61)
        await rig.charge()
        return await open_now(intents)

    late.charger._open = open_much_later  # type: ignore[method-assign]

    # when
    await rig.charge(late)

    # then
    assert len(taken) == 1
    assert len(await rig.posts()) == 1
    assert len(await rig.tries(payment_id)) == 1
    assert len(await rig.attempts()) == 1


async def test_a_first_send_never_starts_after_the_window_of_its_intent(database: DatabaseUrls) -> None:
    """Its lease may have run out by then, and the reconciler may be sending the same bytes."""
    async with a_rig(database, rules=some_rules(ask_first=timedelta(seconds=5)), sending_seconds=0.5) as rig:
        # given
        await rig.owe()
        between_intent_and_send(rig, lambda: rig.portone.limiter.pause(3.0))

        # when
        await rig.charge()

        # then
        assert await rig.posts() == []
        assert (await rig.attempt())["look_at"] == rig.clock.now() + timedelta(seconds=5)


async def test_a_worker_that_stood_still_between_intent_and_send_sends_nothing(rig: Rig) -> None:
    """The loop's clock stands still with a frozen machine, so the window is measured by one that does not."""
    # given
    await rig.owe()
    between_intent_and_send(rig, lambda: rig.clock.advance(seconds=rig.sending_seconds + 1))

    # when
    await rig.charge()

    # then
    assert await rig.posts() == []
    assert (await rig.attempt())["status"] == "open"


async def test_an_attempt_that_the_reconciler_has_taken_is_not_handed_over(rig: Rig) -> None:
    """Its look is leased: a second reconciler beside it could send the same bytes at the same time."""
    # given
    await rig.owe()
    [attempt] = await open_without_sending(rig)
    later = rig.clock.advance(seconds=121)
    lease_until = later + timedelta(seconds=120)
    await attempts.claim_looks(rig.database.claims, attempt.shard, now=later, lease_until=lease_until, limit=1)

    # when
    await attempts.hand_over_attempts(rig.database.outcomes, [attempt], now=later)

    # then
    assert (await rig.attempt())["look_at"] == lease_until


async def test_an_attempt_that_is_opened_while_the_gate_closes_is_handed_over_unsent(rig: Rig) -> None:
    """It waits for its turn behind a charge that is refused, or a person halts sending meanwhile."""
    # given
    await rig.owe()
    between_intent_and_send(rig, lambda: rig.crew.gate.operator_order("price mistake"))

    # when
    await rig.charge()

    # then
    assert await rig.posts() == []
    assert (await rig.attempt())["look_at"] == rig.clock.now()


async def test_silence_does_not_show_that_a_refused_channel_works(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-drop-uncharged-xall-1")
    rig.crew.gate.channel_refused("UNAUTHORIZED")
    await rig.pass_time(minutes=6)

    # when
    await rig.charge()

    # then
    assert len(await rig.posts()) == 2
    assert rig.crew.gate.probing


async def test_a_clock_that_was_wrong_lets_one_charge_leave_in_five_minutes(rig: Rig) -> None:
    # given
    for number in range(4):
        await rig.owe(f"sub-{number}", f"bk-ok-{number}")
    rig.crew.gate._portone_skew_last_seconds = lambda: 45.0  # and no answer is recent

    # when
    sent = []
    for _ in range(3):
        await rig.charge()
        sent.append(len(await rig.posts()))
    rig.clock.advance(minutes=5)
    await rig.charge()

    # then
    assert sent == [1, 1, 1]
    assert len(await rig.posts()) == 2


async def open_without_sending(rig: Rig) -> list[Any]:
    """The attempts whose intents are committed, by a charger that goes no further."""
    opened: list[Any] = []
    open_now = rig.crew.charger._open

    async def keep(intents: list[Any]) -> list[Any]:
        opened.extend(await open_now(intents))
        return []

    rig.crew.charger._open = keep  # type: ignore[method-assign]
    await rig.charge()
    return opened


def between_intent_and_send(rig: Rig, act: Callable[[], None]) -> None:
    """Have something happen when the intent is committed and nothing is sent yet."""
    open_now = rig.crew.charger._open

    async def opened(intents: list[Any]) -> list[Any]:
        attempts = await open_now(intents)
        act()
        return attempts

    rig.crew.charger._open = opened  # type: ignore[method-assign]
