"""Postgres goes away in the middle: nothing new is sent, verdicts wait for it, and whoever asks is told."""

import httpx

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.builders import eventually
from tests.crash.harness import Stage
from tests.crash.workers import Worker

IN_FLIGHT = 6


async def test_sends_stop_verdicts_wait_and_readiness_says_so(stage: Stage, postgres: EmbeddedPostgres) -> None:
    keys = await stage.add([f"bk-ok-{number}" for number in range(40)])
    await stage.portone.hold("after_charge")
    worker = stage.start_installed(PORTONE_IN_FLIGHT_MAX=str(IN_FLIGHT), CLAIM_BATCH_MAX=str(IN_FLIGHT))
    assert await stage.portone.in_flight(IN_FLIGHT, wait_seconds=20, stage="held_after_charge") == IN_FLIGHT
    assert await readiness(worker) == 200

    postgres.kill()
    await stage.portone.release()
    await worker.said("settler.database_gone", times=4)

    assert await readiness(worker) == 503
    assert await page(worker, "livez") == 200
    # Those that were opened ahead may have had their turn before the first verdict could not be written; no other has.
    sent = len(await stage.portone.posts())
    assert sent <= IN_FLIGHT + IN_FLIGHT // 2
    await worker.said("settler.database_gone", times=8)
    assert len(await stage.portone.posts()) == sent
    postgres.start()
    await stage.ends_true()
    assert await readiness(worker) == 200
    attempts = [attempt for key in keys for attempt in await stage.attempts(key)]
    # All of them by the answer itself: no verdict had to be asked for again.
    assert [(attempt["status"], attempt["source"]) for attempt in attempts] == [("paid", "answer")] * len(keys)
    assert len(await stage.portone.posts()) == len(keys)
    assert worker.exit_code is None


async def test_a_worker_rides_out_failovers_without_a_restart(stage: Stage, postgres: EmbeddedPostgres) -> None:
    await stage.portone.reset(latency_ms=20.0)
    await stage.add([f"bk-ok-{number}" for number in range(150)], days_behind=2)
    worker = stage.start_installed(PORTONE_REQUESTS_PER_SECOND="150", PORTONE_BURST="20", CLAIM_BATCH_MAX="20")
    await worker.said("attempt.settled", times=10)

    for settled in (60, 120, 180):
        postgres.restart_immediate()
        await worker.said("attempt.settled", times=settled)

    await stage.all_claimed()
    # What is open now are intents whose commit was never acknowledged; the worker sends none of them by itself.
    await stage.ask_now()
    await stage.ends_true(seconds_max=60)
    assert worker.exit_code is None


async def readiness(worker: Worker) -> int:
    """What /readyz says, once it says the same twice: a pool notices a lost connection when it uses it."""

    async def settled() -> int | None:
        one, other = await page(worker, "readyz"), await page(worker, "readyz")
        return one if one == other else None

    return await eventually(settled)


async def page(worker: Worker, name: str) -> int:
    """The status of one of the worker's pages."""
    (listening,) = await worker.said("web.listening")
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://{listening['address']}/{name}")).status_code
