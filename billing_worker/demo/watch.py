"""The run: workers start, things happen to them and to what is booked, and all ends.

It decides when what happens and when the run is over: when a worker is killed, when prices change and subscriptions
end, and how long PortOne sends webhooks. It must never charge, nor settle anything.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from billing_worker.clock import SystemClock
from billing_worker.demo.books import Progress
from billing_worker.demo.children import Program
from billing_worker.demo.show import Bar, Show
from billing_worker.demo.stage import Stage
from billing_worker.demo.stories import Change

# The worker is killed once this share of the due periods is booked or has an end: both kinds of calls are under way.
KILL_AT = 0.3

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
    bookings_at_kill: int
    webhooks_seconds: float
    came_to_an_end: bool


def run(stage: Stage, show: Show) -> Run:
    """Run workers until nothing is open, or the time is over. Raises DemoFailedError where a program fails."""
    due_by = stage.set_due_times(SystemClock().now())
    started = time.monotonic()
    crew = [stage.start_worker() for _ in range(stage.pace.workers)]
    with show.progress(stage.pace.due) as bar:
        happenings = _Happenings(stage, crew, bar)
        while True:
            stage.require_running(crew)
            progress = stage.books.progress(crew[0].name)
            bar.show(progress)
            seconds = time.monotonic() - started
            happened = happenings.look(progress, seconds)
            if seconds > stage.pace.run_seconds_max or (progress.is_over and not happened):
                break
            time.sleep(_LOOK_SECONDS)
    elapsed = time.monotonic() - started
    return Run(
        due_by=due_by,
        elapsed_seconds=elapsed,
        crew=tuple(crew),
        kills=int(happenings.victim is None),
        in_flight_at_kill=happenings.in_flight,
        bookings_at_kill=happenings.bookings_in_flight,
        webhooks_seconds=happenings.webhooks_seconds(elapsed),
        came_to_an_end=progress.is_over,
    )


class _Happenings:
    """What happens from outside while the workers work, each thing once and at its moment."""

    def __init__(self, stage: Stage, crew: list[Program], bar: Bar) -> None:
        self._stage = stage
        self._crew = crew
        self._bar = bar
        self._told: Program | None = None
        self._on_at: float | None = None
        self._off_at: float | None = None
        self._to_change = [key for change in Change for key in stage.sample.keys_to(change)]
        self.victim: Program | None = crew[0]
        self.in_flight = 0
        self.bookings_in_flight = 0

    def look(self, progress: Progress, seconds: float) -> bool:
        """Let happen what is to happen now. Whether anything did that makes what the progress says old."""
        self._switch_webhooks(seconds)
        if self._to_change and self._is_time_to_change(seconds):
            self._change(seconds)
            return True
        if self.victim is not None and self._is_time_to_kill(progress):
            self._replace(self.victim, seconds)
            return True
        return False

    def webhooks_seconds(self, elapsed: float) -> float:
        """How long webhooks have been on."""
        over = elapsed if self._off_at is None else self._off_at
        return 0.0 if self._on_at is None else over - self._on_at

    def _switch_webhooks(self, seconds: float) -> None:
        """PortOne tells the newest worker, for it is not the one that is killed; and at half-time nobody."""
        if self._off_at is not None:
            return
        if seconds >= self._stage.pace.webhooks_seconds:
            self._stage.send_no_webhooks()
            self._off_at = seconds
            self._say(seconds, "PortOne sends no more webhooks")
        elif self._told is not self._crew[-1] and self._stage.send_webhooks_to(self._crew[-1]):
            self._told = self._crew[-1]
            self._on_at = seconds if self._on_at is None else self._on_at
            self._say(seconds, f"PortOne sends webhooks to {self._told.name}, and loses some of them")

    def _is_time_to_change(self, seconds: float) -> bool:
        late = seconds >= self._stage.pace.changes_seconds_max
        return late or not self._stage.books.not_booked(self._to_change)

    def _change(self, seconds: float) -> None:
        self._stage.change_what_is_booked()
        dearer, cancelled = (len(self._stage.sample.keys_to(change)) for change in (Change.PRICE, Change.CANCEL))
        self._say(seconds, f"{dearer} subscriptions that are booked get another price, {cancelled} are cancelled")
        self._to_change = []

    def _is_time_to_kill(self, progress: Progress) -> bool:
        """Whether enough is settled and the worker has calls under way, or nothing new will ever be sent."""
        if progress.unopened or progress.booked + progress.settled < KILL_AT * self._stage.pace.due:
            return False
        return progress.open_of_worker > 0 or progress.untried == 0

    def _replace(self, victim: Program, seconds: float) -> None:
        """Kill a worker and start another."""
        victim.kill()
        self._crew.remove(victim)
        left_open = self._stage.books.progress(victim.name)
        self._crew.append(self._stage.start_worker())
        self.victim = None
        self.in_flight, self.bookings_in_flight = left_open.open_of_worker, left_open.open_bookings_of_worker
        self._say(
            seconds,
            f"{victim.name} killed (SIGKILL) with {self.in_flight} calls open, {self.bookings_in_flight} of them "
            f"bookings; {self._crew[-1].name} takes over",
        )

    def _say(self, seconds: float, what: str) -> None:
        self._bar.say(f"{seconds:5.1f} s  {what}")
