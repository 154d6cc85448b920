"""How far PortOne's clock and the host's are apart, by the Date header of PortOne's answers. It decides nothing."""

import statistics
from collections import deque
from collections.abc import Callable
from datetime import datetime

from billing_worker.portone.wire import read_http_date

# A Date header is cut to whole seconds: the instant it names is up to one second old when it is written.
RESOLUTION_SECONDS = 1.0

# Enough that one proxy with a wrong clock is outvoted, and few enough that a clock that jumps is seen within seconds.
_SAMPLES_KEPT = 5

# Whoever sends nothing because of a skew gets no answer that would show its end: without one it is soon not known.
KNOWN_SECONDS_MAX = 300.0


class DateSkew:
    """The median of the last few differences. One sample a second at most: the header says no more than that."""

    def __init__(self, host_time: Callable[[], datetime], seconds: Callable[[], float] = lambda: 0.0) -> None:
        """`host_time` reads the host's clock as an aware instant, `seconds` one that nobody sets."""
        self._host_time = host_time
        self._seconds = seconds
        self._sampled_at = 0.0
        self._samples_seconds: deque[float] = deque(maxlen=_SAMPLES_KEPT)
        self._last_date: str | None = None

    @property
    def seconds(self) -> float | None:
        """How far PortOne is ahead of the host, 0 within the header's resolution; None where no recent answer tells."""
        return None if self._old() else self.last_seconds

    @property
    def last_seconds(self) -> float | None:
        """What the last answers told, however long ago; None before the first one."""
        return statistics.median(self._samples_seconds) if self._samples_seconds else None

    def note(self, date: str | None) -> None:
        """Take the Date header of an answer that has just arrived. What is no date is not looked at."""
        if date == self._last_date:
            return
        self._last_date = date
        portone_time = read_http_date(date)
        if portone_time is not None:
            if self._old():
                self._samples_seconds.clear()
            self._sampled_at = self._seconds()
            behind_seconds = (self._host_time() - portone_time).total_seconds()
            self._samples_seconds.append(-min(0.0, behind_seconds) - max(0.0, behind_seconds - RESOLUTION_SECONDS))

    def _old(self) -> bool:
        return self._seconds() - self._sampled_at > KNOWN_SECONDS_MAX
