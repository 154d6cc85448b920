"""What the sentry judges by: how old a judgement may be, what nobody wrote down, what must stand before it sends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from billing_worker.billing.deployment import Seen
from billing_worker.store import control
from billing_worker.store.db import DatabaseGoneError, StatementRefusedError
from billing_worker.store.deployment import JUDGED_SECONDS_MAX, Acceptance
from billing_worker.workers import fitness
from billing_worker.workers.gate import ClosedBy
from billing_worker.workers.sentry import Sentry
from tests.conftest import DatabaseUrls, changed_url
from tests.guarded import OURS, Guarded, alone, guarded, recorded
from tests.rig import Rig


async def test_a_judgement_that_nobody_can_renew_closes_the_gate_until_the_next_one(
    rig: Rig, guard: Guarded, database: DatabaseUrls
) -> None:
    # given
    await rig.owe()
    await control.primary_clock(guard.database.claims)  # a connection that stays
    await rig.admin.execute(f'ALTER DATABASE "{database.name}" CONNECTION LIMIT 0')

    # when
    closed = []
    for seconds in (JUDGED_SECONDS_MAX - 5, 5.1):
        rig.clock.advance(seconds=seconds)
        with pytest.raises(DatabaseGoneError):
            await guard.sentry.run_once(rig.clock.now())
        closed.append(guard.closed_by())
    not_ready = guard.sentry.not_ready()
    await rig.charge(guard.crew)
    still_there = await control.primary_clock(guard.database.claims)
    await rig.admin.execute(f'ALTER DATABASE "{database.name}" CONNECTION LIMIT -1')
    said = await guard.watch(rig)

    # then
    assert closed == [None, ClosedBy.MOVED]
    assert "nobody could judge the database" in not_ready["deployment"]
    assert (still_there is not None, await rig.posts()) == (True, [])
    assert (said, guard.closed_by()) == ([], None)


async def test_a_worker_that_wakes_late_in_a_judgement_does_not_take_it_for_a_new_one(
    rig: Rig, guard: Guarded, database: DatabaseUrls
) -> None:
    # given
    @asynccontextmanager
    async def sleeps_after_connecting() -> AsyncIterator[Any]:
        async with alone(database.worker_url) as one:
            rig.clock.advance(hours=1)
            yield one

    guard.sentry._alone = sleeps_after_connecting

    # when
    await guard.watch(rig)

    # then
    assert guard.closed_by() is ClosedBy.MOVED


async def test_a_sentry_that_looks_every_five_seconds_keeps_the_gate_open(rig: Rig, guard: Guarded) -> None:
    closed = []
    for _ in range(30):
        rig.clock.advance(seconds=5)
        closed.append(guard.closed_by())
        await guard.watch(rig)

    assert set(closed) == {None}


async def test_a_database_with_cycles_and_without_a_row_is_looked_at_first(rig: Rig, database: DatabaseUrls) -> None:
    # given
    payment_id = await rig.owe()

    # when
    async with guarded(rig, database) as restored:
        await restored.watch(rig)
        await rig.charge(restored.crew)
        unsent = await rig.posts()
        await rig.reconcile(restored.crew)

    # then
    assert unsent == []
    requests = [(one["method"], one["path"]) for one in (await rig.ask("GET", "/requests"))["requests"]]
    assert [method for method, path in requests if payment_id in path][:2] == ["GET", "POST"]


@pytest.mark.parametrize("hidden", ["timeline", "system_identifier"])
async def test_what_the_server_shows_first_is_written_down_and_looked_at_first(
    rig: Rig, guard: Guarded, hidden: str
) -> None:
    # given
    await rig.owe()
    await rig.admin.execute(f"UPDATE billing.deployment SET {hidden} = NULL")

    # when
    said = await guard.watch(rig)
    again = await guard.watch(rig)
    await rig.charge(guard.crew)

    # then
    assert ("database.failed_over" in said, again, guard.closed_by()) == (True, [], None)
    assert [row[hidden] is None for row in await recorded(rig)] == [True, False]
    assert await rig.posts() == []


async def test_a_copy_is_told_by_what_was_accepted_where_nothing_is_written_down(rig: Rig, guard: Guarded) -> None:
    # given
    seen = guard.acceptance.accepted
    assert isinstance(seen, Seen)
    await rig.admin.execute("UPDATE billing.deployment SET system_identifier = NULL")
    guard.acceptance.accept(replace(seen, system_identifier=1), asked_at=rig.clock.monotonic())
    guard.acceptance.refuse("a connection was turned away meanwhile")

    # when
    said = await guard.watch(rig)

    # then
    assert said == ["database.refused"]
    assert len(await recorded(rig)) == 1


async def test_the_last_lines_of_a_new_place_are_looked_at_before_anything_is_sent_from_it(
    rig: Rig, guard: Guarded, database: DatabaseUrls
) -> None:
    # given
    closed_when_let_in: list[ClosedBy | None] = []

    async def let_in() -> None:
        closed_when_let_in.append(guard.closed_by())

    sentry = Sentry(
        lambda: alone(database.worker_url),
        guard.acceptance,
        guard.crew.gate,
        rig.clock,
        guard.crew.metrics,
        ours=OURS,
        actor="guarded",
        look_again=let_in,
    )
    await rig.admin.execute("ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only")
    await rig.admin.execute("UPDATE billing.deployment SET timeline = timeline + 7")

    # when
    await sentry.run_once(rig.clock.now())

    # then
    assert closed_when_let_in == [ClosedBy.UNGUARDED]
    assert guard.closed_by() is ClosedBy.UNGUARDED


async def test_a_database_that_is_not_there_is_not_said_to_lack_the_schema(rig: Rig, database: DatabaseUrls) -> None:
    url = changed_url(database.worker_url, database="no_such_database")

    with pytest.raises(StatementRefusedError, match="3D000"):
        await fitness.refuse_moved(lambda: alone(url), OURS, Acceptance(rig.clock.monotonic))


async def test_a_database_without_the_schema_is_said_to_lack_it(rig: Rig, postgres_server: str) -> None:
    with pytest.raises(fitness.StartUpRefusedError, match="run billing-worker migrate"):
        await fitness.refuse_moved(lambda: alone(postgres_server), OURS, Acceptance(rig.clock.monotonic))


async def test_a_primary_that_takes_no_writes_is_not_called_a_replica_alone(rig: Rig, database: DatabaseUrls) -> None:
    await rig.admin.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')

    with pytest.raises(fitness.StartUpRefusedError, match=r"takes no writes.*default_transaction_read_only"):
        await fitness.refuse_moved(lambda: alone(database.worker_url), OURS, Acceptance(rig.clock.monotonic))
