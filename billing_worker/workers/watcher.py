"""The watcher: compares clocks, reads what a person has ordered, and raises its voice about what stays open too long.

It changes no row. What it finds opens or closes the sending gate and moves the gauges.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime

import structlog

from billing_worker.clock import Clock
from billing_worker.store import control, cycles
from billing_worker.store.cycles import Backlog
from billing_worker.store.db import Pool
from billing_worker.telemetry import Metrics
from billing_worker.workers.gate import Closed, ClosedBy, SendingGate
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()

# A gate that stays closed is said again this often: whoever reads only the last minutes of a log still finds out, and
# a halt over a weekend is hundreds of lines and not fifty thousand.
CLOSED_AGAIN_SECONDS = 600.0

# A skew and an age are other figures at every look, and no other reason.
_FIGURES = re.compile(r"-?\d+")


@dataclass(frozen=True, slots=True)
class WatcherLimits:
    """After how many seconds an attempt without a verdict warns, and after how many it wakes somebody."""

    unresolved_warn_seconds: float
    unresolved_page_seconds: float


class Watcher:
    """Looks at the whole, a few times a minute."""

    def __init__(
        self, claims: Pool, gate: SendingGate, clock: Clock, metrics: Metrics, *, limits: WatcherLimits
    ) -> None:
        self._claims = claims
        self._gate = gate
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._said = 0
        self._said_closed: tuple[str, float] | None = None  # why, and when it was said; None while it is open

    async def run_once(self, now: datetime) -> Counts:
        """Look at the clocks, the orders and the backlog once."""
        self._show_gate()  # first: when the database is gone, nothing below is reached
        asked_at = self._clock.now()
        primary_now = await control.primary_clock(self._claims)
        self._clock.observe_primary(primary_now, asked_at=asked_at, answered_at=self._clock.now())
        order = await control.sending_order(self._claims)
        self._gate.operator_order(order.reason or "no reason given" if order and order.halted else "")
        self._gate.watched()
        self._tell(self._show_gate())
        self._show(await cycles.backlog(self._claims, now), now)
        return Counts()

    def _show_gate(self) -> Closed | None:
        closed = self._gate.closed()
        for by in ClosedBy:
            self._metrics.sending_halted.labels(reason=by.value).set(closed is not None and closed.by is by)
        return closed

    def _tell(self, closed: Closed | None) -> None:
        """Say that the gate has closed, for another reason, or still; and once that it is open again."""
        if closed is None:
            if self._said_closed is not None:
                log.info("sending.opened")
            self._said_closed = None
            return
        reason, now = _reason(closed), self._clock.monotonic()
        if self._said_closed is not None:
            said, at = self._said_closed
            if reason == said and now - at < CLOSED_AGAIN_SECONDS:
                return
        log.warning("sending.closed", by=closed.by.value, why=closed.why)
        self._said_closed = reason, now

    def _show(self, backlog: Backlog, now: datetime) -> None:
        open_seconds = _age(backlog.oldest_open_at, now)
        self._metrics.due_backlog.set(backlog.due)
        self._metrics.oldest_due_seconds.set(_age(backlog.oldest_due_at, now))
        self._metrics.exceptions.set(backlog.held)
        self._metrics.open_attempts.set(backlog.open_attempts)
        self._metrics.oldest_open_attempt_seconds.set(open_seconds)
        self._metrics.bookings_to_take_back.set(backlog.to_take_back)
        self._metrics.unwanted_charge_in_seconds.set(_until(backlog.first_unwanted_at, now))
        self._metrics.clock_skew_seconds.set(self._clock.skew_seconds)
        self._speak_up(backlog, open_seconds)

    def _speak_up(self, backlog: Backlog, open_seconds: float) -> None:
        """Say once how bad it has become; the gauges say it all the time."""
        bounds = (self._limits.unresolved_warn_seconds, self._limits.unresolved_page_seconds)
        level = sum(open_seconds > bound for bound in bounds)
        if level > self._said:
            say = log.error if level == len(bounds) else log.warning
            say("attempts.unresolved", open_attempts=backlog.open_attempts, oldest_seconds=round(open_seconds))
        self._said = level


def _reason(closed: Closed) -> str:
    """What makes one reason another: a person's words whole, any other without its figures."""
    why = closed.why if closed.by is ClosedBy.OPERATOR else _FIGURES.sub("", closed.why)
    return f"{closed.by.value} {why}"


def _until(moment: datetime | None, now: datetime) -> float:
    return (moment - now).total_seconds() if moment else math.inf


def _age(moment: datetime | None, now: datetime) -> float:
    return max((now - moment).total_seconds(), 0.0) if moment else 0.0
