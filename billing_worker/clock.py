"""The only reader of time: what the primary's clock says now, and how far this host's is from it.

Between two observations of the primary, time is counted by a clock that nobody sets and that runs while the machine
sleeps, so that a step of the host's clock moves nothing that is due; it only shows, at once, as skew. This module must
never decide what follows from a skew: whoever sends does.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

# CLOCK_MONOTONIC stands still while a laptop or a virtual machine sleeps, and a lease must lapse meanwhile.
_UNSTOPPED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What everything that needs the time is handed."""

    @property
    def skew_seconds(self) -> float:
        """The host's clock minus the primary's: positive when the host is ahead."""

    def now(self) -> datetime:
        """The primary's time, as well as it is known: an aware UTC instant."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; they never go back. For durations only."""

    def observe_primary(self, primary_now: datetime, *, asked_at: datetime, answered_at: datetime) -> None:
        """Learn from the primary's answer; asked_at and answered_at are now() before and after asking."""


class SystemClock:
    """The host's clocks, set by the primary's."""

    def __init__(self) -> None:
        self._reference_at = _host_now()
        self._reference_seconds = self.monotonic()

    @property
    def skew_seconds(self) -> float:
        """The host's clock minus the primary's; 0 until the primary was observed or the host's clock was set."""
        return (_host_now() - self.now()).total_seconds()

    def now(self) -> datetime:
        """The primary's time: the last observed one and the seconds since."""
        return self._reference_at + timedelta(seconds=self.monotonic() - self._reference_seconds)

    def monotonic(self) -> float:
        """Seconds of a clock that nobody sets and that counts sleep where the system has one."""
        return time.clock_gettime(_UNSTOPPED)

    def observe_primary(self, primary_now: datetime, *, asked_at: datetime, answered_at: datetime) -> None:
        """Move now() to the primary's, unless the answer was too slow to contradict it."""
        error = clock_error(primary_now, asked_at=asked_at, answered_at=answered_at)
        if error:
            self._reference_at += error


def clock_error(primary_now: datetime, *, asked_at: datetime, answered_at: datetime) -> timedelta:
    """How far the primary is ahead of the clock that asked; zero when the two may agree.

    The primary read its clock somewhere between asking and answering, most likely half way. A difference within that
    half may be none, and following every answer would make the time jitter with the load of the network.
    """
    half = (answered_at - asked_at) / 2
    error = primary_now - (asked_at + half)
    return error if abs(error) > half else timedelta()


def _host_now() -> datetime:
    return datetime.now(UTC)
