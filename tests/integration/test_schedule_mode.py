"""Schedule mode against a simulated PortOne: booked ahead, watched, taken back, and never beside a direct charge."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import payment_id
from billing_worker.billing.money import Money
from billing_worker.billing.periods import nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from billing_worker.store import cycles, subscriptions
from tests.builders import STORE_ID, a_cadence, a_plan
from tests.rig import Rig

# From the rig's opening of the cycle to its due time.
AHEAD = timedelta(days=2)


def a_scheduled_plan(rig: Rig, billing_key: str = "bk-ok-1", ahead: timedelta = AHEAD) -> PlannedSubscription:
    """A subscription whose first period is due that long from now."""
    due = (rig.clock.now() + ahead).replace(microsecond=0)
    cadence = replace(a_cadence(), anchor_on=due.date(), zone="UTC", charge_at=due.time())
    return replace(a_plan(billing_key=billing_key), cadence=cadence, mode=Mode.SCHEDULE)


async def booked(rig: Rig, billing_key: str = "bk-ok-1", ahead: timedelta = AHEAD) -> str:
    """A cycle that has been booked at PortOne, or has been tried to; its payment_id."""
    plan = a_scheduled_plan(rig, billing_key, ahead)
    await rig.subscribe(plan)
    await rig.crew.renewer.run_once(rig.clock.now())
    await rig.charge()
    start_on = nth_period(plan.cadence, plan.first_cycle_number).start_on
    return payment_id(store_id=STORE_ID, business_key=plan.business_key, period_start_on=start_on)


async def change(rig: Rig, **changes: Any) -> None:
    """What an import does to a known subscription."""
    async with rig.database.claims.transaction() as transaction:
        known = (await subscriptions.find_subscriptions(transaction, ["sub-1"]))["sub-1"]
        new = [(known, replace(known.plan, **changes))]
        await subscriptions.change_subscriptions(transaction, new, now=rig.clock.now())


async def at_portone(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await rig.ask("GET", "/schedules"))["schedules"]
    return found


async def statuses_at_portone(rig: Rig) -> list[str]:
    return [one["status"] for one in await at_portone(rig)]


async def test_a_period_is_booked_days_before_it_is_due(rig: Rig) -> None:
    # when
    cycle_payment_id = await booked(rig)

    # then
    [schedule], attempt, cycle = await at_portone(rig), await rig.attempt(), await rig.cycle()
    assert (schedule["paymentId"], schedule["status"], schedule["amount"]) == (cycle_payment_id, "SCHEDULED", 9900)
    assert (attempt["status"], attempt["schedule_id"]) == ("open", schedule["scheduleId"])
    assert attempt["time_to_pay"] == cycle["due_at"]
    assert attempt["look_at"] == cycle["due_at"] + rig.rules.book_grace
    assert (cycle["status"], await rig.kinds()) == ("collecting", ["intent", "scheduled"])


async def test_what_portone_charged_at_its_time_is_paid(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig)

    # when
    before = await rig.reconcile_after(days=1)
    await rig.reconcile_after(days=1, minutes=2)

    # then
    assert before.rows == 0
    assert (await rig.attempt())["status"] == "paid"
    assert (await rig.cycle())["status"] == "paid"
    assert await rig.kinds() == ["intent", "scheduled", "paid"]
    assert [one["status"] for one in await rig.tries(cycle_payment_id)] == ["PAID"]


async def test_a_booking_that_was_declined_goes_on_as_direct_charges_on_the_same_payment(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig, "bk-soft-funds-x1-1")

    # when
    await rig.reconcile_after(days=2, minutes=2)
    declined = await rig.cycle()
    await rig.pass_time(days=1)
    await rig.charge()

    # then
    assert (declined["status"], declined["declines_count"]) == ("due", 1)
    assert [one["status"] for one in await rig.tries(cycle_payment_id)] == ["FAILED", "PAID"]
    first, second = await rig.attempts()
    assert (first["status"], second["status"], second["time_to_pay"]) == ("declined", "paid", None)
    assert first["decline_code"]


async def test_a_period_that_is_too_near_is_charged_when_it_is_due_and_not_before(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig, ahead=timedelta(minutes=9))

    # when
    early = await rig.charge()
    tried_early = len(await rig.posts())
    await rig.pass_time(minutes=9, seconds=1)
    await rig.charge()

    # then
    assert (early.rows, tried_early) == (0, 0)
    assert [one["status"] for one in await rig.tries(cycle_payment_id)] == ["PAID"]
    assert await at_portone(rig) == []


@pytest.mark.parametrize("lost", ["drop-charged", "drop-uncharged"])
async def test_a_booking_whose_answer_was_lost_is_found_or_made_again_and_made_once(rig: Rig, lost: str) -> None:
    # given
    await rig.ask("POST", "/scripts", behaviour=lost, on="schedule", times=2)
    await booked(rig)
    assert (await rig.attempt())["schedule_id"] is None

    # when
    await rig.reconcile_after(minutes=3)

    # then
    [schedule] = await at_portone(rig)
    assert (await rig.attempt())["schedule_id"] == schedule["scheduleId"]
    assert len({post["idempotency_key"] for post in await rig.posts()}) == 1
    assert await rig.kinds() == ["intent", "scheduled"]


async def test_a_new_price_takes_the_booking_back_and_books_it_anew(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig)

    # when
    await change(rig, price=Money(12000, "KRW"))
    await rig.reconcile_after(minutes=2)
    await rig.charge()
    await rig.reconcile_after(days=2, minutes=2)

    # then
    assert await statuses_at_portone(rig) == ["REVOKED", "SUCCEEDED"]
    first, second = await rig.attempts()
    assert (first["status"], first["decline_code"]) == ("revoked", "price")
    assert (second["status"], second["amount_minor"]) == ("paid", 12000)
    assert (await rig.cycle())["amount_minor"] == 12000
    assert [one["amount"] for one in await rig.tries(cycle_payment_id)] == [12000]
    assert await rig.kinds() == ["intent", "scheduled", "revoked", "intent", "scheduled", "paid"]


async def test_another_card_takes_the_booking_back_and_books_it_with_that_card(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig, "bk-soft-funds-x9-1")

    # when
    await change(rig, billing_key=BillingKey("bk-ok-2"))
    await rig.reconcile_after(minutes=2)
    await rig.charge()
    await rig.reconcile_after(days=2, minutes=2)

    # then
    assert await statuses_at_portone(rig) == ["REVOKED", "SUCCEEDED"]
    assert [one["status"] for one in await rig.tries(cycle_payment_id)] == ["PAID"]


async def test_a_cancelled_subscription_s_booking_is_taken_back_and_nothing_is_charged(rig: Rig) -> None:
    # given
    await booked(rig)

    # when
    await rig.cancel()
    await rig.reconcile_after(minutes=2)
    await rig.charge()
    await rig.reconcile_after(days=3)

    # then
    assert await statuses_at_portone(rig) == ["REVOKED"]
    assert ((await rig.attempt())["status"], (await rig.cycle())["status"]) == ("revoked", "skipped")


async def test_a_halt_does_not_keep_a_booking_from_being_taken_back(rig: Rig) -> None:
    # given
    await booked(rig)
    rig.crew.gate.operator_order("an incident")

    # when
    await rig.cancel()
    await rig.reconcile()

    # then
    assert await statuses_at_portone(rig) == ["REVOKED"]


async def test_in_a_database_that_has_moved_no_booking_is_taken_back(rig: Rig) -> None:
    # given
    await booked(rig)
    rig.crew.gate.unguarded("an index is missing")

    # when
    await rig.cancel()
    await rig.reconcile()

    # then
    assert await statuses_at_portone(rig) == ["SCHEDULED"]
    assert (await rig.attempt())["status"] == "open"


async def test_what_portone_has_paid_cannot_be_taken_back_and_its_outcome_decides(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig)
    await rig.pass_time(days=2, seconds=5)

    # when
    await rig.cancel()
    await rig.reconcile()

    # then
    assert ((await rig.attempt())["status"], (await rig.cycle())["status"]) == ("paid", "paid")
    assert [one["status"] for one in await rig.tries(cycle_payment_id)] == ["PAID"]


async def test_a_wish_that_comes_while_portone_charges_waits_for_the_outcome(rig: Rig) -> None:
    # given
    await booked(rig, "bk-stays-started-1")
    await rig.pass_time(days=2, seconds=5)
    assert await statuses_at_portone(rig) == ["STARTED"]

    # when
    await rig.cancel()
    await rig.reconcile()
    meanwhile = (await rig.attempt())["status"]
    for _ in range(4):
        await rig.reconcile_after(hours=1)

    # then
    assert meanwhile == "open"
    assert ((await rig.attempt())["status"], (await rig.cycle())["status"]) == ("paid", "paid")


async def test_a_cycle_that_is_held_and_skipped_has_its_booking_taken_back_and_stays_skipped(rig: Rig) -> None:
    # given
    cycle_payment_id, now = await booked(rig), rig.clock.now()
    await cycles.hold_cycle(rig.database.claims, cycle_payment_id, reason="a quarrel", actor="kim", now=now)

    # when
    await cycles.skip_cycle(
        rig.database.claims, cycle_payment_id, reason="goodwill", actor="kim", recheck_at=now, now=now
    )
    await rig.reconcile_after(minutes=2)
    await rig.charge()

    # then
    assert await statuses_at_portone(rig) == ["REVOKED"]
    assert ((await rig.attempt())["status"], (await rig.cycle())["status"]) == ("revoked", "skipped")


async def test_a_booking_that_somebody_revoked_at_portone_is_put_before_a_person(rig: Rig) -> None:
    # given
    await booked(rig)
    [schedule] = await at_portone(rig)
    await rig.ask("POST", "/schedules/revoke", scheduleId=schedule["scheduleId"])

    # when
    await rig.reconcile_after(days=2, minutes=2)
    await rig.charge()

    # then
    cycle = await rig.cycle()
    assert cycle["status"] == "held"
    assert "revoked at PortOne" in cycle["held_reason"]
    assert len(await at_portone(rig)) == 1


async def test_a_booking_that_never_arrived_is_voided_an_hour_after_its_time_and_charged(rig: Rig) -> None:
    # given
    await rig.ask("POST", "/scripts", behaviour="drop-uncharged", on="schedule", times=100)
    cycle_payment_id = await booked(rig, ahead=timedelta(hours=3))

    # when
    await rig.reconcile_after(hours=3, minutes=50)
    too_early = (await rig.attempt())["status"]
    await rig.reconcile_after(hours=1, minutes=2)
    await rig.charge()

    # then
    assert too_early == "open"
    assert [attempt["status"] for attempt in await rig.attempts()] == ["voided", "paid"]
    assert [one["status"] for one in await rig.tries(cycle_payment_id)] == ["PAID"]


async def test_a_refused_booking_is_no_decline_and_the_cycle_waits_for_its_time(rig: Rig) -> None:
    # when
    await booked(rig, "bk-deleted-1")
    early = await rig.charge()

    # then
    refused, cycle = await rig.attempt(), await rig.cycle()
    assert (refused["status"], cycle["status"], cycle["declines_count"]) == ("refused", "due", 0)
    assert cycle["claimable_at"] == cycle["due_at"]
    assert early.rows == 0


async def test_nothing_else_leaves_while_a_booking_is_out(rig: Rig) -> None:
    # given
    await booked(rig)

    # when
    counts = [await rig.charge() for _ in range(3)]

    # then
    assert [one.rows for one in counts] == [0, 0, 0]
    assert (len(await rig.attempts()), len(await rig.posts())) == (1, 1)


async def test_a_person_s_retry_has_a_booking_taken_back_first_and_then_books_anew(rig: Rig) -> None:
    # given
    cycle_payment_id = await booked(rig)
    [schedule] = await at_portone(rig)
    await rig.ask("POST", "/schedules/edit", scheduleId=schedule["scheduleId"], amount=1)
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", rig.clock.now())
    await rig.reconcile()
    held = (await rig.cycle())["status"]

    # when
    retried = await cycles.retry_cycle(
        rig.database.claims, cycle_payment_id, reason="put right", actor="kim", now=rig.clock.now()
    )
    await rig.reconcile_after(minutes=2)
    await rig.charge()
    await rig.reconcile_after(days=2, minutes=2)

    # then
    assert (held, retried) == ("held", True)
    assert await statuses_at_portone(rig) == ["REVOKED", "SUCCEEDED"]
    assert [one["amount"] for one in await rig.tries(cycle_payment_id)] == [9900]
    assert [attempt["status"] for attempt in await rig.attempts()] == ["revoked", "paid"]


async def test_a_price_that_changed_in_time_counts_though_its_booking_ended_too_late(rig: Rig) -> None:
    """Found by the model: the worker was down from the change until after the due time."""
    # given
    cycle_payment_id = await booked(rig, "bk-never-fires-1")
    await change(rig, price=Money(12000, "KRW"))

    # when
    await rig.pass_time(days=2, minutes=5)
    await rig.reconcile()
    await rig.charge()

    # then
    assert [(one["status"], one["amount"]) for one in await rig.tries(cycle_payment_id)] == [("PAID", 12000)]
    assert (await rig.cycle())["amount_minor"] == 12000


async def test_nothing_there_to_take_back_is_believed_an_hour_after_the_last_possible_send(rig: Rig) -> None:
    """Found by the model: a booking sent late in its window arrived after it was settled as revoked."""
    # given
    await rig.ask("POST", "/scripts", behaviour="drop-uncharged", on="schedule", times=100)
    await booked(rig)
    await rig.cancel()

    # when
    await rig.reconcile_after(minutes=30)
    early = (await rig.attempt())["status"]
    for _ in range(3):
        await rig.reconcile_after(minutes=30)

    # then
    assert (early, (await rig.attempt())["status"]) == ("open", "revoked")


async def test_a_decline_keeps_the_price_though_a_new_one_came_too_late_to_be_booked(rig: Rig) -> None:
    """Found by the crash campaign: PortOne was asked for another sum on a paymentId that a PG had declined."""
    # given
    cycle_payment_id = await booked(rig, "bk-soft-funds-x1-1")
    await change(rig, price=Money(12000, "KRW"))

    # when: nobody was there to take the booking back in time
    await rig.reconcile_after(days=2, minutes=2)
    await rig.pass_time(days=1)
    await rig.charge()

    # then
    tries = await rig.tries(cycle_payment_id)
    assert [(one["status"], one["amount"]) for one in tries] == [("FAILED", 9900), ("PAID", 9900)]
