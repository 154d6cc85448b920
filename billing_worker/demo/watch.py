"""The run: workers start, one is killed while its charges are under way, another takes its place, and all ends.

It decides when to kill and when the run is over. It must never write to the database nor ask PortOne.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from billing_worker.clock import SystemClock
from billing_worker.demo.books import Progress
from billing_worker.demo.children import Program
from billing_worker.demo.show import Show
from billing_worker.demo.stage import Stage

# The worker is killed once this share of the due periods has an end, so that all kinds of work are under way.
KILL_AT = 0.4

# Often enough to meet a kill's moment and to move a bar, seldom enough to cost the workers nothing.
_LOOK_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Run:
    """What the run was, once it is over. due_by is the instant by which a period counts as due."""

    due_by: datetime
    elapsed_seconds: float
    crew: tuple[Program, ...]
    kills: int
    in_flight_at_kill: int
    came_to_an_end: bool


def run(stage: Stage, show: Show, *, due: int) -> Run:
    """Run workers until nothing is open, or the time is over. Raises DemoFailedError where a program fails."""
    due_by = SystemClock().now()
    crew = [stage.start_worker() for _ in range(stage.pace.workers)]
    victim: Program | None = crew[0]
    in_flight = 0
    started = time.monotonic()
    until = started + stage.pace.run_seconds_max
    with show.progress(due) as bar:
        while True:
            stage.require_running(crew)
            progress = stage.books.progress(crew[0].name)
            bar.show(progress)
            if victim is not None and _is_time_to_kill(progress, due):
                in_flight = _replace(stage, crew, victim)
                bar.say(f"{victim.name} killed (SIGKILL) with {in_flight} charges open; {crew[-1].name} takes over")
                victim = None
            elif progress.is_over or time.monotonic() > until:
                break
            time.sleep(_LOOK_SECONDS)
    return Run(
        due_by=due_by,
        elapsed_seconds=time.monotonic() - started,
        crew=tuple(crew),
        kills=int(victim is None),
        in_flight_at_kill=in_flight,
        came_to_an_end=progress.is_over,
    )


def _is_time_to_kill(progress: Progress, due: int) -> bool:
    """Whether enough is settled and the first worker has charges under way, or nothing new will ever be sent."""
    if progress.unopened or progress.settled < KILL_AT * due:
        return False
    return progress.open_of_worker > 0 or progress.untried == 0


def _replace(stage: Stage, crew: list[Program], victim: Program) -> int:
    """Kill a worker and start another. Returns how many attempts it left open."""
    victim.kill()
    crew.remove(victim)
    left_open = stage.books.progress(victim.name).open_of_worker
    crew.append(stage.start_worker())
    return left_open
