"""What an attack on the webhooks tried: to fill the log, to hold a connection, and to have two wait for each other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from billing_worker.store import inbox
from billing_worker.store.inbox import Hint
from billing_worker.webhooks import connections, endpoint, writer
from billing_worker.workers import listener
from billing_worker.workers.listener import Listener
from tests.builders import eventually
from tests.conftest import DatabaseUrls
from tests.hints import Bell, hint, results
from tests.rig import Rig, a_database
from tests.webhook_desk import BODY_BYTES_MAX, PATH, Desk, a_desk
from tests.webhooks import a_secret

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture
async def desk(database: DatabaseUrls) -> AsyncIterator[Desk]:
    async with a_database(database) as pools, a_desk(pools.claims, database.admin_url) as made:
        yield made


@asynccontextmanager
async def somebody(database: DatabaseUrls) -> AsyncIterator[Any]:
    """Another connection, with a transaction open on it that is taken back in the end."""
    connection = await asyncpg.connect(database.admin_url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        if not connection.is_closed():
            await transaction.rollback()
            await connection.close()


async def test_strangers_do_not_choose_how_much_is_logged(desk: Desk) -> None:
    # given
    forged = a_secret(3)

    # when
    with capture_logs() as lines:
        for number in range(20):
            await desk.send(webhook_id=f"wh-{number}", secret=forged)
        desk.clock.advance(seconds=endpoint.SPEAK_SECONDS)
        await desk.send(webhook_id="wh-last", secret=forged)

    # then
    spoken = [line["count"] for line in lines if line["event"] == "webhooks.refused"]
    assert spoken == [1, 20]
    assert desk.counted("forged") == 21


@pytest.mark.parametrize("declared", [str(BODY_BYTES_MAX + 1), "9" * 13])
async def test_a_body_that_is_declared_too_large_is_not_waited_for(desk: Desk, declared: str) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {declared}\r\n\r\n"

    reader, writing = await desk.raw(head.encode())
    answer = await asyncio.wait_for(reader.read(), endpoint.BODY_SECONDS / 2)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert desk.counted("too_large") == 1
    writing.close()


async def test_hints_are_kept_in_one_order_by_whoever_keeps_them(database: DatabaseUrls) -> None:
    # given: somebody who has kept the second of three hints, and has not committed
    async with a_database(database) as pools, somebody(database) as other:
        await _keep(other, "wh-2")
        waiting = asyncio.create_task(inbox.keep_hints(pools.claims, [_hint(f"wh-{number}") for number in (3, 2, 1)]))
        await _waits(database)

        # when: he goes on to the third
        kept = await _keep(other, "wh-3")
        await other.execute("COMMIT")

        # then
        assert kept == "INSERT 0 1"
        assert await waiting == {"wh-1"}


async def test_a_listener_that_stopped_over_its_hints_keeps_nobody_from_the_others(
    rig: Rig, database: DatabaseUrls
) -> None:
    # given
    ear = Listener(rig.database.claims, rig.clock, rig.crew.metrics, ring=Bell())
    of = await rig.owe()
    await rig.charge()
    for name in ("taken", "free"):
        await hint(rig, of, webhook_id=name)

    # when
    async with somebody(database) as other:
        await other.execute("SELECT 1 FROM billing.webhook_inbox WHERE webhook_id = 'taken' FOR UPDATE")
        await asyncio.wait_for(ear.run_once(rig.clock.now()), 5)

    # then
    assert await results(rig) == {"taken": None, "free": "ordered"}


@pytest.mark.parametrize(
    "words",
    [
        ("| head of a request |", f"| {connections.HEAD_SECONDS:g} s, {connections.HEAD_BYTES_MAX // 1024} KiB |"),
        ("| body |", f"| {endpoint.BODY_SECONDS:g} s |"),
        ("| connections |", f"| {connections.CONNECTIONS_MAX}, then cut |"),
        ("| idle connection |", f"| {connections.KEEP_ALIVE_SECONDS} s |"),
        ("| being kept |", f"| {writer.KEEP_SECONDS:g} s |"),
        ("| hints waiting to be kept |", f"| {writer.QUEUE_MAX:,} |"),
        (f"keeps, for {listener.KEEP_FOR.days} days,",),
    ],
)
def test_the_page_says_the_bounds_that_are_kept(words: Sequence[str]) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()

    assert any(all(word in line for word in words) for line in lines)


def _hint(webhook_id: str) -> Hint:
    return Hint(webhook_id, "Transaction.Paid", "rb1x", None, None, True, NOW, NOW)


async def _keep(connection: Any, webhook_id: str) -> str:
    written = "INSERT INTO billing.webhook_inbox (webhook_id, event_type, payment_id, sent_at, received_at)"
    kept: str = await connection.execute(f"{written} VALUES ($1, 'Transaction.Paid', 'rb1x', $2, $2)", webhook_id, NOW)
    return kept


async def _waits(database: DatabaseUrls) -> None:
    """Return when a statement waits for another's row."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    connection = await asyncpg.connect(database.admin_url)
    try:
        await eventually(lambda: connection.fetchval(asked))
    finally:
        await connection.close()
