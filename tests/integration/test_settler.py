"""The settler: verdicts are written in batches, kept until they are written, and each is written once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

import pytest

from billing_worker.billing import settlement
from billing_worker.billing.charging import Verdict
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import Declined, Paid
from billing_worker.billing.settlement import Settlement
from billing_worker.billing.states import Source
from billing_worker.store import attempts, cycles, db
from billing_worker.store.attempts import Intent
from billing_worker.store.db import RowRefusedError
from billing_worker.workers import settler
from tests.builders import NOON, eventually
from tests.conftest import DatabaseUrls
from tests.rig import Crew, Rig

SOFT = Declined("51", "잔액부족")


class SpoiltStatus(StrEnum):
    """What no CHECK of the schema lets in."""

    LOST = "lost"


@dataclass(slots=True)
class Line:
    """A line to Postgres on which the next answers can be lost: what was asked for is done, and nobody is told."""

    host: str
    port: int
    answers_to_lose: int = 0
    lost: int = 0
    closed: bool = False
    _ways: set[asyncio.Task[None]] = field(default_factory=set)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self.host, self.port)
        ends = (writer, back)
        for way in (self._pass(reader, back, ends, lossy=False), self._pass(there, writer, ends, lossy=True)):
            task = asyncio.create_task(way)
            self._ways.add(task)
            task.add_done_callback(self._ways.discard)

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, ...],
        *,
        lossy: bool,
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(65536):
                if lossy and self.answers_to_lose:
                    self.answers_to_lose -= 1
                    self.lost += 1
                    break
                target.write(chunk)
        for end in ends:
            end.transport.abort()


@asynccontextmanager
async def a_line(url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to the server of the DSN, and the DSN that leads over it."""
    parts = urlsplit(url)
    assert parts.hostname
    line = Line(parts.hostname, parts.port or 5432)
    server = await asyncio.start_server(line.connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    userinfo = parts.netloc.rpartition("@")[0]
    try:
        yield line, urlunsplit(parts._replace(netloc=f"{userinfo}@127.0.0.1:{port}"))
    finally:
        server.close()


@asynccontextmanager
async def crew_over(rig: Rig, url: str) -> AsyncIterator[Crew]:
    """A crew with one connection for outcomes on that line."""
    pools = await db.connect(url, db.PoolLimits(outcomes_max=1), application_name="billing-worker line")
    crew = rig.hire("worker-2", database=pools)
    try:
        yield crew
    finally:
        await crew.settler.stop()
        await pools.close()


async def opened(rig: Rig, count: int) -> list[Attempt]:
    """Open attempts, one of each of so many subscriptions, that nobody has sent."""
    for number in range(count):
        await rig.owe(f"sub-{number}", f"bk-ok-{number}")
    found: list[Attempt] = []
    now = rig.clock.now()
    for due in await cycles.shards_due(rig.database.claims, now, store_id=rig.rules.store_id):
        claimed = await cycles.claim_due_cycles(
            rig.database.claims, due.shard, store_id=rig.rules.store_id, now=now, lease_until=rig.clock.now(), limit=500
        )
        intents = [Intent(c, 1, f"{c.payment_id}-g0001", b"{}") for c in claimed]
        found += await attempts.open_attempts(rig.database.claims, intents, now=now, look_at=now, worker="worker-1")
    return sorted(found, key=lambda attempt: attempt.cycle_id)


def decided(rig: Rig, attempt: Attempt, verdict: Verdict | None = None) -> Settlement:
    paid = Paid(f"pg-{attempt.attempt_id}", NOON)
    return settlement.settle(
        attempt, verdict or paid, Source.ANSWER, now=rig.clock.now(), rules=rig.rules, policy=rig.policy
    )


async def count(rig: Rig, kind: str) -> int:
    found: int = await rig.admin.fetchval("SELECT count(*) FROM billing.ledger WHERE kind = $1", kind)
    return found


async def test_verdicts_that_come_together_are_written_together(rig: Rig) -> None:
    # given
    found = await opened(rig, 60)
    before = await transactions(rig)

    # when
    settled = await asyncio.gather(*(rig.crew.settler.settle(decided(rig, attempt)) for attempt in found))

    # then
    assert settled == [True] * 60
    assert await count(rig, "paid") == 60
    assert await transactions(rig) - before < 20


async def test_a_lone_verdict_waits_for_nobody(rig: Rig) -> None:
    [attempt] = await opened(rig, 1)

    async with asyncio.timeout(5):
        assert await rig.crew.settler.settle(decided(rig, attempt))


async def test_a_verdict_is_written_while_claims_have_every_connection_of_theirs(rig: Rig) -> None:
    """The money has moved, whatever else waits for the database."""
    # given
    [attempt] = await opened(rig, 1)
    async with AsyncExitStack() as claims:
        for _ in range(db.PoolLimits().claims_max):
            await claims.enter_async_context(rig.database.claims.transaction())

        # when
        async with asyncio.timeout(5):
            settled = await rig.crew.settler.settle(decided(rig, attempt))

    # then
    assert settled


async def test_a_verdict_that_waited_for_another_one_s_commit_sees_what_it_wrote(rig: Rig) -> None:
    """Two workers settle one attempt at the same moment: both have found it open, and only one may write."""
    # given
    [attempt] = await opened(rig, 1)

    async def is_waiting() -> bool:
        waiting = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await rig.admin.fetchval(waiting))

    # when
    async with rig.database.outcomes.transaction() as first:
        paid = [decided(rig, attempt)]
        won = await attempts.settle_attempts(first, paid, now=rig.clock.now(), actor="worker-2")
        second = asyncio.create_task(rig.crew.settler.settle(decided(rig, attempt, SOFT)))
        await eventually(is_waiting)

    # then
    assert (won, await second) == ({attempt.idempotency_key}, False)
    assert (await rig.cycle("sub-0"))["status"] == "paid"
    assert await rig.kinds("sub-0") == ["intent", "paid"]


async def test_one_attempt_twice_in_a_batch_is_settled_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that sent it and a look that came meanwhile have both waited for the database."""
    # given
    monkeypatch.setattr(settler, "WRITERS", 1)  # or the first verdict might be in a batch of its own
    crew = rig.hire("worker-2")
    [attempt] = await opened(rig, 1)

    # when
    settled = await asyncio.gather(*(crew.settler.settle(decided(rig, attempt, SOFT)) for _ in range(4)))

    # then
    assert sorted(settled) == [False, False, False, True]
    assert await count(rig, "declined") == 1
    assert (await rig.cycle("sub-0"))["declines_count"] == 1


async def test_a_verdict_that_is_overtaken_says_so(rig: Rig) -> None:
    [attempt] = await opened(rig, 1)

    first = await rig.crew.settler.settle(decided(rig, attempt))
    second = await rig.crew.settler.settle(decided(rig, attempt, SOFT))

    assert (first, second) == (True, False)


async def test_a_row_that_postgres_refuses_does_not_keep_the_others_from_being_written(rig: Rig) -> None:
    # given
    found = await opened(rig, 6)
    refused = replace(decided(rig, found[2]), attempt_status=SpoiltStatus.LOST)

    # when
    results = await asyncio.gather(
        *(rig.crew.settler.settle(refused if a is found[2] else decided(rig, a)) for a in found), return_exceptions=True
    )

    # then
    assert isinstance(results[2], RowRefusedError)
    assert [result for result in results if result is True] == [True] * 5
    assert await count(rig, "paid") == 5
    assert (await rig.attempt("sub-2"))["status"] == "open"
    assert rig.crew.gate.closed() is None


async def test_a_commit_that_was_applied_and_not_acknowledged_counts_as_settled_and_is_entered_once(
    rig: Rig, database: DatabaseUrls
) -> None:
    # given
    first, second = await opened(rig, 2)
    async with a_line(database.worker_url) as (line, url), crew_over(rig, url) as crew:
        await crew.settler.settle(decided(rig, first))  # the statement is prepared, so that one answer is one commit

        # when
        line.answers_to_lose = 1
        settled = await crew.settler.settle(decided(rig, second))

    # then
    assert line.lost == 1
    assert settled is True
    assert await count(rig, "paid") == 2
    assert await rig.kinds("sub-1") == ["intent", "paid"]


async def test_verdicts_are_kept_while_the_database_is_gone_and_nothing_is_sent_meanwhile(
    rig: Rig, database: DatabaseUrls
) -> None:
    # given
    found = await opened(rig, 5)
    async with a_line(database.worker_url) as (line, url), crew_over(rig, url) as crew:
        await crew.settler.settle(decided(rig, found[0]))
        line.closed, line.answers_to_lose = True, 1

        # when
        waiting = [asyncio.create_task(crew.settler.settle(decided(rig, attempt))) for attempt in found[1:]]

        async def shut() -> bool:
            return crew.gate.closed() is not None

        await eventually(shut)
        line.closed = False
        settled = await asyncio.gather(*waiting)

        # then
        assert settled == [True] * 4
        assert crew.gate.closed() is None
    assert await count(rig, "paid") == 5


async def test_a_statement_that_is_refused_for_any_row_stops_the_sending_and_loses_no_verdict(rig: Rig) -> None:
    # given
    found = await opened(rig, 3)
    await rig.admin.execute("REVOKE INSERT ON billing.ledger FROM billing_worker")

    # when
    waiting = [asyncio.create_task(rig.crew.settler.settle(decided(rig, attempt))) for attempt in found]
    try:
        await eventually(lambda: is_shut(rig))
        written = await count(rig, "paid")
    finally:
        await rig.admin.execute("GRANT INSERT ON billing.ledger TO billing_worker")
    settled = await asyncio.gather(*waiting)

    # then
    assert written == 0
    assert settled == [True] * 3
    assert rig.crew.gate.closed() is None


async def is_shut(rig: Rig) -> bool:
    return rig.crew.gate.closed() is not None


async def test_a_backend_that_is_ended_in_the_middle_is_no_lost_verdict(rig: Rig) -> None:
    # given
    [attempt] = await opened(rig, 1)
    transaction = rig.admin.transaction()
    await transaction.start()
    await rig.admin.execute("SELECT 1 FROM billing.cycles FOR UPDATE")

    # when
    waiting = asyncio.create_task(rig.crew.settler.settle(decided(rig, attempt)))
    await eventually(lambda: ended_waiters(rig))
    await transaction.rollback()

    # then
    assert await waiting is True
    assert await rig.kinds("sub-0") == ["intent", "paid"]


async def test_a_caller_that_is_cancelled_does_not_end_the_writing(rig: Rig) -> None:
    # given
    first, second = await opened(rig, 2)

    # when
    cancelled = asyncio.create_task(rig.crew.settler.settle(decided(rig, first)))
    await asyncio.sleep(0)
    cancelled.cancel()
    settled = [await rig.crew.settler.settle(decided(rig, second)) for _ in range(3)]

    # then
    assert settled == [True, False, False]

    async def both_are_entered() -> bool:
        return await count(rig, "paid") == 2

    assert await eventually(both_are_entered)


async def ended_waiters(rig: Rig) -> int:
    """End the backends that wait for a lock; how many there were."""
    return len(
        await rig.admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


async def transactions(rig: Rig) -> int:
    """How many transactions have written to the ledger."""
    found: int = await rig.admin.fetchval("SELECT count(DISTINCT xmin::text) FROM billing.ledger")
    return found
