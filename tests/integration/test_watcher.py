"""The watcher: it compares clocks, obeys a person's order, and shows what stays open too long. It changes no row."""

import math
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from billing_worker.store import control
from billing_worker.workers.gate import ClosedBy
from billing_worker.workers.watcher import CLOSED_AGAIN_SECONDS, Watcher, WatcherLimits
from tests.rig import Rig

LIMITS = WatcherLimits(unresolved_warn_seconds=900, unresolved_page_seconds=7200)


def a_watcher(rig: Rig) -> Watcher:
    return Watcher(rig.database.claims, rig.crew.gate, rig.clock, rig.crew.metrics, limits=LIMITS)


async def watch(rig: Rig, watcher: Watcher | None = None) -> list[Any]:
    """One pass; the log lines of warning and worse."""
    watcher = watcher or a_watcher(rig)
    with capture_logs() as lines:
        await watcher.run_once(rig.clock.now())
    return [(line["event"], line["log_level"]) for line in lines if line["log_level"] in {"warning", "error"}]


def shown(rig: Rig, name: str, **labels: str) -> float | None:
    return rig.crew.metrics.registry.get_sample_value(f"billing_{name}", labels)


async def halt(rig: Rig, *, halted: bool, reason: str = "wrong price") -> None:
    await control.order_sending(rig.database.claims, halted=halted, reason=reason, actor="kim")


async def test_nothing_is_sent_before_the_watcher_has_looked_once(rig: Rig) -> None:
    # given
    crew = rig.hire("worker-2", watched=False)
    await rig.owe()

    # when
    before = await rig.charge(crew)
    rig.crews.insert(0, crew)
    await watch(rig)
    after = await rig.charge(crew)

    # then
    assert (before.rows, after.rows) == (0, 1)


async def test_a_person_s_order_stops_the_sending_and_lets_it_go_on(rig: Rig) -> None:
    # given
    await rig.owe()

    # when
    await halt(rig, halted=True)
    lines = await watch(rig)
    halted = await rig.charge()
    closed = rig.crew.gate.closed()
    await halt(rig, halted=False)
    await watch(rig)
    resumed = await rig.charge()

    # then
    assert closed is not None
    assert (closed.by, closed.why) == (ClosedBy.OPERATOR, "wrong price")
    assert lines == [("sending.closed", "warning")]
    assert (halted.rows, resumed.rows) == (0, 1)
    assert shown(rig, "sending_halted", reason="operator") == 0


async def said_of_the_gate(rig: Rig, watcher: Watcher) -> list[tuple[str, str]]:
    """One pass; what it said of the gate, and why that is closed."""
    with capture_logs() as lines:
        await watcher.run_once(rig.clock.now())
    return [(line["event"], line.get("why", "")) for line in lines if line["event"].startswith("sending.")]


async def test_a_gate_that_stays_closed_is_said_again_only_every_ten_minutes(rig: Rig) -> None:
    # given
    watcher = a_watcher(rig)
    await halt(rig, halted=True)
    closed = ("sending.closed", "wrong price")

    # when
    said = []
    for seconds in (0, 5, CLOSED_AGAIN_SECONDS - 10, 5, 5):
        rig.clock.advance(seconds=seconds)
        said.append(await said_of_the_gate(rig, watcher))

    # then
    assert said == [[closed], [], [], [closed], []]


async def test_another_reason_and_the_opening_are_said_once_each(rig: Rig) -> None:
    # given
    watcher = a_watcher(rig)
    orders = [(True, "price 9900"), (True, "price 8800"), (True, "price 8800"), (False, "x"), (False, "x"), (True, "y")]

    # when
    said = []
    for halted, reason in orders:
        await halt(rig, halted=halted, reason=reason)
        said += await said_of_the_gate(rig, watcher)

    # then
    closed = "sending.closed"
    assert said == [(closed, "price 9900"), (closed, "price 8800"), ("sending.opened", ""), (closed, "y")]


async def test_a_figure_that_grows_by_the_second_is_no_other_reason(rig: Rig) -> None:
    # given
    watcher = a_watcher(rig)

    # when
    said = []
    for seconds in (40, 45, 50):
        rig.clock.skew_seconds = 0.0
        rig.clock.advance(seconds=seconds)
        said += [event for event, _ in await said_of_the_gate(rig, watcher)]

    # then
    assert said == ["sending.closed"]


async def test_an_order_without_a_reason_is_obeyed_too(rig: Rig) -> None:
    await halt(rig, halted=True, reason="")

    await watch(rig)

    assert rig.crew.gate.closed() is not None
    assert shown(rig, "sending_halted", reason="operator") == 1


async def test_the_primary_s_clock_is_the_one_that_counts(rig: Rig) -> None:
    # given
    rig.clock.advance(seconds=40)

    # when
    await watch(rig)

    # then
    closed = rig.crew.gate.closed()
    assert closed is not None
    assert closed.by is ClosedBy.CLOCK
    assert abs((rig.clock.now() - await control.primary_clock(rig.database.claims)).total_seconds()) < 5
    assert shown(rig, "clock_skew_seconds") == pytest.approx(40, abs=5)


async def test_a_small_skew_closes_nothing(rig: Rig) -> None:
    rig.clock.advance(seconds=10)

    await watch(rig)

    assert rig.crew.gate.closed() is None


@pytest.mark.parametrize(
    ("age", "lines"),
    [
        (timedelta(minutes=14), []),
        (timedelta(minutes=16), [("attempts.unresolved", "warning")]),
        (timedelta(minutes=121), [("attempts.unresolved", "error")]),
    ],
)
async def test_what_stays_open_too_long_warns_and_then_wakes_somebody(
    rig: Rig, age: timedelta, lines: list[tuple[str, str]]
) -> None:
    # given
    await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    await rig.admin.execute("UPDATE billing.attempts SET opened_at = clock_timestamp() - $1::interval", age)

    # when
    said = await watch(rig)

    # then
    assert said == lines
    assert shown(rig, "open_attempts") == 1
    assert shown(rig, "oldest_open_attempt_seconds") == pytest.approx(age.total_seconds(), abs=10)


async def test_the_gauges_say_when_the_first_unwanted_booking_is_charged(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    await watch(rig)
    before = shown(rig, "unwanted_charge_in_seconds")

    # when
    wanted_back = "UPDATE billing.attempts SET time_to_pay = $1, revoke_reason = 'cancelled'"
    await rig.admin.execute(wanted_back, rig.clock.now() + timedelta(hours=1))
    await watch(rig)

    # then
    assert (before, shown(rig, "bookings_to_take_back")) == (math.inf, 1)
    assert shown(rig, "unwanted_charge_in_seconds") == pytest.approx(3600, abs=10)


async def test_the_gauges_show_the_backlog(rig: Rig) -> None:
    # given
    for number in range(3):
        await rig.owe(f"sub-{number}", f"bk-ok-{number}")
    await rig.admin.execute(
        "UPDATE billing.cycles SET status = 'held', held_reason = 'x' "
        "WHERE cycle_id = (SELECT min(cycle_id) FROM billing.cycles)"
    )
    await rig.admin.execute("UPDATE billing.cycles SET claimable_at = clock_timestamp() - interval '1 hour'")

    # when
    await watch(rig)

    # then
    assert shown(rig, "due_backlog") == 2
    assert shown(rig, "exceptions") == 1
    assert shown(rig, "oldest_due_seconds") == pytest.approx(3600, abs=10)
    assert shown(rig, "open_attempts") == 0
