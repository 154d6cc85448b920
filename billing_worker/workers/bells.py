"""The bells: ring every sweep at once and then again and again, each at its own pace.

They only ring; rows decide. APScheduler plans by the host's wall clock, which may be set back by hours: no ring may
wait until a time that was set back has come round again, and none may be made up for that a clock has jumped over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from billing_worker.clock import Clock

log = structlog.get_logger()

# How long a clock that was set back keeps the bells silent, beside one interval.
CHECK_SECONDS = 1.0


class Bells:
    """One bell for each sweep."""

    def __init__(self, clock: Clock, *, check_seconds: float = CHECK_SECONDS) -> None:
        self._clock = clock
        self._check_seconds = check_seconds
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._checks: asyncio.Task[None] | None = None

    def add(self, ring: Callable[[], Awaitable[None]], *, seconds: float) -> None:
        """Have it rung when the bells start, and that many seconds after each ring. One that is still at it is left."""
        self._scheduler.add_job(
            ring, _Every(timedelta(seconds=seconds)), misfire_grace_time=None, coalesce=True, max_instances=1
        )

    def start(self) -> None:
        """Ring from now on."""
        self._scheduler.start()
        self._checks = asyncio.create_task(self._keep_ringing())

    def pause(self) -> None:
        """Ring no more; what has been rung for goes on."""
        self._scheduler.pause()

    def stop(self) -> None:
        """End."""
        if self._checks is not None:
            self._checks.cancel()
        self._scheduler.shutdown(wait=False)

    async def _keep_ringing(self) -> None:
        """Plan anew whatever is further away than its own interval: the clock it was planned by has been set back.

        The loop counts the seconds between two checks by a clock that nobody sets.
        """
        while True:
            await asyncio.sleep(self._check_seconds)
            host_now = self._clock.now() + timedelta(seconds=self._clock.skew_seconds)
            late = [job for job in self._scheduler.get_jobs() if _is_out_of_reach(job, host_now)]
            for job in late:
                job.reschedule(job.trigger)
            if late:
                log.warning("bells.clock_set_back", replanned=len(late))


class _Every(BaseTrigger):  # type: ignore[misc]
    """At once, and an interval after each ring.

    The interval counts from the ring and not from its planned time, or a clock that is set forward by a year, as one
    without a battery is when it first hears of the time, would be made up for second by second.
    """

    def __init__(self, interval: timedelta) -> None:
        self.interval = interval

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """When to ring next, by the scheduler's own clock."""
        return now if previous_fire_time is None else now + self.interval


def _is_out_of_reach(job: Job, host_now: datetime) -> bool:
    planned: timedelta = job.next_run_time - host_now
    interval: timedelta = job.trigger.interval
    return planned > interval
