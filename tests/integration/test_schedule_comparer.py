"""The schedule comparer: what somebody did to a booking at PortOne's console is named within an hour."""

from dataclasses import replace
from datetime import timedelta

import pytest

from billing_worker.billing.model import payment_id
from billing_worker.billing.periods import nth_period
from billing_worker.billing.states import Mode
from billing_worker.store import cycles
from tests.builders import STORE_ID, a_cadence, a_plan
from tests.pulling import (
    DyingDatabase,
    KilledError,
    a_schedule_comparer,
    compare_schedules,
    mismatches,
    run,
    schedule,
    standing,
)
from tests.rig import Rig

AHEAD = timedelta(days=2)


async def booked(rig: Rig, business_key: str = "sub-1") -> str:
    """A cycle that is due in two days and booked, some time ago; its payment id."""
    due = (rig.clock.now() + AHEAD).replace(microsecond=0)
    cadence = replace(a_cadence(), anchor_on=due.date(), zone="UTC", charge_at=due.time())
    plan = replace(a_plan(business_key), cadence=cadence, mode=Mode.SCHEDULE)
    await rig.subscribe(plan)
    await rig.crew.renewer.run_once(rig.clock.now())
    await rig.charge()
    await rig.pass_time(minutes=5)
    start_on = nth_period(cadence, 1).start_on
    return payment_id(store_id=STORE_ID, business_key=business_key, period_start_on=start_on)


async def console(rig: Rig, action: str, **changes: object) -> None:
    """Something that a person does to the newest schedule at PortOne."""
    schedule_id = (await rig.ask("GET", "/schedules"))["schedules"][-1]["scheduleId"]
    await rig.ask("POST", f"/schedules/{action}", scheduleId=schedule_id, **changes)


async def test_bookings_that_agree_differ_in_nothing(rig: Rig) -> None:
    # given
    for number in range(5):
        await booked(rig, f"sub-{number}")

    # when
    found = await compare_schedules(rig)

    # then
    assert found == []


async def test_a_schedule_revoked_at_the_console_is_named_and_the_cycle_held(rig: Rig) -> None:
    # given
    of = await booked(rig)
    await console(rig, "revoke")

    # when
    found = await compare_schedules(rig)
    await rig.reconcile()

    # then
    assert found == [("schedule_revoked", of)]
    assert (await rig.cycle())["status"] == "held"
    assert "schedule_revoked" in await mismatches(rig)


async def test_another_amount_is_named_and_the_cycle_held(rig: Rig) -> None:
    # given
    of = await booked(rig)
    await console(rig, "edit", amount=12_000)

    # when
    found = await compare_schedules(rig)
    await rig.reconcile()

    # then
    assert found == [("schedule_amount", of)]
    assert (await rig.cycle())["status"] == "held"


@pytest.mark.parametrize("later", [timedelta(hours=2), timedelta(days=1, hours=12)])
async def test_another_time_is_named_and_waited_for(rig: Rig, later: timedelta) -> None:
    # given
    of = await booked(rig)
    await console(rig, "edit", timeToPay=(rig.clock.now() + AHEAD + later).isoformat())

    # when
    found = await compare_schedules(rig)
    await rig.reconcile()

    # then
    assert found == [("schedule_time", of)]
    assert (await rig.cycle())["status"] == "collecting"


async def test_a_schedule_that_portone_does_not_know_is_missing(rig: Rig) -> None:
    # given
    of = await booked(rig)
    await rig.ask("POST", "/reset")
    await rig.ask("POST", "/clock", advance_seconds=400)

    # when
    found = await compare_schedules(rig)

    # then
    assert found == [("schedule_missing", of)]


async def test_a_schedule_of_another_system_is_foreign_and_left_alone(rig: Rig) -> None:
    # given
    await schedule(rig, "shoporder000002", AHEAD)

    # when
    found = await compare_schedules(rig)

    # then
    [standing_there] = (await rig.ask("GET", "/schedules"))["schedules"]
    assert found == [("schedule_foreign", "shoporder000002")]
    assert standing_there["status"] == "SCHEDULED"


async def test_a_schedule_on_a_cycle_that_is_over_is_an_orphan(rig: Rig) -> None:
    # given
    of = await rig.owe()
    await schedule(rig, of, AHEAD)
    await rig.admin.execute("UPDATE billing.cycles SET status = 'given_up'")

    # when
    found = await compare_schedules(rig)

    # then
    what = await rig.admin.fetchval("SELECT what FROM billing.differences")
    assert found == [("schedule_orphan", of)]
    assert "revoke it" in what
    assert await rig.attempts() == []


async def test_the_schedule_of_a_skipped_cycle_is_adopted_and_taken_back(rig: Rig) -> None:
    # given
    of = await skipped(rig)
    await schedule(rig, of, AHEAD)

    # when
    found = await compare_schedules(rig)
    await rig.reconcile_after(minutes=2)
    afterwards = await compare_schedules(rig)

    # then
    [there] = (await rig.ask("GET", "/schedules"))["schedules"]
    assert found == [("schedule_orphan", of)]
    assert there["status"] == "REVOKED"
    assert (await rig.attempt())["status"] == "revoked"
    assert (await rig.cycle())["status"] == "skipped"
    assert afterwards == []
    assert await rig.kinds() == ["skipped", "intent", "mismatch", "revoked"]


async def test_what_is_adopted_is_never_sent(rig: Rig) -> None:
    # given
    of = await skipped(rig)
    await schedule(rig, of, AHEAD)
    await compare_schedules(rig)
    sent = len(await rig.posts())
    await rig.ask("POST", "/reset")

    # when
    for _ in range(6):
        await rig.reconcile_after(minutes=30)

    # then
    assert (sent, await rig.posts()) == (1, [])
    assert (await rig.attempt())["status"] == "revoked"


async def test_a_cycle_is_adopted_once(rig: Rig) -> None:
    # given
    of = await skipped(rig)
    await schedule(rig, of, AHEAD)

    # when
    await compare_schedules(rig)
    await compare_schedules(rig)

    # then
    assert len(await rig.attempts()) == 1


async def skipped(rig: Rig) -> str:
    """A cycle that a person has skipped, and that was never tried as far as we know."""
    of = await rig.owe()
    now = rig.clock.now()
    recheck_at = now + timedelta(minutes=10)
    await cycles.skip_cycle(rig.database.claims, of, reason="goodwill", actor="kim", now=now, recheck_at=recheck_at)
    return of


async def test_an_orphan_of_a_cycle_that_waits_to_be_booked_is_adopted(rig: Rig) -> None:
    # given
    await rig.ask("POST", "/scripts", behaviour="401", times=1, on="schedule")
    of = await booked(rig)
    refused = await rig.cycle()
    await rig.admin.execute("UPDATE billing.cycles SET claimable_at = due_at")
    await schedule(rig, of, refused["due_at"] - rig.clock.now())

    # when
    found = await compare_schedules(rig)
    await rig.pass_time(minutes=10)
    await rig.charge()
    afterwards = await compare_schedules(rig)

    # then
    assert refused["status"] == "due"
    assert found == [("schedule_orphan", of)]
    assert (await rig.attempt())["schedule_id"] is not None
    assert afterwards == []


async def test_a_booking_that_is_being_taken_back_differs_in_nothing(rig: Rig) -> None:
    # given
    await booked(rig)
    await console(rig, "revoke")
    await rig.admin.execute("UPDATE billing.attempts SET revoke_reason = 'price'")

    # when
    found = await compare_schedules(rig)

    # then
    assert found == []


async def test_what_has_been_put_right_is_over(rig: Rig) -> None:
    # given
    await booked(rig)
    due_at = (await rig.cycle())["due_at"]
    await console(rig, "edit", timeToPay=(due_at + timedelta(hours=1)).isoformat())
    found = await compare_schedules(rig)

    # when
    await console(rig, "edit", timeToPay=due_at.isoformat())
    afterwards = await compare_schedules(rig)

    # then
    assert len(found) == 1
    assert afterwards == []
    assert await mismatches(rig) == ["schedule_time"]


async def test_it_runs_once_an_hour(rig: Rig) -> None:
    # given
    await booked(rig)
    hourly = a_schedule_comparer(rig)
    await run(rig, hourly)
    asked = len((await rig.ask("GET", "/requests"))["requests"])

    # when
    await run(rig, hourly)
    same = len((await rig.ask("GET", "/requests"))["requests"])
    await rig.pass_time(hours=1)
    await run(rig, hourly)

    # then
    assert same == asked
    assert len((await rig.ask("GET", "/requests"))["requests"]) > asked


@pytest.mark.parametrize("dies_before", ["our_cycles", "note_differences", "move_position", "end_differences"])
async def test_a_comparison_that_was_killed_is_made_whole_by_the_next(rig: Rig, dies_before: str) -> None:
    # given
    of = await booked(rig)
    await console(rig, "revoke")
    dying = a_schedule_comparer(rig, claims=DyingDatabase(rig.database.claims, dies_before))
    with pytest.raises(KilledError):
        await run(rig, dying)

    # when
    await rig.pass_time(minutes=5)
    await run(rig, a_schedule_comparer(rig))

    # then
    assert await standing(rig) == [("schedule_revoked", of)]
    assert (await mismatches(rig)).count("schedule_revoked") == 1
