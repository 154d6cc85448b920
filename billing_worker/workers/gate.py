"""The sending gate: whether anything may be sent to PortOne now, and if not, why.

One wrong secret refuses every charge alike; a halted day costs less than a base of customers whose retries are burnt.
What is already in flight is not touched: the gate is asked before a claim and before a resend, never in the middle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing_worker.clock import Clock
from billing_worker.portone.skew import KNOWN_SECONDS_MAX


class ClosedBy(StrEnum):
    """What keeps the gate closed; the label of a metric."""

    OPERATOR = "operator"
    UNWATCHED = "unwatched"
    DATABASE = "database"
    MOVED = "moved"
    UNGUARDED = "unguarded"
    CLOCK = "clock"
    CHANNEL = "channel"


# A worker that was frozen, or whose watcher finds no turn, believes what it learnt before: an order to halt that has
# come since, or a clock that has moved. Twelve looks are made within this time.
WATCHED_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Closed:
    """Why nothing may be sent."""

    by: ClosedBy
    why: str


class SendingGate:
    """Open unless something says otherwise.

    After a channel's refusal one charge at a time tries whether it is mended; after a wrong clock of which no answer
    tells any more, one in five minutes.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        skew_max_seconds: float,
        pause: timedelta,
        portone_skew_seconds: Callable[[], float],
        portone_skew_last_seconds: Callable[[], float] = float,
        database_moved: Callable[[], str] = str,
    ) -> None:
        self._clock = clock
        self._skew_max_seconds = skew_max_seconds
        self._pause_seconds = pause.total_seconds()
        self._portone_skew_seconds = portone_skew_seconds  # as recent answers have it; 0 where none tells
        self._portone_skew_last_seconds = portone_skew_last_seconds  # as the last ones had it, however old
        self._clock_tried_until = 0.0
        self._database_moved = database_moved  # why the database is not the one that was judged; empty where it is
        self._refused_until = 0.0
        self._refusal = ""
        # Closed until the watcher has looked once: an order to halt is obeyed from the first moment on.
        self._order = "nobody has looked for one yet"
        self._watched_at: float | None = None
        self._database_gone = False
        self._unguarded = ""
        self._look_first_before: datetime | None = None

    def closed(self) -> Closed | None:
        """Why nothing may be sent; None while the gate is open."""
        if self._order:
            return Closed(ClosedBy.OPERATOR, self._order)
        return self._by_silence() or self.by_database() or self._by_clock() or self._by_channel()

    def looks_first(self, due_at: datetime) -> bool:
        """Whether an attempt on a cycle due then may have been lost with the last commits of a database."""
        return self._look_first_before is not None and due_at < self._look_first_before

    @property
    def probing(self) -> bool:
        """Whether one charge at a time is tried: a channel was refused or a clock wrong, and nothing shows the end."""
        return bool(self._refusal) or self._clock_in_doubt()

    def charge_begins(self) -> None:
        """A charge is about to leave. Where a clock is in doubt no other follows until it has had its answer."""
        if self._clock_in_doubt():
            self._clock_tried_until = self._clock.monotonic() + KNOWN_SECONDS_MAX

    def channel_refused(self, error_type: str) -> None:
        """PortOne refused our credentials or channel: wait, then try with one charge."""
        self._refusal = error_type
        self._refused_until = self._clock.monotonic() + self._pause_seconds

    def channel_answered(self) -> None:
        """A charge got as far as a verdict, so the channel works."""
        self._refusal = ""

    def operator_order(self, reason: str) -> None:
        """What a person has ordered; an empty reason resumes."""
        self._order = reason

    def watched(self) -> None:
        """Somebody has just looked at the primary's clock and for orders; from now on it must not be long ago."""
        self._watched_at = self._clock.monotonic()

    def database_gone(self, *, gone: bool) -> None:
        """Whether verdicts cannot be written at the moment."""
        self._database_gone = gone

    def look_first(self, *, before: datetime | None) -> None:
        """From now on, whatever was due before that moment is looked at before it is sent."""
        self._look_first_before = before

    def unguarded(self, why: str) -> None:
        """Which of the schema's last lines is missing; empty where all stand."""
        self._unguarded = why

    def _by_silence(self) -> Closed | None:
        if self._watched_at is None:
            return None
        silent_seconds = self._clock.monotonic() - self._watched_at
        if silent_seconds <= WATCHED_SECONDS_MAX:
            return None
        return Closed(ClosedBy.UNWATCHED, f"nobody has looked at clocks and orders for {silent_seconds:.0f} s")

    def by_database(self) -> Closed | None:
        """What of the database keeps the gate closed; then nothing at PortOne may be changed at all."""
        if self._database_gone:
            return Closed(ClosedBy.DATABASE, "verdicts wait for the database")
        if moved := self._database_moved():
            return Closed(ClosedBy.MOVED, moved)
        return Closed(ClosedBy.UNGUARDED, self._unguarded) if self._unguarded else None

    def _by_clock(self) -> Closed | None:
        if abs(self._clock.skew_seconds) > self._skew_max_seconds:
            return Closed(ClosedBy.CLOCK, f"the host's clock is {self._clock.skew_seconds:.0f} s from the primary's")
        if abs(self._portone_skew_seconds()) > self._skew_max_seconds:
            return Closed(ClosedBy.CLOCK, f"the host's clock is {self._portone_skew_seconds():.0f} s from PortOne's")
        if self._clock_in_doubt() and self._clock.monotonic() < self._clock_tried_until:
            return Closed(ClosedBy.CLOCK, "the host's clock was wrong by PortOne's, and a charge tries whether it is")
        return None

    def _clock_in_doubt(self) -> bool:
        """Whether the clock was wrong by PortOne's answers, and none is recent enough to tell whether it still is."""
        recent, last = abs(self._portone_skew_seconds()), abs(self._portone_skew_last_seconds())
        return recent <= self._skew_max_seconds < last

    def _by_channel(self) -> Closed | None:
        if self._clock.monotonic() < self._refused_until:
            return Closed(ClosedBy.CHANNEL, f"PortOne refuses the channel: {self._refusal}")
        return None
