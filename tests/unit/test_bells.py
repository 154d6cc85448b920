"""The bells go on ringing whatever the host's clock is set to, with the scheduler that the daemon has."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base

from billing_worker.workers.bells import Bells
from tests.builders import FakeClock, eventually

INTERVAL_SECONDS = 0.02


class HostClock(FakeClock):
    """A host's wall clock that a test sets; APScheduler reads the same one."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))
        self.set_by = timedelta()

    def host_now(self, zone: tzinfo | None = UTC) -> datetime:
        return datetime.now(zone) + self.set_by

    def now(self) -> datetime:
        return self.host_now() - timedelta(seconds=self.skew_seconds)


class Rings:
    """Counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def ring(self) -> None:
        self.count += 1

    async def go_on(self) -> None:
        """Return when it has been rung for three times more."""
        wanted = self.count + 3

        async def rung() -> bool:
            return self.count >= wanted

        await eventually(rung, seconds_max=2)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> HostClock:
    clock = HostClock()

    class Set(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.host_now(tz)

    monkeypatch.setattr(base, "datetime", Set)
    return clock


@contextmanager
def ringing(host: HostClock, rings: Rings, *, seconds: float = INTERVAL_SECONDS) -> Iterator[Bells]:
    bells = Bells(host, check_seconds=0.01)
    bells.add(rings.ring, seconds=seconds)
    bells.start()
    try:
        yield bells
    finally:
        bells.stop()


@pytest.mark.parametrize("by", [timedelta(seconds=-1), timedelta(hours=-1), timedelta(days=-9000)])
async def test_a_clock_that_is_set_back_does_not_silence_the_bells(host: HostClock, by: timedelta) -> None:
    # given
    rings = Rings()
    with ringing(host, rings):
        await rings.go_on()

        # when
        host.set_by = by

        # then
        await rings.go_on()


async def test_a_clock_that_jumps_forward_and_back_does_not_silence_the_bells(host: HostClock) -> None:
    # given
    rings = Rings()
    with ringing(host, rings):
        host.set_by = timedelta(hours=3)
        await rings.go_on()

        # when
        host.set_by = timedelta()

        # then
        await rings.go_on()


async def test_a_clock_that_is_set_forward_by_decades_is_one_ring(host: HostClock) -> None:
    """A machine without a battery for its clock begins in 1970 until it hears of the time."""
    # given
    host.set_by = timedelta(days=-20_000)
    rings = Rings()
    with ringing(host, rings, seconds=0.5):
        await eventually_rung(rings)

        # when
        host.set_by = timedelta()

        # then
        async with asyncio.timeout(2):
            await rings.go_on()


async def test_the_first_ring_does_not_wait_for_the_host_to_catch_up_with_the_primary(host: HostClock) -> None:
    host.skew_seconds = -3600.0
    rings = Rings()

    with ringing(host, rings, seconds=3600):
        await eventually_rung(rings)

    assert rings.count == 1


async def test_a_host_that_is_ahead_of_the_primary_is_not_taken_for_one_that_was_set_back(host: HostClock) -> None:
    # given
    host.skew_seconds = 3600.0
    often, seldom = Rings(), Rings()

    # when: the seldom one has time for many checks
    with ringing(host, often) as bells:
        bells.add(seldom.ring, seconds=600)
        await eventually_rung(seldom)
        await often.go_on()

    # then
    assert seldom.count == 1


async def test_a_ring_that_is_still_at_it_is_left_and_no_second_one_begins(host: HostClock) -> None:
    # given
    others, begun = Rings(), 0

    async def ring() -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    # when
    with ringing(host, others) as bells:
        bells.add(ring, seconds=INTERVAL_SECONDS)
        await others.go_on()
        await others.go_on()

    # then
    assert begun == 1


async def eventually_rung(rings: Rings) -> None:
    async def rung() -> bool:
        return rings.count > 0

    await eventually(rung, seconds_max=2)
