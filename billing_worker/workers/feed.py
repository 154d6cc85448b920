"""The feed: asks PortOne what has changed since it last asked, and has those payments that are ours looked at soon.

It makes the daemon right with webhooks switched off. Like a webhook it only moves a look to an earlier time. Where the
next reading begins is written down after the looks have been ordered, so a kill between the two repeats a page and
skips none; and a reading begins some minutes before the last one ended, because a record may appear late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import structlog

from billing_worker.billing.outcomes import Unanswered
from billing_worker.clock import Clock
from billing_worker.portone.client import PortOneClient
from billing_worker.store import positions
from billing_worker.store.db import Executor
from billing_worker.store.positions import Change, OrderResult, Position, Reading
from billing_worker.telemetry import Metrics
from billing_worker.workers import pages
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()

# What is older was never ours to follow: the first worker of a database begins here.
FIRST_BACK = timedelta(days=1)
# One pass reads no more and takes no longer, lest it be taken for one that hangs; the next goes on at once.
PAGES_MAX = 20
PASS_SECONDS_MAX = 60.0
# No cursor is promised to live for ever.
PLACE_KEPT_FOR = timedelta(hours=1)
# After an attempt that somebody else was writing to.
BUSY_PAUSE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLimits:
    """How the feed is followed. Each is a setting, or follows from some."""

    source: Literal["payments", "events"]
    every: timedelta
    overlap: timedelta
    lease: timedelta  # longer than one page with its writes
    skew_max: timedelta
    page_size: int = pages.PAGE_SIZE


class Feed:
    """Follows what changes at PortOne."""

    def __init__(
        self,
        claims: Executor,
        portone: PortOneClient,
        clock: Clock,
        metrics: Metrics,
        *,
        limits: FeedLimits,
        ring: Callable[[], None],
    ) -> None:
        self._claims = claims
        self._portone = portone
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._ring = ring
        self._read_page = pages.SOURCES[limits.source]
        for result in OrderResult:
            metrics.feed_changes.labels(result=result.value)

    async def run_once(self, now: datetime) -> Counts:
        """Read some pages, if it is time and nobody else reads."""
        limits = self._limits
        position = await positions.claim_position(
            self._claims,
            f"feed {limits.source}",
            now=now,
            lease_until=now + limits.lease,
            first=now - FIRST_BACK,
        )
        if position is None:
            return Counts()
        reading = position.reading or Reading(position.position - limits.overlap, now, started_at=now)
        return await self._read(position, reading)

    async def _read(self, position: Position, reading: Reading) -> Counts:
        begun, rows = self._clock.monotonic(), 0
        for _ in range(PAGES_MAX):
            page = await self._read_page(self._portone, reading, self._limits.page_size)
            if isinstance(page, Unanswered):
                log.warning("feed.unanswered", source=self._limits.source, reason=page.reason)
                await self._keep(position, self._from_new(reading), pause=self._limits.every)
                return Counts(rows)
            if page.unread:
                log.error("feed.unread", source=self._limits.source, items=list(page.unread))
            rows += len(page.changes)
            if OrderResult.BUSY in await self._order(page.changes):
                await self._keep(position, reading, pause=BUSY_PAUSE)
                return Counts(rows)
            if page.next_place is None:
                await self._end(position, reading)
                return Counts(rows)
            reading = replace(reading, place=page.next_place)
            kept = await self._keep(position, reading, pause=self._limits.lease)
            if kept is None:
                return Counts(rows)
            position = kept
            if self._clock.monotonic() - begun > PASS_SECONDS_MAX:
                break
        await self._keep(position, reading, pause=timedelta())
        return Counts(rows, more=True)

    async def _order(self, changes: Sequence[Change]) -> set[OrderResult]:
        if not changes:
            return set()
        results = await positions.order_looks(
            self._claims, changes, now=self._clock.now(), skew_max=self._limits.skew_max
        )
        for result in results.values():
            self._metrics.feed_changes.labels(result=result.value).inc()
        if OrderResult.ORDERED in results.values():
            self._ring()
        return set(results.values())

    def _from_new(self, reading: Reading) -> Reading:
        """The reading from its beginning, where it has gone on for long: PortOne may have forgotten its place."""
        long = self._clock.now() - reading.started_at > PLACE_KEPT_FOR
        return replace(reading, place=None) if long else reading

    async def _keep(self, position: Position, reading: Reading, *, pause: timedelta) -> Position | None:
        now = self._clock.now()
        kept = await positions.keep_place(self._claims, position, reading, now=now, lease_until=now + pause)
        if kept is None:
            log.warning("feed.overtaken", source=self._limits.source)
        return kept

    async def _end(self, position: Position, reading: Reading) -> None:
        ended = await positions.end_reading(
            self._claims,
            position,
            reached=reading.until,
            now=self._clock.now(),
            claimable_at=reading.started_at + self._limits.every,
        )
        if ended:
            self._metrics.feed_reached.set(reading.until.timestamp())
