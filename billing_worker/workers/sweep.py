"""What every worker shares: the loop around run_once, and the slots that its calls run in.

A sweep is one bounded pass. It is repeated while there is more, and it never lets a failure end the daemon: rows
decide what is done next, so a pass that failed is simply made again. This is the only place that catches everything.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import structlog

from billing_worker.clock import Clock
from billing_worker.store.db import DatabaseGoneError
from billing_worker.telemetry import Metrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Counts:
    """What one pass came to: how many rows it dealt with, and whether another pass would find more at once."""

    rows: int = 0
    more: bool = False


class Worker(Protocol):
    """Who does a sweep's work."""

    async def run_once(self, now: datetime) -> Counts:
        """Make one bounded pass."""


class Sweep:
    """A worker behind a bell. A ring that comes while passes are under way is answered by one more pass."""

    def __init__(self, name: str, worker: Worker, clock: Clock, metrics: Metrics) -> None:
        self.name = name
        self._worker = worker
        self._clock = clock
        self._metrics = metrics
        self._stopping = False
        self._rung_again = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._beat_at = clock.monotonic()

    def silent_seconds(self) -> float:
        """How long it is since the last pass ended, well or badly."""
        return self._clock.monotonic() - self._beat_at

    def stop(self) -> None:
        """Make no further pass; the one under way ends by itself."""
        self._stopping = True

    async def ended(self) -> None:
        """Wait for the pass under way."""
        await self._idle.wait()

    async def ring(self) -> None:
        """Make passes until nothing is left to do."""
        self._rung_again = True
        if not self._idle.is_set():
            return
        self._idle.clear()
        try:
            more = False
            while (more or self._rung_again) and not self._stopping:
                # Before the pass: what rings during it may be about rows that the pass has not seen.
                self._rung_again = False
                more = await self._pass()
        finally:
            self._idle.set()

    async def _pass(self) -> bool:
        started = self._clock.monotonic()
        try:
            counts = await self._worker.run_once(self._clock.now())
        except DatabaseGoneError as error:
            log.warning("sweep.database_gone", sweep=self.name, reason=str(error))
            self._metrics.sweep_failures.labels(sweep=self.name).inc()
            return False
        except Exception:
            log.exception("sweep.failed", sweep=self.name)
            self._metrics.sweep_failures.labels(sweep=self.name).inc()
            return False
        finally:
            self._beat_at = self._clock.monotonic()
        self._metrics.sweep_runs.labels(sweep=self.name).inc()
        self._metrics.sweep_seconds.labels(sweep=self.name).observe(self._beat_at - started)
        self._metrics.sweep_last_run.labels(sweep=self.name).set(self._clock.now().timestamp())
        return counts.more


class Slots:
    """A bounded set of calls in flight. A call is never cancelled from here: a dropped POST goes on at PortOne."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    @property
    def free(self) -> int:
        """How many calls may start now."""
        return self.limit - len(self._tasks)

    @property
    def busy(self) -> int:
        """How many calls are in flight."""
        return len(self._tasks)

    def start(self, call: Coroutine[Any, Any, None], *, payment_id: str) -> None:
        """Run the call about that payment in a slot. The caller has looked at `free`."""
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, payment_id))

    async def wait_free(self, wanted: int, timeout_seconds: float) -> int:
        """Wait until that many slots are free or the time is over; returns how many are."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.free < wanted:
            self._freed.clear()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self._freed.wait(), left)
            except TimeoutError:
                break
        return self.free

    async def drained(self) -> None:
        """Wait for every call to end by itself."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _ended(self, payment_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._freed.set()
        error = None if task.cancelled() else task.exception()
        # Either way the attempt stays open in the database, and the reconciler follows it.
        if isinstance(error, DatabaseGoneError):
            log.warning("call.cut_off", payment_id=payment_id, reason=str(error))
        elif error:
            log.error("call.failed", payment_id=payment_id, exc_info=error)
