"""The doorbell: one ring at a time, and no press is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from billing_worker.workers.listener import Doorbell


class Sweep:
    """Rings that last until they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.under_way = 0
        self.at_once_max = 0
        self.gate = asyncio.Event()

    async def ring(self) -> None:
        self.begun += 1
        self.under_way += 1
        self.at_once_max = max(self.at_once_max, self.under_way)
        await self.gate.wait()
        self.under_way -= 1


@asynccontextmanager
async def a_bell() -> AsyncIterator[tuple[Doorbell, Sweep]]:
    sweep = Sweep()
    bell = Doorbell(sweep.ring)
    running = asyncio.create_task(bell.run())
    yield bell, sweep
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_press_rings_once() -> None:
    async with a_bell() as (bell, sweep):
        sweep.gate.set()

        bell.press()
        await turns()

        assert sweep.begun == 1


async def test_presses_during_a_ring_make_one_more() -> None:
    async with a_bell() as (bell, sweep):
        bell.press()
        await turns()
        for _ in range(5):
            bell.press()
        await turns()
        during = sweep.begun

        sweep.gate.set()
        await turns()

        assert (during, sweep.begun, sweep.at_once_max) == (1, 2, 1)


async def test_a_press_before_it_runs_is_heard() -> None:
    sweep = Sweep()
    sweep.gate.set()
    bell = Doorbell(sweep.ring)
    bell.press()

    running = asyncio.create_task(bell.run())
    await turns()
    running.cancel()

    assert sweep.begun == 1
