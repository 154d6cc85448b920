"""The listener: reads the hints that webhooks left, and has their payments looked at soon.

A hint moves a look to an earlier time and does nothing else: what is true is what the look then finds. It is read and
its look is ordered by one statement, so a kill leaves both or neither, and the reconciler finds the order in its rows
whether or not anybody rings.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from billing_worker.clock import Clock
from billing_worker.store import inbox
from billing_worker.store.db import Executor
from billing_worker.store.inbox import HintResult
from billing_worker.telemetry import Metrics
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()

# One statement looks for each payment with 64 probes of an index: about half a millisecond a hint.
READ_MAX = 200
# Long enough to look up what PortOne told us in the last month; the ledger keeps what came of it.
KEEP_FOR = timedelta(days=30)
# What is too old goes a little at a time, beside the work.
FORGET_MAX = 1000
# How often the unread are counted and the old ones deleted.
TIDY_SECONDS = 30.0
# Beyond this the gauge says only that there are too many.
COUNTED_MAX = 100_000


class Listener:
    """Makes hints into looks."""

    def __init__(
        self,
        claims: Executor,
        clock: Clock,
        metrics: Metrics,
        *,
        ring: Callable[[], None],
        database_moved: Callable[[], str] = str,
    ) -> None:
        self._claims = claims
        self._database_moved = database_moved  # why the database is not the one that was judged; empty where it is
        self._clock = clock
        self._metrics = metrics
        self._ring = ring
        self._tidied_at = float("-inf")
        for result in HintResult:
            metrics.webhooks_read.labels(result=result.value)

    async def run_once(self, now: datetime) -> Counts:
        """Read one batch of hints, and tidy up now and then."""
        if self._database_moved():
            return Counts()  # nothing is written into a database that is not ours
        read = await inbox.read_hints(self._claims, now=now, limit=READ_MAX)
        results = Counter(hint.result for hint in read)
        if results[HintResult.ORDERED]:
            self._ring()
        if read:
            self._count(results, [hint.received_at for hint in read])
        if self._clock.monotonic() - self._tidied_at >= TIDY_SECONDS:
            await self._tidy(now)
        return Counts(len(read), more=len(read) >= READ_MAX)

    def _count(self, results: Counter[HintResult], received: list[datetime]) -> None:
        now = self._clock.now()
        for result, count in results.items():
            self._metrics.webhooks_read.labels(result=result.value).inc(count)
        for received_at in received:
            self._metrics.webhook_seconds.observe(max((now - received_at).total_seconds(), 0.0))
        log.info("webhooks.read", **{result.value: count for result, count in results.items()})

    async def _tidy(self, now: datetime) -> None:
        """Count what is unread, and delete a little of what is old; if that was not all, more of it next time."""
        self._metrics.webhooks_unread.set(await inbox.unread_hints(self._claims, limit=COUNTED_MAX))
        forgotten = await inbox.forget_hints(self._claims, before=now - KEEP_FOR, limit=FORGET_MAX)
        if forgotten < FORGET_MAX:
            self._tidied_at = self._clock.monotonic()


class Doorbell:
    """Lets code that cannot wait have a sweep rung: a press is answered by a ring soon after it, many by one."""

    def __init__(self, ring: Callable[[], Awaitable[None]]) -> None:
        self._ring = ring
        self._pressed = asyncio.Event()

    def press(self) -> None:
        """Have it ring soon."""
        self._pressed.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            await self._pressed.wait()
            self._pressed.clear()
            await self._ring()
