"""Roles: what the worker and the auditor may do, and that nobody, the owner included, changes a ledger row."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from billing_worker.store import control, db, migrate
from billing_worker.store.db import PoolLimits
from billing_worker.workers import fitness
from billing_worker.workers.fitness import StartUpRefusedError
from tests.conftest import LOGIN_PASSWORD, DatabaseUrls, OwnServer, changed_url, execute
from tests.rig import Rig, a_rig

CHANGES = [
    "UPDATE billing.ledger SET amount_minor = 1",
    "UPDATE billing.ledger SET amount_minor = 1 WHERE false",
    "DELETE FROM billing.ledger",
    "TRUNCATE billing.ledger",
]
HEAD_CHANGES = [
    "UPDATE billing.ledger_heads SET sequence = 0",
    "DELETE FROM billing.ledger_heads",
    "TRUNCATE billing.ledger_heads",
    "INSERT INTO billing.ledger_heads VALUES (0, 99, 0, '')",
]


@pytest.fixture
async def rig(database: DatabaseUrls) -> AsyncIterator[Rig]:
    async with a_rig(database) as made:
        await made.owe()
        await made.charge()
        yield made


async def refusals(url: str, *statements: str, first: str = "SELECT 1") -> dict[str, str]:
    """With what words each statement is refused to that user; one that is not refused is not in it."""
    connection = await asyncpg.connect(url)
    words = {}
    try:
        await connection.execute(first)
        for statement in statements:
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError as error:
                words[statement] = str(error)
    finally:
        await connection.close()
    return words


async def test_the_worker_cannot_change_what_it_has_entered(rig: Rig, database: DatabaseUrls) -> None:
    statements = [*CHANGES, *HEAD_CHANGES]

    words = await refusals(database.worker_url, *statements)

    assert [statement for statement in statements if "permission denied" not in words[statement]] == []
    assert await rig.kinds() == ["intent", "paid"]


@pytest.mark.parametrize("who", ["owner", "a superuser", "a superuser who plays a replica"])
async def test_nobody_changes_a_ledger_row_whatever_his_rights(rig: Rig, database: DatabaseUrls, who: str) -> None:
    # given
    url = database.owner_url if who == "owner" else database.admin_url
    first = {
        "owner": "SET ROLE billing_owner",
        "a superuser who plays a replica": "SET session_replication_role = replica",
    }.get(who, "SELECT 1")

    # when
    words = await refusals(url, *CHANGES, first=first)

    # then
    assert [statement for statement in CHANGES if "append-only" not in words[statement]] == []
    assert await rig.kinds() == ["intent", "paid"]


async def test_a_replica_s_insert_is_chained_like_any_other(rig: Rig, database: DatabaseUrls) -> None:
    # given
    statement = """
        SET session_replication_role = replica;
        INSERT INTO billing.ledger (shard, subscription_id, sequence, kind, source, recorded_at, previous_hash,
                                    entry_hash)
        SELECT shard, subscription_id, 99, 'operator', 'operator', now(), 'forged', 'forged' FROM billing.subscriptions
    """

    # when
    execute(database.admin_url, statement)

    # then
    last = (await rig.entries())[-1]
    row = await rig.admin.fetchrow("SELECT * FROM billing.ledger WHERE sequence = $1", last["sequence"])
    assert last["sequence"] == 3
    assert row["entry_hash"] != b"forged"
    assert row["previous_hash"] != b"forged"


async def test_the_worker_may_do_nothing_beyond_its_work(rig: Rig, database: DatabaseUrls) -> None:
    # given
    forged = (
        "CREATE OR REPLACE FUNCTION billing.chain_entry() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    statements = [
        "DELETE FROM billing.subscriptions",
        "DELETE FROM billing.cycles",
        "DELETE FROM billing.attempts",
        "DELETE FROM billing.outbox",
        "UPDATE billing.subscriptions SET anchor_on = '2020-01-01'",
        "UPDATE billing.subscriptions SET business_key = 'x'",
        "UPDATE billing.schema_migrations SET sha256 = ''",
        "ALTER TABLE billing.ledger DISABLE TRIGGER ALL",
        "DROP TRIGGER ledger_append_only ON billing.ledger",
        "CREATE TABLE billing.more (n integer)",
        "SET ROLE billing_owner",
        "SET ROLE billing_migrator",
        "SET session_replication_role = replica",
        forged,
    ]

    # when
    words = await refusals(database.worker_url, *statements)

    # then
    assert [statement for statement in statements if statement not in words] == []


# What a payment is. Whoever could change it could make an entry disagree with what was charged.
FOREVER = {
    "cycles": [
        "shard", "subscription_id", "cycle_number", "period_start_on", "period_end_on", "due_at",
        "currency", "mode", "store_id", "payment_id", "correction_number", "created_at",
    ],
    "attempts": [
        "shard", "cycle_id", "subscription_id", "attempt_number", "payment_id", "idempotency_key",
        "amount_minor", "currency", "request_sha256", "opened_at", "worker", "time_to_pay",
    ],
}  # fmt: skip


async def test_the_worker_cannot_change_what_a_payment_is(rig: Rig, database: DatabaseUrls) -> None:
    # given
    statements = [
        f"UPDATE billing.{table} SET {column} = {column}" for table, columns in FOREVER.items() for column in columns
    ]

    # when
    words = await refusals(database.worker_url, *statements)

    # then
    assert [statement for statement in statements if "permission denied" not in words.get(statement, "")] == []


VIEWS = [
    "subscription_list", "cycle_list", "attempt_list", "due_now", "open_attempts", "past_due", "exceptions",
    "ledger_entries", "collected_by_day", "last_day", "double_entries", "ledger", "ledger_heads", "control", "outbox",
    "schema_migrations", "schedules", "differences", "differences_open", "positions",
]  # fmt: skip


async def test_the_auditor_reads_the_ledger_and_every_view_and_no_billing_key(rig: Rig, database: DatabaseUrls) -> None:
    # given
    views = await rig.admin.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'billing'")
    connection = await asyncpg.connect(database.auditor_url)

    # when
    rows = [row for relation in VIEWS for row in await connection.fetch(f"SELECT * FROM billing.{relation}")]
    await connection.close()

    # then
    assert {row["viewname"] for row in views} <= set(VIEWS)
    assert len(rows) > 10
    assert [row for row in rows if "bk-ok-1" in str(tuple(row))] == []
    assert [row for row in rows if "billing_key" in row or "request_body" in row] == []


async def test_the_auditor_sees_no_billing_key_and_writes_nothing(rig: Rig, database: DatabaseUrls) -> None:
    # given
    statements = [
        "SELECT billing_key FROM billing.subscriptions",
        "SELECT count(*) FROM billing.subscriptions",
        "SELECT request_body FROM billing.attempts",
        "SELECT * FROM billing.cycles",
        "INSERT INTO billing.control VALUES ('sending', 'halted', '', '')",
        "UPDATE billing.control SET value = 'on'",
        "INSERT INTO billing.ledger SELECT * FROM billing.ledger",
        "DELETE FROM billing.outbox",
        "CREATE TABLE billing.more (n integer)",
        *CHANGES,
        *HEAD_CHANGES,
    ]

    # when
    words = await refusals(database.auditor_url, *statements)

    # then
    assert [statement for statement in statements if statement not in words] == []


async def test_nobody_else_sees_anything(rig: Rig, database: DatabaseUrls, postgres_server: str) -> None:
    # given
    execute(
        postgres_server,
        f"DO $$ BEGIN CREATE ROLE t_nobody LOGIN PASSWORD '{LOGIN_PASSWORD}'; EXCEPTION WHEN duplicate_object THEN "
        "RAISE NOTICE 'there'; END $$",
    )
    statements = [f"SELECT * FROM billing.{relation}" for relation in VIEWS]

    # when
    words = await refusals(changed_url(database.admin_url, user="t_nobody", password=LOGIN_PASSWORD), *statements)

    # then
    assert len(words) == len(statements)


# --- start-up refuses a role that could change the ledger -----------------------------------------------------------


@pytest.fixture
async def worker(database: DatabaseUrls) -> AsyncIterator[db.Database]:
    pools = await db.connect(database.worker_url, PoolLimits(), application_name="test")
    yield pools
    await pools.close()


async def test_the_worker_s_role_has_no_right_too_many(worker: db.Database) -> None:
    assert await control.excess_rights(worker.claims) == []


@pytest.mark.parametrize(
    ("grant", "right", "remedy"),
    [
        ("GRANT UPDATE ON billing.ledger TO billing_worker", "UPDATE on billing.ledger", "REVOKE UPDATE"),
        ("GRANT UPDATE (message) ON billing.ledger TO billing_worker", "UPDATE on billing.ledger", "REVOKE UPDATE"),
        ("GRANT DELETE ON billing.ledger TO billing_worker", "DELETE on billing.ledger", "REVOKE DELETE"),
        ("GRANT TRUNCATE ON billing.ledger TO t_worker", "TRUNCATE on billing.ledger", "REVOKE TRUNCATE"),
        ("GRANT TRIGGER ON billing.ledger TO PUBLIC", "TRIGGER on billing.ledger", "REVOKE TRIGGER"),
        ("GRANT INSERT ON billing.ledger_heads TO billing_worker", "a change to billing.ledger_heads", "REVOKE INSERT"),
        ("GRANT UPDATE ON billing.ledger_heads TO t_worker", "a change to billing.ledger_heads", "REVOKE INSERT"),
    ],
)
async def test_a_right_too_many_is_named_with_its_remedy(
    worker: db.Database, database: DatabaseUrls, grant: str, right: str, remedy: str
) -> None:
    # given
    execute(database.admin_url, grant)

    # when
    [(name, cure)] = await control.excess_rights(worker.claims)

    # then
    assert name == right
    assert cure.startswith(remedy)


async def rights_of(url: str) -> list[str]:
    pools = await db.connect(url, PoolLimits(), application_name="test")
    try:
        return [right for right, _ in await control.excess_rights(pools.claims)]
    finally:
        await pools.close()


async def test_a_superuser_an_owner_and_a_migrator_have_too_many_rights(database: DatabaseUrls) -> None:
    superuser, owner, migrator = [
        await rights_of(url) for url in (database.admin_url, database.owner_url, database.migrator_url)
    ]

    assert "superuser" in superuser
    assert "membership in billing_owner" in owner
    assert "membership in billing_owner" in migrator


@pytest.mark.parametrize("attribute", ["REPLICATION", "CREATEROLE"])
async def test_an_attribute_that_leads_around_the_rights_is_named(own_server: OwnServer, attribute: str) -> None:
    # given
    execute(
        own_server.database.admin_url,
        f"CREATE ROLE strong LOGIN PASSWORD '{LOGIN_PASSWORD}' {attribute} IN ROLE billing_worker",
    )

    # when
    url = changed_url(own_server.database.admin_url, user="strong", password=LOGIN_PASSWORD)

    # then
    assert await rights_of(url) == [attribute]


async def test_a_right_that_a_role_could_take_on_is_found_too(own_server: OwnServer) -> None:
    """A user that inherits nothing may still SET ROLE."""
    # given
    execute(
        own_server.database.admin_url,
        "CREATE ROLE mighty NOLOGIN",
        "GRANT DELETE ON billing.ledger TO mighty",
        f"CREATE ROLE sly LOGIN NOINHERIT PASSWORD '{LOGIN_PASSWORD}' IN ROLE mighty",
        "GRANT USAGE ON SCHEMA billing TO sly",
    )

    # when
    rights = await rights_of(changed_url(own_server.database.admin_url, user="sly", password=LOGIN_PASSWORD))

    # then
    assert rights == ["DELETE on billing.ledger"]


async def test_the_daemon_starts_as_the_worker_on_a_server_that_keeps_its_promises(own_server: OwnServer) -> None:
    pools = await db.connect(own_server.database.worker_url, PoolLimits(), application_name="test")

    await fitness.refuse_unfit(pools, "store-test")

    await pools.close()


async def test_the_daemon_refuses_to_start_with_a_right_too_many(own_server: OwnServer) -> None:
    # given
    execute(own_server.database.admin_url, "GRANT UPDATE ON billing.ledger TO t_worker")
    pools = await db.connect(own_server.database.worker_url, PoolLimits(), application_name="test")

    # when, then
    with pytest.raises(StartUpRefusedError, match=r"UPDATE on billing\.ledger.*REVOKE UPDATE") as caught:
        await fitness.refuse_unfit(pools, "store-test")
    assert "t_worker" in str(caught.value)
    await pools.close()


async def test_the_daemon_refuses_a_server_that_may_lose_an_acknowledged_commit(database: DatabaseUrls) -> None:
    # given
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" SET synchronous_commit = off')
    pools = await db.connect(database.worker_url, PoolLimits(), application_name="test")

    # when, then
    with pytest.raises(StartUpRefusedError, match="synchronous_commit is off"):
        await fitness.refuse_unfit(pools, "store-test")
    await pools.close()


async def test_the_daemon_refuses_a_schema_of_another_version_and_one_that_is_not_there(
    database: DatabaseUrls, postgres_server: str
) -> None:
    # given
    newest = migrate.newest_version()
    execute(database.admin_url, f"DELETE FROM billing.schema_migrations WHERE version = {newest}")
    old = await db.connect(database.worker_url, PoolLimits(), application_name="test")
    none = await db.connect(postgres_server, PoolLimits(), application_name="test")

    # when, then
    with pytest.raises(StartUpRefusedError, match=f"the schema is at {newest - 1}, this program wants {newest}"):
        await fitness.refuse_unfit(old, "store-test")
    with pytest.raises(StartUpRefusedError, match="run billing-worker migrate"):
        await fitness.refuse_unfit(none, "store-test")
    await old.close()
    await none.close()
