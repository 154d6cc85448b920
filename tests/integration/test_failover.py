"""A database that moved: nothing runs on one that was not judged; what may be lost is looked at before it is sent."""

from dataclasses import replace
from datetime import date, timedelta

import asyncpg
import pytest

from billing_worker.billing.deployment import Seen
from billing_worker.store import control, deployment
from billing_worker.store.db import DatabaseMovedError
from billing_worker.store.deployment import Acceptance
from billing_worker.workers import fitness
from billing_worker.workers.gate import ClosedBy
from billing_worker.workers.sentry import LAST_LINES_SECONDS
from tests.builders import a_cadence
from tests.conftest import DatabaseUrls, execute
from tests.guarded import OURS, Guarded, alone, guarded, recorded
from tests.rig import Rig

# What the row would say if the database were another one, or the server on another timeline.
ELSEWHERE = {
    "another server": "UPDATE billing.deployment SET system_identifier = 1",
    "another database": "UPDATE billing.deployment SET database_oid = 1",
    "another deployment": "UPDATE billing.deployment SET deployment = 'production'",
    "another kind": "UPDATE billing.deployment SET live = true",
}
EARLIER = "UPDATE billing.deployment SET timeline = timeline + 7"


async def test_a_new_database_is_claimed_by_the_first_worker_and_known_to_the_next(
    rig: Rig, database: DatabaseUrls
) -> None:
    # given
    async with guarded(rig, database, "worker-a") as first, guarded(rig, database, "worker-b") as second:
        before = first.closed_by()

        # when
        said = [await one.watch(rig) for one in (first, second, first)]

        # then
        [row] = await recorded(rig)
        assert before is ClosedBy.MOVED
        assert (first.closed_by(), second.closed_by(), said) == (None, None, [[], [], []])
        assert (row["deployment"], row["live"], row["actor"]) == ("main", False, "worker-a")
        assert row["look_first_before"] is None


async def test_a_cycle_of_a_database_that_stayed_is_sent_at_once(rig: Rig, guard: Guarded) -> None:
    await rig.owe()

    await rig.charge(guard.crew)

    assert len(await rig.posts()) == 1


async def test_after_a_failover_what_was_due_is_looked_at_and_then_sent(rig: Rig, guard: Guarded) -> None:
    # given
    payment_id = await rig.owe()
    await rig.admin.execute(EARLIER)

    # when
    said = await guard.watch(rig)
    closed = guard.closed_by()
    await rig.charge(guard.crew)
    unsent, status = await rig.posts(), (await rig.attempt())["status"]
    await rig.reconcile(guard.crew)

    # then
    assert ("database.failed_over" in said, closed, unsent, status) == (True, None, [], "open")
    requests = [(one["method"], one["path"]) for one in (await rig.ask("GET", "/requests"))["requests"]]
    assert [method for method, path in requests if payment_id in path][:2] == ["GET", "POST"]
    assert (await rig.cycle())["status"] == "paid"
    assert guard.crew.metrics.registry.get_sample_value("billing_database_failovers_total") == 1


async def test_what_comes_due_later_is_sent_directly(rig: Rig, guard: Guarded) -> None:
    # given
    await rig.admin.execute(EARLIER)
    await guard.watch(rig)
    later = rig.clock.now() + timedelta(days=40)
    await rig.pass_time(days=40)
    await guard.watch(rig)

    # when
    await rig.owe(cadence=a_cadence(anchor_on=date(later.year, later.month, later.day) - timedelta(days=1)))
    await rig.charge(guard.crew)

    # then
    assert len(await rig.posts()) == 1


async def test_every_worker_learns_from_the_row_what_is_looked_at_first(rig: Rig, database: DatabaseUrls) -> None:
    async with guarded(rig, database, "worker-a") as first, guarded(rig, database, "worker-b") as second:
        # given
        for one in (first, second):
            await one.watch(rig)
        await rig.owe()
        await rig.admin.execute(EARLIER)

        # when
        said = [await one.watch(rig) for one in (first, second)]
        await rig.charge(second.crew)

        # then
        assert [one.count("database.failed_over") for one in said] == [1, 0]
        assert len(await recorded(rig)) == 2
        assert await rig.posts() == []


async def test_a_wal_that_went_back_is_a_failover(rig: Rig, guard: Guarded) -> None:
    # given
    await rig.owe()
    assert guard.acceptance.wal_seen is not None
    guard.acceptance.wal_seen += 2**40

    # when
    said = await guard.watch(rig)
    await rig.charge(guard.crew)

    # then
    assert "database.failed_over" in said
    assert guard.closed_by() is None
    assert await rig.posts() == []


async def test_a_connection_to_a_server_whose_wal_went_back_runs_nothing(rig: Rig, guard: Guarded) -> None:
    # given
    await rig.owe()
    assert guard.acceptance.wal_seen is not None
    guard.acceptance.wal_seen += 2**40
    await guard.database.look_again()

    # when, then
    with pytest.raises(DatabaseMovedError, match="gone back"):
        await control.primary_clock(guard.database.claims)
    assert guard.closed_by() is ClosedBy.MOVED
    assert await rig.attempts() == []


@pytest.mark.parametrize("change", ["database_oid", "system_identifier", "timeline"])
async def test_a_connection_to_anywhere_else_runs_nothing(rig: Rig, guard: Guarded, change: str) -> None:
    # given
    seen = guard.acceptance.accepted
    assert isinstance(seen, Seen)
    guard.acceptance.accept(replace(seen, **{change: 1_000}), asked_at=rig.clock.monotonic())
    await guard.database.look_again()

    # when, then
    for pool in (guard.database.claims, guard.database.outcomes):
        with pytest.raises(DatabaseMovedError):
            await control.primary_clock(pool)
    assert guard.closed_by() is ClosedBy.MOVED
    assert guard.sentry.not_ready().keys() == {"deployment"}


@pytest.mark.parametrize("moved", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_a_foreign_database_closes_the_gate_and_is_said_once(rig: Rig, guard: Guarded, moved: str) -> None:
    # given
    await rig.owe()
    await rig.admin.execute(moved)

    # when
    said = [await guard.watch(rig) for _ in range(3)]
    await rig.charge(guard.crew)

    # then
    assert said == [["database.refused"], [], []]
    assert guard.closed_by() is ClosedBy.MOVED
    assert await rig.posts() == []
    assert len(await recorded(rig)) == 1


@pytest.mark.parametrize("moved", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_a_worker_does_not_start_on_a_foreign_database(
    rig: Rig, guard: Guarded, database: DatabaseUrls, moved: str
) -> None:
    # given
    await rig.admin.execute(moved)
    acceptance = Acceptance(rig.clock.monotonic)

    # when, then
    with pytest.raises(fitness.StartUpRefusedError):
        await fitness.refuse_moved(lambda: alone(database.worker_url), OURS, acceptance)
    assert acceptance.refusal()


async def test_a_copy_on_the_same_server_is_foreign(
    rig: Rig, guard: Guarded, database: DatabaseUrls, postgres_server: str
) -> None:
    # given
    await guard.database.close()
    for crew in rig.crews:
        await crew.settler.stop()
    await rig.database.close()
    await rig.admin.close()
    copy = DatabaseUrls(f"{database.name}_copy", database.admin_url.replace(database.name, f"{database.name}_copy"))
    execute(postgres_server, f'CREATE DATABASE "{copy.name}" TEMPLATE "{database.name}"')

    # when, then
    with pytest.raises(fitness.StartUpRefusedError, match=r"a copy of one on the same server.*billing-worker adopt"):
        await fitness.refuse_moved(lambda: alone(copy.worker_url), OURS, Acceptance(rig.clock.monotonic))
    execute(postgres_server, f'DROP DATABASE "{copy.name}" WITH (FORCE)')


async def test_an_adopted_database_is_billed_from_again_and_looked_at_first(
    rig: Rig, guard: Guarded, database: DatabaseUrls
) -> None:
    # given
    await rig.owe()
    await rig.admin.execute(ELSEWHERE["another server"])
    await guard.watch(rig)

    # when
    async with alone(database.worker_url) as one:
        before = await deployment.read_deployment(one)
        await deployment.record_deployment(
            one,
            await deployment.see(one),
            OURS,
            after=before,
            look_first=True,
            actor="kim",
            reason="moved to a new server",
        )
    said = await guard.watch(rig)
    await rig.charge(guard.crew)

    # then
    assert (said, guard.closed_by()) == ([], None)
    assert await rig.posts() == []
    assert (await rig.attempt())["status"] == "open"


async def test_a_lost_last_line_closes_the_gate_until_it_is_mended(rig: Rig, guard: Guarded) -> None:
    # given
    await rig.owe()
    await rig.admin.execute("ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only")

    # when
    at_once = await guard.watch(rig)
    rig.clock.advance(seconds=LAST_LINES_SECONDS)
    said = [await guard.watch(rig) for _ in range(2)]
    closed, not_ready = guard.closed_by(), guard.sentry.not_ready()
    await rig.charge(guard.crew)
    unsent = await rig.posts()
    await rig.admin.execute("ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only")
    await guard.watch(rig)

    # then
    assert (at_once, said) == ([], [["schema.unguarded"], []])
    assert (closed, unsent, guard.closed_by()) == (ClosedBy.UNGUARDED, [], None)
    assert "ledger_append_only" in not_ready["schema"]


@pytest.mark.parametrize(
    ("revoked", "unsaid"),
    [
        ("pg_walfile_name(pg_lsn)", {"timeline", "wal_position"}),
        ("pg_current_wal_flush_lsn()", {"timeline", "wal_position"}),
        ("pg_control_system()", {"timeline", "wal_position", "system_identifier"}),
    ],
)
async def test_a_server_that_says_less_of_itself_is_worked_with_and_named(
    rig: Rig, database: DatabaseUrls, revoked: str, unsaid: set[str]
) -> None:
    # given
    await rig.admin.execute(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{revoked} FROM PUBLIC")

    # when
    async with guarded(rig, database) as guard:
        said = await guard.watch(rig)
        await rig.owe()
        await guard.database.look_again()
        await rig.charge(guard.crew)
        seen = guard.acceptance.accepted

    # then
    assert seen is not None
    assert {name for name in ("timeline", "wal_position", "system_identifier") if getattr(seen, name) is None} == unsaid
    assert said == ["database.unsaid"]
    assert len(await rig.posts()) == 1


async def test_the_worker_s_role_adds_a_row_and_changes_none(rig: Rig, guard: Guarded, database: DatabaseUrls) -> None:
    connection = await asyncpg.connect(database.worker_url)
    for statement in ("UPDATE billing.deployment SET timeline = 1", "DELETE FROM billing.deployment"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()
