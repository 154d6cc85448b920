"""The simulation in small: a few hundred seeds, the same run twice, and that its own parts do what they claim."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from billing_worker import bounds
from billing_worker import daemon as product
from billing_worker.billing.states import Mode
from tests.simulation.clocks import HostClock, ServerClock
from tests.simulation.crew import settings_of
from tests.simulation.faults import CELLS, Cell, Fault, Point, Side, all_cells, why_impossible
from tests.simulation.kept_seeds import KEPT
from tests.simulation.run import play, simulate
from tests.simulation.scenario import START, plan_of
from tests.simulation.world import DAY, Aim, World

SEEDS = int(os.environ.get("BILLING_SIMULATION_SEEDS", "300"))
SEEDS_A_TEST = 50


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """What a run changes for its whole program is put back: how logs are written, and which metrics a daemon makes."""
    logging, metrics = structlog.get_config(), product.telemetry.Metrics
    structlog.reset_defaults()
    yield
    structlog.configure(**logging)
    product.telemetry.Metrics = metrics  # type: ignore[misc]


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_nothing_that_must_never_happen_happens(first: int) -> None:
    seeds = range(first, min(first + SEEDS_A_TEST, SEEDS))

    found = {seed: result.findings for seed in seeds if (result := simulate(seed)).findings}

    assert found == {}, "replay with python -m tests.simulation --seed SEED --trace"


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: str(kept.seed))
def test_a_seed_that_has_found_something_finds_nothing_any_more(kept: object) -> None:
    assert simulate(kept.seed).findings == []  # type: ignore[attr-defined]


def test_a_seed_is_the_same_run_in_another_program_with_other_hashes() -> None:
    # given
    here = [simulate(seed).sha256 for seed in (7, 8)]

    # when
    elsewhere = [_trace_of(8, hash_seed=hash_seed) for hash_seed in ("1", "4242")]

    # then
    assert elsewhere == [here[1]] * 2


def _trace_of(seed: int, *, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout.split()[-1]


def test_another_seed_is_another_run() -> None:
    assert simulate(7).sha256 != simulate(9).sha256


def test_each_cell_can_be_hit_or_has_a_reason_why_not() -> None:
    impossible = [cell for cell in all_cells() if why_impossible(cell)]

    assert len(impossible) + len(CELLS) == len(Point) * len(Side) * len(Fault)


def test_a_row_of_seeds_aims_at_every_cell() -> None:
    aimed = {aim.cell for seed in range(len(CELLS)) for aim in plan_of(seed).aims[:1]}

    assert aimed == set(CELLS)


def test_a_calm_run_collects_every_period_with_one_request_each() -> None:
    plan = _calm(3)

    result = play(plan)

    assert result.findings == []
    assert result.counts["charges"] == result.counts["requests post"] > 0
    assert result.counts["requests post_again"] == 0


def test_a_calm_run_of_schedule_mode_books_every_period_and_charges_itself_only_what_was_too_near() -> None:
    result = play(_calm(3, Mode.SCHEDULE))

    counts = result.counts
    assert result.findings == []
    assert counts["bookings SUCCEEDED"] + counts["requests post"] == counts["charges"] > 0
    assert counts["bookings"] == counts["requests book"] >= counts["bookings SUCCEEDED"] > 0


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.FREEZE_KEYS, Fault.ANSWER_LOST, Fault.FAILOVER])
def test_a_fault_in_the_middle_of_a_booking_is_found_out_and_settled(fault: Fault) -> None:
    step = (Point.INTENT_BOOKING, Side.AFTER) if fault is Fault.FAILOVER else (Point.BOOK, Side.AT)
    aim = Aim(Cell(*step, fault), nth=1)

    result = play(replace(_calm(3, Mode.SCHEDULE), aims=(aim,)))

    assert result.findings == []
    assert result.cells[aim.cell] == 1


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.FREEZE_KEYS, Fault.ANSWER_LOST, Fault.HANG])
def test_a_fault_in_the_middle_of_a_charge_is_found_out_and_settled(fault: Fault) -> None:
    aim = Aim(Cell(Point.POST, Side.AT, fault), nth=1)

    result = play(replace(_calm(3), aims=(aim,)))

    assert result.findings == []
    assert result.cells[aim.cell] == 1
    assert result.counts["attempt paid"] == result.counts["charges"]


def test_a_failover_that_loses_an_intent_charges_nobody_twice() -> None:
    aims = (Aim(Cell(Point.INTENT, Side.AFTER, Fault.FAILOVER), nth=1),)

    result = play(replace(_calm(5), aims=aims))

    assert result.findings == []
    assert result.counts["failovers"] == 1


def test_the_daemon_counts_deadlines_by_a_clock_that_runs_while_it_sleeps() -> None:
    world = World(1, START, aims=(), rates=())
    clock = HostClock(ServerClock(world.loop, START, 0.0), world.loop)
    client = bounds.portone_client(settings_of("w1", (1.0,), (86_400,)), clock)

    world.loop.now = 5 * DAY

    assert client._seconds() == clock.monotonic() == 5 * DAY


def _calm(seed: int, mode: Mode = Mode.CHARGE) -> "object":
    """The plan of a seed without anything that goes wrong or changes, all of it in one mode."""
    plan = replace(plan_of(seed), changes=(), webhooks=False, schedules=mode is Mode.SCHEDULE)
    of_mode = [replace(each, plan=replace(each.plan, mode=mode)) for each in plan.subscriptions]
    easy = tuple(replace(each, soft=0.0, hard=0.0) for each in of_mode)
    calm = replace(plan, subscriptions=easy, aims=(), rates=(), stops=(), portone_clock=(), atomic=True, slow=0.0)
    return replace(calm, halts=(), sets_aside=0.0)
