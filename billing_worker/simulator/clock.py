"""The simulated clock: real time plus what it was moved forward by. It never goes back and never stands still."""

from datetime import UTC, datetime, timedelta


class SimulatedClock:
    """The only teller of time in the simulator."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self.date_skew_seconds = 0.0  # of the Date header alone, to practise with a provider whose clock is wrong

    def now(self) -> datetime:
        """The simulated instant, in UTC."""
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Move forward. Raises ValueError for a move back."""
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        self._ahead += timedelta(seconds=seconds)

    @property
    def ahead_seconds(self) -> float:
        """How far the simulated instant is ahead of the real one."""
        return self._ahead.total_seconds()


def rfc3339(instant: datetime) -> str:
    """A UTC instant as PortOne writes it: `2026-09-01T00:00:03.123456Z`."""
    return instant.isoformat()[:-6] + "Z"
