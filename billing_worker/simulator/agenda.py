"""The agenda: what the simulated future holds, done in the order of its instants.

Each thing is done as of the instant it was due, however late somebody looks, so that a jump over a week leaves the
truth that the week itself would have left. Whoever asks for the time does what is due; a timer does it when nobody
asks. Nothing here waits, and what is put here must neither wait nor ask for the time.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

from billing_worker.simulator.clock import SimulatedClock

Act = Callable[[datetime], None]

TIMER_SECONDS_MAX = 60.0  # a timer that looks too soon costs nothing; one set for a year would be a surprise


class Agenda:
    """What is to come, the earliest first."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._coming: list[tuple[datetime, int, Act]] = []
        self._serial = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for: datetime | None = None
        self._is_over = False

    def put(self, at: datetime, act: Act) -> None:
        """Let something happen at an instant; it is told which."""
        heapq.heappush(self._coming, (at, next(self._serial), act))
        self.set_timer()

    def do_what_is_due(self, now: datetime) -> None:
        """Do everything up to now, in order of time, and what that brings about up to now."""
        if not self._coming or self._coming[0][0] > now:
            return
        while self._coming and self._coming[0][0] <= now:
            at, _, act = heapq.heappop(self._coming)
            act(at)
        self.set_timer()

    def set_timer(self, *, anew: bool = False) -> None:
        """Look again when the first thing is due; `anew` after the clock was moved."""
        first = self._coming[0][0] if self._coming else None
        if first == self._timer_is_for and not anew:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_is_for = None, None
        if first is None or self._is_over:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # without a loop nothing happens by itself: whoever asks for the time does what is due
        seconds = (first - self._clock.now()).total_seconds()
        self._timer = loop.call_later(min(max(seconds, 0.0), TIMER_SECONDS_MAX), self._look)
        self._timer_is_for = first

    def stop(self) -> None:
        """Let nothing more happen by itself."""
        self._is_over = True
        self.set_timer(anew=True)

    def _look(self) -> None:
        self._timer, self._timer_is_for = None, None
        self.do_what_is_due(self._clock.now())
        self.set_timer()
