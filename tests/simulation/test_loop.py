"""The loop of the simulation: order, time, freezing, sleep and death."""

import asyncio
from random import Random

import pytest

from tests.simulation.loop import HOST, Host, StuckError, VirtualLoop


def a_loop(seed: int = 1) -> VirtualLoop:
    return VirtualLoop(Random(seed))


def wait(loop: VirtualLoop, seconds: float) -> "asyncio.Future[None]":
    waiting = loop.create_future()
    loop.call_later(seconds, waiting.set_result, None)
    return waiting


async def note(loop: VirtualLoop, seen: list[tuple[str, float]], name: str, *seconds: float) -> None:
    try:
        for span in seconds:
            await wait(loop, span)
            seen.append((name, loop.time()))
    finally:
        seen.append((f"{name} ended", loop.time()))


def test_time_jumps_to_the_next_timer_and_costs_nothing() -> None:
    loop = a_loop()

    async def main() -> float:
        async with asyncio.timeout(86_400 * 365):
            await wait(loop, 86_400 * 40)
        return loop.time()

    assert loop.run_until_complete(main()) == pytest.approx(86_400 * 40)


def test_a_timeout_fires_in_virtual_time() -> None:
    loop = a_loop()

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 20.0)
        return loop.time()

    assert loop.run_until_complete(main()) == pytest.approx(20.0)


def test_what_is_ready_runs_in_an_order_that_the_seed_chooses() -> None:
    def order(seed: int) -> list[int]:
        loop, seen = a_loop(seed), list[int]()

        async def main() -> None:
            for number in range(8):
                loop.call_soon(seen.append, number)
            await wait(loop, 1.0)

        loop.run_until_complete(main())
        return seen

    assert order(1) == order(1)
    assert sorted(order(1)) == list(range(8))
    assert len({tuple(order(seed)) for seed in range(20)}) > 10


def test_a_killed_host_runs_nothing_more_and_no_finally() -> None:
    loop, host, seen = a_loop(), Host("worker"), list[tuple[str, float]]()

    async def main() -> None:
        loop.create_task(note(loop, seen, "worker", 1.0, 1.0, 1.0), context=host.context)
        loop.call_later(1.5, loop.kill, host)
        await wait(loop, 10.0)

    loop.run_until_complete(main())

    assert [name for name, _ in seen] == ["worker"]


def test_a_frozen_host_goes_on_where_it_was_and_its_timers_have_run_out() -> None:
    loop, host, seen = a_loop(), Host("worker"), list[tuple[str, float]]()

    async def main() -> None:
        loop.create_task(note(loop, seen, "worker", 1.0, 1.0, 1.0), context=host.context)
        loop.call_later(1.5, loop.freeze, host)
        loop.call_later(100.0, loop.thaw, host)
        await wait(loop, 200.0)

    loop.run_until_complete(main())

    assert [round(at, 3) for _, at in seen] == [1.0, 100.0, 101.0, 101.0]


def test_the_loop_s_clock_of_a_machine_that_slept_has_stood_still() -> None:
    loop, host, seen = a_loop(), Host("worker"), list[tuple[str, float]]()

    async def main() -> None:
        loop.create_task(note(loop, seen, "worker", 1.0, 1.0), context=host.context)
        loop.call_later(1.5, loop.freeze, host)

        def wake() -> None:
            loop.thaw(host, asleep=True)

        loop.call_later(100.0, wake)
        await wait(loop, 200.0)

    loop.run_until_complete(main())

    assert [round(at, 3) for _, at in seen] == [1.0, 2.0, 2.0]
    assert host.slept == pytest.approx(98.5)


def test_what_a_server_does_for_a_dead_worker_goes_on() -> None:
    loop, worker, server, seen = a_loop(), Host("worker"), Host("server"), list[str]()

    async def main() -> None:
        def ask() -> None:
            loop.call_later(2.0, seen.append, "executed", context=server.context)

        loop.call_soon(ask, context=worker.context)
        loop.call_later(1.0, loop.kill, worker)
        await wait(loop, 5.0)

    loop.run_until_complete(main())

    assert seen == ["executed"]


def test_a_task_belongs_to_the_host_that_made_it() -> None:
    loop, host, seen = a_loop(), Host("worker"), list[str]()

    async def child() -> None:
        seen.append(HOST.get().name)

    async def parent() -> None:
        await loop.create_task(child())

    async def main() -> None:
        await loop.create_task(parent(), context=host.context)

    loop.run_until_complete(main())

    assert seen == ["worker"]


def test_a_loop_with_nothing_left_to_run_says_so() -> None:
    loop = a_loop()

    async def main() -> None:
        await loop.create_future()

    with pytest.raises(StuckError, match="nothing is left"):
        loop.run_until_complete(main())
