"""The schedule comparer: every hour, PortOne's schedules beside our bookings, a day of their times after another.

It names what differs and takes nothing back. Both sides change while they are read, so whatever seems to differ is
asked for once more by its id before it is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

import structlog

from billing_worker.billing import comparison
from billing_worker.billing.comparison import STRANGERS, Difference
from billing_worker.billing.outcomes import Schedule, ScheduleLook, Unanswered
from billing_worker.clock import Clock
from billing_worker.portone import schedules
from billing_worker.portone.client import PortOneClient
from billing_worker.store import differences, positions
from billing_worker.store.db import Executor
from billing_worker.store.positions import Position, Reading
from billing_worker.workers.findings import Findings, Passed
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()

NAME = "compare schedules"
# One that has just fired is its outcome's; one is booked within the lead, and a console may move it a little beyond.
BACK, BEYOND_LEAD = timedelta(days=1), timedelta(days=2)
# What is read before it is compared: the schedules of a day.
SLICE = timedelta(days=1)
# A booking younger than this may not be listed yet.
YOUNG = timedelta(minutes=2)
# As many bookings that PortOne did not list are asked for one by one, of one day.
MISSING_MAX = 200
COMPARED_AT_ONCE = 500
# One pass takes no longer, lest it be taken for one that hangs; the next goes on at once.
PASS_SECONDS_MAX = 45.0
UNANSWERED_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleComparerLimits:
    """What is compared and when. Each is a setting, or follows from some."""

    store_id: str
    every: timedelta
    lead: timedelta
    lease: timedelta  # longer than a pass


@dataclass(slots=True)
class _Slice:
    """The schedules of one day, as far as they have been read. Who dies with it has it read again."""

    from_: datetime
    until: datetime
    begun_at: datetime
    page: int = 0
    items: list[Schedule] = field(default_factory=list)
    whole: bool = False


class ScheduleComparer:
    """Compares bookings."""

    def __init__(
        self,
        claims: Executor,
        portone: PortOneClient,
        clock: Clock,
        findings: Findings,
        *,
        limits: ScheduleComparerLimits,
    ) -> None:
        self._claims = claims
        self._portone = portone
        self._clock = clock
        self._findings = findings
        self._limits = limits
        self._slice: _Slice | None = None
        self._unfinished: datetime | None = None  # the start of a reading of which something could not be read

    async def run_once(self, now: datetime) -> Counts:
        """Compare some days, if it is time and nobody else does."""
        position = await self._claim(now, at_once=False)
        if position is None:
            return Counts()
        passed, _ = await self._compare(position, position.reading or self._reading(now))
        return Counts(more=passed is Passed.MORE)

    async def compare_now(self) -> Passed | None:
        """Compare all of it whatever the time. None where somebody else compares."""
        now = self._clock.now()
        position = await self._claim(now, at_once=True)
        if position is None:
            return None
        passed, reading = Passed.MORE, self._reading(now)
        while passed is Passed.MORE:
            passed, position = await self._compare(position, reading)
            reading = position.reading or reading
        return passed

    def _reading(self, now: datetime) -> Reading:
        self._slice = None
        return Reading(now - BACK, now + self._limits.lead + BEYOND_LEAD, started_at=now)

    async def _claim(self, now: datetime, *, at_once: bool) -> Position | None:
        return await positions.claim_position(
            self._claims, NAME, now=now, lease_until=now + self._limits.lease, first=now, at_once=at_once
        )

    async def _compare(self, position: Position, reading: Reading) -> tuple[Passed, Position]:
        deadline = self._clock.monotonic() + PASS_SECONDS_MAX
        while self._has_time(deadline):
            day = self._day(reading)
            unanswered = await self._read(day, reading, deadline)
            if unanswered is not None:
                log.warning("comparison.unanswered", of="schedules", reason=unanswered.reason)
                await self._keep(position, reading, pause=UNANSWERED_PAUSE)
                return Passed.STOPPED, position
            if not day.whole:
                break
            await self._compare_day(day, reading, deadline)
            if day.until >= reading.until:
                return await self._end(position, reading), position
            reading = replace(reading, place=day.until.isoformat())
            kept = await self._keep(position, reading, pause=self._limits.lease)
            if kept is None:
                return Passed.STOPPED, position
            position = kept
        kept = await self._keep(position, reading, pause=timedelta())
        return (Passed.MORE, kept) if kept else (Passed.STOPPED, position)

    def _day(self, reading: Reading) -> _Slice:
        """The day at the reading's place, with what of it has been read from here."""
        from_ = datetime.fromisoformat(reading.place) if reading.place else reading.from_
        kept = self._slice
        if kept is None or kept.from_ != from_ or kept.begun_at < reading.started_at:
            kept = _Slice(from_, min(from_ + SLICE, reading.until), self._clock.now())
            self._slice = kept
        return kept

    async def _read(self, day: _Slice, reading: Reading, deadline: float) -> Unanswered | None:
        while not day.whole and self._has_time(deadline):
            if day.page >= schedules.PAGES_MAX:
                log.error("comparison.too_long", of="schedules", from_=day.from_, pages=day.page)
                self._unfinished, day.whole = reading.started_at, True
                break
            found = await schedules.schedules_page(self._portone, from_=day.from_, until=day.until, page=day.page)
            if isinstance(found, Unanswered):
                return found
            if found.unread:
                log.error("comparison.unread", of="schedules", items=list(found.unread))
                self._unfinished = reading.started_at
            day.items.extend(found.items)
            day.page, day.whole = day.page + 1, not found.count
        return None

    async def _compare_day(self, day: _Slice, reading: Reading, deadline: float) -> None:
        rest = iter(day.items)
        while batch := list(islice(rest, COMPARED_AT_ONCE)):
            await self._findings.note(await self._differing(batch, reading, deadline))
        await self._findings.note(await self._missing(day, reading, deadline))

    async def _differing(self, batch: Sequence[Schedule], reading: Reading, deadline: float) -> list[Difference]:
        ours = await differences.our_cycles(self._claims, {each.payment_id for each in batch})
        found: list[Difference] = []
        for each in batch:
            seems = comparison.compare_schedule(ours.get(each.payment_id), each)
            if any(one.difference_class in STRANGERS for one in seems):
                found += seems
            elif seems:
                found += await self._confirmed(each, reading, deadline)
        return found

    async def _confirmed(self, seen: Schedule, reading: Reading, deadline: float) -> tuple[Difference, ...]:
        """What still differs when both sides are read once more."""
        again = await self._find(seen.schedule_id, deadline)
        if isinstance(again, Unanswered):
            self._leave_out(seen.payment_id, reading, again)
            return ()
        mine = (await differences.our_cycles(self._claims, [seen.payment_id])).get(seen.payment_id)
        if not isinstance(again, Schedule):
            return comparison.missing_schedule(mine, again) if mine else ()
        return comparison.compare_schedule(mine, again)

    async def _missing(self, day: _Slice, reading: Reading, deadline: float) -> list[Difference]:
        """Our bookings of the day that PortOne did not list."""
        candidates = await differences.booked_between(
            self._claims,
            day.from_,
            day.until,
            made_before=day.begun_at - YOUNG,
            store_id=self._limits.store_id,
            seen={each.payment_id for each in day.items},
            limit=MISSING_MAX,
        )
        ours = await differences.our_cycles(self._claims, candidates)
        found: list[Difference] = []
        for mine in ours.values():
            if mine.booking is None or mine.booking.schedule_id is None:
                continue
            look = await self._find(mine.booking.schedule_id, deadline)
            if isinstance(look, Unanswered):
                self._leave_out(mine.payment_id, reading, look)
            else:
                found += comparison.missing_schedule(mine, look)
        if len(candidates) >= MISSING_MAX:
            log.error("comparison.too_long", of="schedules", from_=day.from_, not_listed=len(candidates))
            self._unfinished = reading.started_at
        return found

    async def _find(self, schedule_id: str, deadline: float) -> ScheduleLook:
        if not self._has_time(deadline):
            return Unanswered(reason="no time was left in this pass")
        return await schedules.find_schedule(self._portone, schedule_id)

    def _has_time(self, deadline: float) -> bool:
        return self._clock.monotonic() < deadline

    def _leave_out(self, payment_id: str, reading: Reading, unanswered: Unanswered) -> None:
        log.warning("comparison.left_out", payment_id=payment_id, reason=unanswered.reason)
        self._unfinished = reading.started_at

    async def _keep(self, position: Position, reading: Reading, *, pause: timedelta) -> Position | None:
        now = self._clock.now()
        kept = await positions.keep_place(self._claims, position, reading, now=now, lease_until=now + pause)
        if kept is None:
            log.warning("comparison.overtaken", of="schedules")
        return kept

    async def _end(self, position: Position, reading: Reading) -> Passed:
        now = self._clock.now()
        whole = self._unfinished != reading.started_at
        ended = await positions.end_reading(
            self._claims,
            position,
            reached=reading.started_at,
            now=now,
            claimable_at=reading.started_at + self._limits.every,
        )
        if not ended:
            return Passed.STOPPED
        if whole:
            await self._findings.end(of_schedules=True, not_seen_since=reading.started_at)
        return Passed.WHOLE if whole else Passed.IN_PART
