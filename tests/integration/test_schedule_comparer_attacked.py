"""What an attack on the comparison of schedules tried: lists that leave out, spoil or alter, and silence."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from billing_worker.billing.model import payment_id
from billing_worker.billing.outcomes import Unanswered
from billing_worker.billing.periods import nth_period
from billing_worker.billing.states import Mode
from billing_worker.portone import schedules
from billing_worker.workers import schedule_comparer
from billing_worker.workers.findings import Passed
from billing_worker.workers.schedule_comparer import ScheduleComparer, ScheduleComparerLimits
from tests.builders import STORE_ID, a_cadence, a_plan
from tests.conftest import DatabaseUrls
from tests.interrupted import Interrupted
from tests.lossy import Lossy, forget_everything
from tests.pulling import LEASE, a_schedule_comparer, compare_schedules, findings, run, schedule, standing
from tests.rig import LEAD, Rig, a_rig

AHEAD = timedelta(days=2)
OURS_UNKNOWN = "rb1" + "x" * 27


@pytest.fixture
async def portone() -> Lossy:
    return Lossy()


@pytest.fixture
async def rig(database: DatabaseUrls, portone: Lossy) -> AsyncIterator[Rig]:
    async with a_rig(database, transport=lambda: portone) as made:
        yield made


async def booked(rig: Rig, business_key: str = "sub-1") -> str:
    """A cycle that is due in two days and booked just now; its payment id."""
    due = (rig.clock.now() + AHEAD).replace(microsecond=0)
    cadence = replace(a_cadence(), anchor_on=due.date(), zone="UTC", charge_at=due.time())
    await rig.subscribe(replace(a_plan(business_key), cadence=cadence, mode=Mode.SCHEDULE))
    await rig.crew.renewer.run_once(rig.clock.now())
    await rig.charge()
    return payment_id(store_id=STORE_ID, business_key=business_key, period_start_on=nth_period(cadence, 1).start_on)


async def test_what_a_list_shows_otherwise_is_asked_for_before_it_is_called_different(rig: Rig, portone: Lossy) -> None:
    # given
    await booked(rig)
    await rig.pass_time(minutes=5)
    portone.change = lambda item: item | {"totalAmount": 1}

    # when
    found = await compare_schedules(rig)

    # then
    assert found == []


async def test_a_booking_that_the_list_leaves_out_is_asked_for_before_it_is_called_missing(
    rig: Rig, portone: Lossy
) -> None:
    # given
    of = await booked(rig)
    await rig.pass_time(minutes=5)
    portone.hide(of)

    # when
    found = await compare_schedules(rig)

    # then
    assert found == []


async def test_the_bookings_of_another_store_are_not_called_missing(rig: Rig) -> None:
    # given
    await booked(rig)
    await forget_everything(rig)
    await rig.pass_time(minutes=5)
    limits = ScheduleComparerLimits(store_id="another-store", every=timedelta(hours=1), lead=LEAD, lease=LEASE)
    other = ScheduleComparer(rig.database.claims, rig.portone, rig.clock, findings(rig), limits=limits)

    # when
    await other.compare_now()

    # then
    assert await standing(rig) == []


async def test_a_booking_of_this_minute_is_not_called_missing(rig: Rig) -> None:
    # given
    of = await booked(rig)
    await forget_everything(rig)

    # when
    at_once = await compare_schedules(rig)
    await rig.pass_time(minutes=3)
    later = await compare_schedules(rig)

    # then
    assert at_once == []
    assert later == [("schedule_missing", of)]


async def test_every_page_of_a_day_is_read_though_nothing_of_one_can_be(
    rig: Rig, portone: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(schedules, "PAGE_SIZE", 1)
    for number in range(3):
        await schedule(rig, f"shoporder00000{number}", AHEAD + timedelta(hours=1, minutes=number))
    portone.spoil("shoporder000000")

    # when
    found = await compare_schedules(rig)

    # then
    assert found == [("schedule_foreign", f"shoporder00000{number}") for number in (1, 2)]


@pytest.mark.parametrize("ahead", [timedelta(minutes=20), LEAD + timedelta(hours=47)])
async def test_schedules_are_compared_from_now_to_two_days_beyond_the_lead(rig: Rig, ahead: timedelta) -> None:
    # given
    await schedule(rig, OURS_UNKNOWN, ahead)

    # when
    found = await compare_schedules(rig)

    # then
    assert found == [("unknown_cycle", OURS_UNKNOWN)]


async def test_a_booking_whose_time_has_passed_is_compared_for_a_day(rig: Rig) -> None:
    # given
    of = await booked(rig)
    await forget_everything(rig)
    await rig.pass_time(days=2, hours=20)

    # when
    found = await compare_schedules(rig)

    # then
    assert found == [("schedule_missing", of)]


@pytest.mark.parametrize("lost", ["unread", "unanswered", "too many"])
async def test_a_comparison_of_schedules_that_could_not_read_all_ends_no_difference(
    rig: Rig, portone: Lossy, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    # given: a difference that is over
    of = await booked(rig)
    await rig.pass_time(minutes=5)
    await schedule(rig, "shoporder000001", AHEAD)
    before = await compare_schedules(rig)
    [ours, theirs] = (await rig.ask("GET", "/schedules"))["schedules"]
    await rig.ask("POST", "/schedules/revoke", scheduleId=theirs["scheduleId"])
    if lost == "unread":
        portone.spoil(of)
    else:
        portone.hide(of)
    if lost == "unanswered":
        portone.silent = {ours["scheduleId"]}
    elif lost == "too many":
        monkeypatch.setattr(schedule_comparer, "MISSING_MAX", 1)

    # when
    rig.clock.advance(seconds=1)
    passed = await a_schedule_comparer(rig).compare_now()
    in_part = await standing(rig)
    portone.silent, portone.change = set(), lambda item: item
    monkeypatch.undo()
    whole = await compare_schedules(rig)

    # then
    assert passed is Passed.IN_PART
    assert before == in_part == [("schedule_foreign", "shoporder000001")]
    assert whole == []


async def test_a_pass_over_schedules_that_takes_long_ends_and_the_next_one_goes_on(rig: Rig) -> None:
    # given
    await schedule(rig, "shoporder000001", AHEAD)
    claims = Interrupted(rig.database.claims, "booked_between", lambda: rig.pass_time(seconds=46))

    # when
    first = await a_schedule_comparer(rig, claims=claims).run_once(rig.clock.now())
    begun = await standing(rig)
    await run(rig, a_schedule_comparer(rig))

    # then
    assert first.more
    assert begun == []
    assert await standing(rig) == [("schedule_foreign", "shoporder000001")]


async def test_a_schedule_that_cannot_be_read_is_not_taken_for_none(rig: Rig, portone: Lossy) -> None:
    # given: a booking whose own id is not known, as after a lost answer
    of = await booked(rig)
    attempt = await rig.attempt()
    sought = {"time_to_pay": attempt["time_to_pay"], "sent": attempt["request_body"]}

    # when
    there = await schedules.schedules_of(rig.portone, of, **sought)
    portone.spoil(of)
    unread = await schedules.schedules_of(rig.portone, of, **sought)

    # then
    assert isinstance(there, tuple)
    assert [each.payment_id for each in there] == [of]
    assert isinstance(unread, Unanswered)


async def test_a_stray_schedule_hurries_no_retry(rig: Rig) -> None:
    # given: a period that was declined, and waits for its retry
    of = await rig.owe(billing_key="bk-soft-funds-x1-1", mode=Mode.SCHEDULE)
    await rig.charge()
    waiting = await rig.cycle()
    await schedule(rig, of, AHEAD)

    # when
    found = await compare_schedules(rig)

    # then
    assert waiting["status"] == "due"
    assert found == [("schedule_orphan", of)]
    assert (await rig.cycle())["claimable_at"] == waiting["claimable_at"] > rig.clock.now()
