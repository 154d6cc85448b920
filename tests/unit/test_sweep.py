"""The sweep and its slots: no failure ends the daemon, no call is cut, and no more run than there is room for."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from billing_worker.store.db import DatabaseGoneError
from billing_worker.telemetry import Metrics
from billing_worker.workers.sweep import Counts, Slots, Sweep
from tests.builders import A_PAYMENT_ID, NOON, FakeClock


class Passes:
    """A worker whose passes go as the list says, and then find nothing more."""

    def __init__(self, *results: Counts | BaseException, during: Callable[[], None] = lambda: None) -> None:
        self._results = list(results)
        self._during = during
        self.made: list[datetime] = []

    async def run_once(self, now: datetime) -> Counts:
        self.made.append(now)
        self._during()
        await asyncio.sleep(0)
        result = self._results.pop(0) if self._results else Counts()
        if isinstance(result, BaseException):
            raise result
        return result


def a_sweep(worker: Passes, clock: FakeClock | None = None, metrics: Metrics | None = None) -> Sweep:
    return Sweep("charge", worker, clock or FakeClock(), metrics or Metrics())


async def test_a_ring_makes_passes_until_nothing_is_left() -> None:
    worker = Passes(Counts(5, more=True), Counts(5, more=True), Counts(1))

    await a_sweep(worker).ring()

    assert worker.made == [NOON] * 3


async def test_a_ring_during_a_pass_is_answered_by_one_more_and_never_beside_it() -> None:
    # given
    at_once: list[int] = []
    rings: list[asyncio.Task[None]] = []

    def ring_twice() -> None:
        at_once.append(len(worker.made))
        if len(worker.made) == 1:
            rings.extend(asyncio.create_task(sweep.ring()) for _ in range(2))

    worker = Passes(Counts(1), Counts(), during=ring_twice)
    sweep = a_sweep(worker)

    # when
    await sweep.ring()
    await asyncio.gather(*rings)

    # then
    assert at_once == [1, 2]


@pytest.mark.parametrize("error", [DatabaseGoneError("gone"), ValueError("a mistake of ours"), KeyError("row")])
async def test_a_pass_that_fails_is_counted_and_made_again_at_the_next_ring(error: Exception) -> None:
    # given
    worker, metrics = Passes(error, Counts(1)), Metrics()
    sweep = a_sweep(worker, metrics=metrics)

    # when
    await sweep.ring()
    after_failure = len(worker.made)
    await sweep.ring()

    # then
    assert (after_failure, len(worker.made)) == (1, 2)
    assert metrics.registry.get_sample_value("billing_sweep_failures_total", {"sweep": "charge"}) == 1
    assert metrics.registry.get_sample_value("billing_sweep_runs_total", {"sweep": "charge"}) == 1


async def test_a_cancelled_pass_is_cancelled() -> None:
    sweep = a_sweep(Passes(asyncio.CancelledError()))

    with pytest.raises(asyncio.CancelledError):
        await sweep.ring()
    async with asyncio.timeout(1):
        await sweep.ended()


async def test_a_sweep_that_stops_ends_its_pass_and_makes_no_other() -> None:
    # given
    worker = Passes(*[Counts(5, more=True)] * 9)
    sweep = a_sweep(worker)

    # when
    ringing = asyncio.create_task(sweep.ring())
    await asyncio.sleep(0)
    sweep.stop()
    await sweep.ended()

    # then
    assert len(worker.made) == 1
    assert await ringing is None


async def test_a_sweep_is_silent_from_the_end_of_its_last_pass_however_that_went() -> None:
    # given
    clock = FakeClock()
    sweep = a_sweep(Passes(Counts(), ValueError("x"), during=lambda: clock.advance(seconds=7)), clock)

    # when
    clock.advance(seconds=100)
    never = sweep.silent_seconds()
    await sweep.ring()
    good = sweep.silent_seconds()
    clock.advance(seconds=10)
    await sweep.ring()
    bad = sweep.silent_seconds()

    # then
    assert (never, good, bad) == (100, 0, 0)


async def test_every_call_has_a_slot_and_gives_it_back() -> None:
    # given
    slots, go = Slots(3), asyncio.Event()

    async def call() -> None:
        await go.wait()

    # when
    for _ in range(3):
        slots.start(call(), payment_id=A_PAYMENT_ID)
    full = (slots.free, slots.busy, await slots.wait_free(1, 0.01))
    go.set()
    await slots.drained()

    # then
    assert full == (0, 3, 0)
    assert (slots.free, slots.busy) == (3, 0)


async def test_whoever_waits_for_slots_goes_on_when_enough_are_free() -> None:
    # given
    slots = Slots(2)
    ends = [asyncio.Event(), asyncio.Event()]

    async def call(end: asyncio.Event) -> None:
        await end.wait()

    for end in ends:
        slots.start(call(end), payment_id=A_PAYMENT_ID)

    # when
    waiting = asyncio.create_task(slots.wait_free(2, 5))
    ends[0].set()
    await asyncio.sleep(0)
    early = waiting.done()
    ends[1].set()

    # then
    assert not early
    assert await waiting == 2


async def test_a_call_that_fails_gives_its_slot_back_and_ends_nothing_else() -> None:
    # given
    slots = Slots(2)
    done: list[str] = []

    async def fails() -> None:
        raise ValueError("a mistake of ours")

    async def works() -> None:
        await asyncio.sleep(0)
        done.append("works")

    # when
    slots.start(fails(), payment_id=A_PAYMENT_ID)
    slots.start(works(), payment_id=A_PAYMENT_ID)
    await slots.drained()

    # then
    assert done == ["works"]
    assert slots.free == 2


@pytest.mark.parametrize(
    ("error", "event"), [(ValueError("a mistake of ours"), "call.failed"), (DatabaseGoneError("gone"), "call.cut_off")]
)
async def test_a_call_that_fails_is_logged_with_the_payment_that_it_was_about(error: Exception, event: str) -> None:
    # given
    slots = Slots(1)

    async def fails() -> None:
        raise error

    # when
    with capture_logs() as lines:
        slots.start(fails(), payment_id=A_PAYMENT_ID)
        await slots.drained()

    # then
    assert [(line["event"], line["payment_id"]) for line in lines] == [(event, A_PAYMENT_ID)]


async def test_draining_lets_a_call_start_another_one_and_waits_for_both() -> None:
    # given
    slots = Slots(2)
    done: list[str] = []

    async def second() -> None:
        done.append("second")

    async def first() -> None:
        slots.start(second(), payment_id=A_PAYMENT_ID)
        await asyncio.sleep(0)

    # when
    slots.start(first(), payment_id=A_PAYMENT_ID)
    await slots.drained()

    # then
    assert done == ["second"]
