"""The comparer: once a night, PortOne's payments of the last weeks beside ours, page by page.

It names what differs and settles nothing. What PortOne does not list is asked for by its id before it is called
missing, and whatever changed within the last minutes is left to the feed.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

import structlog

from billing_worker.billing import comparison
from billing_worker.billing.comparison import Difference, OurCycle
from billing_worker.billing.outcomes import Absent, Unanswered
from billing_worker.clock import Clock
from billing_worker.portone.client import PortOneClient
from billing_worker.portone.wire_lists import ListedPayment
from billing_worker.store import differences, positions
from billing_worker.store.db import Executor
from billing_worker.store.positions import Position, Reading
from billing_worker.workers import pages
from billing_worker.workers.findings import Findings, Passed
from billing_worker.workers.pages import PaymentPage
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()

NAME = "compare payments"
# An attempt is settled, looked at and fed by then.
YOUNG = timedelta(minutes=5)
# A second payment on one id follows the first closely; further back the single tries have been compared before.
TRIES_BACK = timedelta(days=1)
# As many payments that PortOne did not list are asked for one by one, of one page.
MISSING_MAX = 50
# One pass takes no longer, lest it be taken for one that hangs; the next goes on at once.
PASS_SECONDS_MAX = 45.0
UNANSWERED_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparerLimits:
    """What is compared and when. Each is a setting, or follows from some."""

    store_id: str
    at: time
    back: timedelta
    lease: timedelta  # longer than a pass
    page_size: int = pages.PAGE_SIZE


class Comparer:
    """Compares payments."""

    def __init__(
        self, claims: Executor, portone: PortOneClient, clock: Clock, findings: Findings, *, limits: ComparerLimits
    ) -> None:
        self._claims = claims
        self._portone = portone
        self._clock = clock
        self._findings = findings
        self._limits = limits
        self._unfinished: datetime | None = None  # the start of a reading of which something could not be read

    async def run_once(self, now: datetime) -> Counts:
        """Compare some pages, if it is time and nobody else does."""
        await self._findings.tally()
        position = await self._claim(now, at_once=False)
        if position is None:
            return Counts()
        reading = position.reading or self._reading(now, self._limits.back)
        passed, _ = await self._compare(position, reading)
        return Counts(more=passed is Passed.MORE)

    async def compare_now(self, back: timedelta) -> Passed | None:
        """Compare that much whatever the time of the day. None where somebody else compares."""
        position = await self._claim(self._clock.now(), at_once=True)
        if position is None:
            return None
        passed, reading = Passed.MORE, self._reading(self._clock.now(), back)
        while passed is Passed.MORE:
            passed, position = await self._compare(position, reading)
            reading = position.reading or reading
        return passed

    def _reading(self, now: datetime, back: timedelta) -> Reading:
        return Reading(now - back, now - YOUNG, started_at=now)

    async def _claim(self, now: datetime, *, at_once: bool) -> Position | None:
        limits = self._limits
        return await positions.claim_position(
            self._claims, NAME, now=now, lease_until=now + limits.lease, first=now - limits.back, at_once=at_once
        )

    async def _compare(self, position: Position, reading: Reading) -> tuple[Passed, Position]:
        deadline = self._clock.monotonic() + PASS_SECONDS_MAX
        while self._has_time(deadline):
            page = await pages.payments_page(self._portone, reading, self._limits.page_size)
            if isinstance(page, Unanswered):
                log.warning("comparison.unanswered", of="payments", reason=page.reason)
                await self._keep(position, reading, pause=UNANSWERED_PAUSE)
                return Passed.STOPPED, position
            place = await self._compare_page(position, reading, page, deadline)
            if place is None:
                return await self._end(position, reading), position
            reading = replace(reading, place=place)
            kept = await self._keep(position, reading, pause=self._limits.lease)
            if kept is None:
                return Passed.STOPPED, position
            position = kept
        kept = await self._keep(position, reading, pause=timedelta())
        return (Passed.MORE, kept) if kept else (Passed.STOPPED, position)

    async def _compare_page(
        self, position: Position, reading: Reading, page: PaymentPage, deadline: float
    ) -> str | None:
        """Compare a page in both directions; the place at which the next one begins."""
        if page.unread:
            log.error("comparison.unread", of="payments", items=list(page.unread))
            self._unfinished = reading.started_at
        listed = {each.payment_id: each for each in page.payments}
        ours = await differences.our_cycles(self._claims, listed)
        found: list[Difference] = []
        since = position.position - TRIES_BACK
        for payment_id, each in listed.items():
            found += comparison.compare_payment(payment_id, ours.get(payment_id), each.payment)
        found += await self._paid_twice(listed.values(), ours, reading, since=since, deadline=deadline)
        missing, place = await self._missing(reading, page, listed, deadline)
        await self._findings.note([*found, *missing])
        return place

    async def _paid_twice(
        self,
        listed: Collection[ListedPayment],
        ours: dict[str, OurCycle],
        reading: Reading,
        *,
        since: datetime,
        deadline: float,
    ) -> list[Difference]:
        found: list[Difference] = []
        for each in listed:
            mine = ours.get(each.payment_id)
            if mine is None or not comparison.needs_tries(mine, each.payment, since=since):
                continue
            tries = await self._portone.transactions(each.payment_id) if self._has_time(deadline) else _NO_TIME
            if isinstance(tries, Unanswered):
                self._leave_out(reading, each.payment_id, tries)
            elif not isinstance(tries, Absent) and (twice := comparison.compare_tries(mine, tries)):
                found.append(twice)
        return found

    async def _missing(
        self, reading: Reading, page: PaymentPage, listed: Collection[str], deadline: float
    ) -> tuple[list[Difference], str | None]:
        """What was paid here in the time that the page covers and is not on it, asked for by its id."""
        candidates = await differences.paid_between(
            self._claims, page.from_, page.until, store_id=self._limits.store_id, seen=listed, limit=MISSING_MAX
        )
        ours = await differences.our_cycles(self._claims, [each.payment_id for each in candidates])
        found: list[Difference] = []
        for each in candidates:
            look = await self._portone.find(each.payment_id) if self._has_time(deadline) else _NO_TIME
            if isinstance(look, Unanswered):
                self._leave_out(reading, each.payment_id, look)
            elif mine := ours.get(each.payment_id):
                found += comparison.missing_payment(mine, look)
        if len(candidates) < MISSING_MAX:
            return found, page.next_place
        # The page is read again from where the candidates end; what was paid at one moment with the last is left out.
        return found, pages.place(candidates[-1].paid_at + timedelta(microseconds=1))

    def _has_time(self, deadline: float) -> bool:
        return self._clock.monotonic() < deadline

    def _leave_out(self, reading: Reading, payment_id: str, unanswered: Unanswered) -> None:
        log.warning("comparison.left_out", payment_id=payment_id, reason=unanswered.reason)
        self._unfinished = reading.started_at

    async def _keep(self, position: Position, reading: Reading, *, pause: timedelta) -> Position | None:
        now = self._clock.now()
        kept = await positions.keep_place(self._claims, position, reading, now=now, lease_until=now + pause)
        if kept is None:
            log.warning("comparison.overtaken", of="payments")
        return kept

    async def _end(self, position: Position, reading: Reading) -> Passed:
        now = self._clock.now()
        # Less than the window, or less than all of it, proves of nothing that it is over.
        whole = self._unfinished != reading.started_at and reading.started_at - reading.from_ >= self._limits.back
        reached = reading.until if whole else position.position
        at = comparison.next_night(now, self._limits.at)
        if not await positions.end_reading(self._claims, position, reached=reached, now=now, claimable_at=at):
            return Passed.STOPPED
        if whole:
            await self._findings.end(of_schedules=False, not_seen_since=reading.started_at)
        return Passed.WHOLE if whole else Passed.IN_PART


_NO_TIME = Unanswered(reason="no time was left in this pass")
