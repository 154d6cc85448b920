"""The watcher: compares clocks, reads what a person has ordered, and raises its voice about what stays open too long.

It changes no row. What it finds opens or closes the sending gate and moves the gauges.
"""

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
        self._was_closed = False

    async def run_once(self, now: datetime) -> Counts:
        """Look at the clocks, the orders and the backlog once."""
        self._show_gate()  # first: when the database is gone, nothing below is reached
        asked_at = self._clock.now()
        primary_now = await control.primary_clock(self._claims)
        self._clock.observe_primary(primary_now, asked_at=asked_at, answered_at=self._clock.now())
        order = await control.sending_order(self._claims)
        self._gate.operator_order(order.reason or "no reason given" if order and order.halted else "")
        closed = self._show_gate()
        if closed:
            log.warning("sending.closed", by=closed.by.value, why=closed.why)
        elif self._was_closed:
            log.info("sending.opened")
        self._was_closed = closed is not None
        self._show(await cycles.backlog(self._claims, now), now)
        return Counts()

    def _show_gate(self) -> Closed | None:
        closed = self._gate.closed()
        for by in ClosedBy:
            self._metrics.sending_halted.labels(reason=by.value).set(closed is not None and closed.by is by)
        return closed

    def _show(self, backlog: Backlog, now: datetime) -> None:
        open_seconds = _age(backlog.oldest_open_at, now)
        self._metrics.due_backlog.set(backlog.due)
        self._metrics.oldest_due_seconds.set(_age(backlog.oldest_due_at, now))
        self._metrics.exceptions.set(backlog.held)
        self._metrics.open_attempts.set(backlog.open_attempts)
        self._metrics.oldest_open_attempt_seconds.set(open_seconds)
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


def _age(moment: datetime | None, now: datetime) -> float:
    return max((now - moment).total_seconds(), 0.0) if moment else 0.0
