"""Clocks of a run: a worker host's, which can be set wrong, and those of the primary and of PortOne.

A host's clock is the product's own SystemClock over virtual time; only its two readings of the machine are replaced.
"""

from datetime import datetime, timedelta

from billing_worker.clock import SystemClock
from tests.simulation.loop import VirtualLoop

# A worker sends nothing while its clock is 30 s from the primary's; the primary's own may be a second off.
WRONG_SECONDS = 32.0


class ServerClock:
    """The clock of Postgres or PortOne."""

    def __init__(self, loop: VirtualLoop, started_at: datetime, ahead_seconds: float) -> None:
        self._loop = loop
        self._started_at = started_at
        self.ahead_seconds = ahead_seconds
        self.wrong_since: float | None = None

    def jump(self, seconds: float) -> None:
        """Be set forwards or backwards."""
        self.ahead_seconds += seconds
        if abs(self.ahead_seconds) < WRONG_SECONDS:
            self.wrong_since = None
        elif self.wrong_since is None:
            self.wrong_since = self._loop.now

    def now(self) -> datetime:
        """What it shows."""
        return self._started_at + timedelta(seconds=self._loop.now + self.ahead_seconds)


class HostClock(SystemClock):
    """The product's clock on a machine whose wall clock shows what it is set to."""

    def __init__(self, wall: ServerClock, loop: VirtualLoop) -> None:
        self._wall = wall
        self._loop = loop
        self._reference_at = wall.now()
        self._reference_seconds = self.monotonic()

    @property
    def skew_seconds(self) -> float:
        """The wall clock minus the primary's, as SystemClock has it."""
        return (self._wall.now() - self.now()).total_seconds()

    def monotonic(self) -> float:
        """Counts sleep, as CLOCK_BOOTTIME does."""
        return self._loop.now
