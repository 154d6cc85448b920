"""The commit that nobody was told of: an intent or a verdict is being written when its worker dies or its line is cut.

The statement is kept waiting by a lock on the ledger, so that the blow falls in the middle of it. Then the server
either ends it (written and not acknowledged) or loses its backend (rolled back), and to the worker both look alike.
"""

from collections.abc import AsyncIterator

import pytest

from tests.crash.harness import Stage
from tests.crash.wire_cutter import WireCutter
from tests.crash.workers import Worker

KILLED = -9


@pytest.fixture
async def wire(stage: Stage) -> AsyncIterator[WireCutter]:
    """The way of the workers to Postgres."""
    async with WireCutter(stage.database.worker_url) as wire:
        yield wire


async def test_an_intent_written_after_its_worker_died_is_followed_and_sent_once(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])

    async with stage.ledger_locked():
        writer = await writing_intent(stage, worker := stage.start())
        worker.kill()
        await worker.ended()
    await stage.writer_gone(writer)

    assert [attempt["status"] for attempt in await stage.attempts(key)] == ["open"]
    assert await stage.portone.posts() == []
    await stage.ask_now()
    stage.start()
    await ends_paid_once(stage, key, sources=["look", "answer"])


async def test_an_intent_rolled_back_with_its_worker_is_claimed_again(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])

    async with stage.ledger_locked():
        writer = await writing_intent(stage, worker := stage.start())
        worker.kill()
        await worker.ended()
        await stage.end_backend(writer)

    assert (await stage.cycle(key))["status"] == "due"
    assert await stage.attempts(key) == []
    stage.start()
    await ends_paid_once(stage, key, sources=["answer"])


async def test_an_intent_whose_commit_was_not_acknowledged_is_never_sent_by_who_wrote_it(
    stage: Stage, wire: WireCutter
) -> None:
    (key,) = await stage.add(["bk-ok-1"])

    async with stage.ledger_locked():
        worker = stage.start(DATABASE_URL=wire.url)
        writer = await writing_intent(stage, worker)
        wire.cut()
        await worker.said("sweep.database_gone")
    await stage.writer_gone(writer)

    assert [attempt["status"] for attempt in await stage.attempts(key)] == ["open"]
    assert await stage.portone.posts() == []
    # Nobody sends it but the reconciler, here the one of the same worker.
    await stage.ask_now()
    await ends_paid_once(stage, key, sources=["look", "answer"])


async def test_an_intent_rolled_back_under_a_living_worker_is_claimed_again(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])

    async with stage.ledger_locked():
        worker = stage.start()
        await stage.end_backend(await writing_intent(stage, worker))
        await worker.said("sweep.database_gone")

    assert (await stage.cycle(key))["status"] == "due"
    await ends_paid_once(stage, key, sources=["answer"])


async def test_a_verdict_written_after_its_worker_died_stands(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    worker = await with_answer_held(stage, stage.start())

    async with stage.ledger_locked():
        await stage.portone.release()
        writer = await stage.waiting_writer()
        worker.kill()
        await worker.ended()
    await stage.writer_gone(writer)

    assert (await stage.cycle(key))["status"] == "paid"
    stage.start()
    await ends_paid_once(stage, key, sources=["answer"])


async def test_a_verdict_rolled_back_with_its_worker_is_learnt_again_by_asking(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    worker = await with_answer_held(stage, stage.start())

    async with stage.ledger_locked():
        await stage.portone.release()
        writer = await stage.waiting_writer()
        worker.kill()
        await worker.ended()
        await stage.end_backend(writer)

    assert (await stage.cycle(key))["status"] == "collecting"
    await stage.ask_now()
    stage.start()
    await ends_paid_once(stage, key, sources=["look"])


async def test_a_verdict_whose_commit_was_not_acknowledged_is_read_back_and_told_once(
    stage: Stage, wire: WireCutter
) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    worker = await with_answer_held(stage, stage.start(DATABASE_URL=wire.url))

    async with stage.ledger_locked():
        await stage.portone.release()
        writer = await stage.waiting_writer()
        wire.cut()
        await worker.said("settler.database_gone")
    await stage.writer_gone(writer)

    await ends_paid_once(stage, key, sources=["answer"])
    assert len(await worker.said("attempt.settled")) == 1
    assert worker.lines("attempt.overtaken") == []


async def test_a_verdict_rolled_back_under_a_living_worker_is_written_again(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    worker = await with_answer_held(stage, stage.start())

    async with stage.ledger_locked():
        await stage.portone.release()
        await stage.end_backend(await stage.waiting_writer())
        await worker.said("settler.database_gone")

    await ends_paid_once(stage, key, sources=["answer"])
    assert len(await worker.said("attempt.settled")) == 1


async def writing_intent(stage: Stage, worker: Worker) -> int:
    """The backend that is writing the worker's intent, and waits."""
    pid = await stage.waiting_writer()
    assert worker.exit_code is None
    return pid


async def with_answer_held(stage: Stage, worker: Worker) -> Worker:
    """The worker, whose charge has been made and not answered yet."""
    await stage.portone.hold("after_charge")
    assert await stage.portone.in_flight(1, wait_seconds=20, stage="held_after_charge") == 1
    return worker


async def ends_paid_once(stage: Stage, key: str, *, sources: list[str]) -> None:
    """The cycle is paid by one attempt, under one key, and its verdict was learnt in one of these ways."""
    await stage.ends_true()
    (attempt,) = await stage.attempts(key)
    assert attempt["status"] == "paid"
    assert attempt["source"] in sources
    assert len({post["idempotency_key"] for post in await stage.portone.posts()}) == 1
