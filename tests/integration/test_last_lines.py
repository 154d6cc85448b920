"""The schema's last lines: each index and trigger that is gone, disabled or another one is named with its remedy."""

from typing import Any

import pytest

from billing_worker.store import control
from billing_worker.store.db import Database
from billing_worker.store.last_lines import TRIGGERS, UNIQUE_INDEXES, missing_last_lines, trigger_table
from billing_worker.workers import fitness
from tests.conftest import DatabaseUrls, OwnServer, execute
from tests.rig import a_database


async def drop_index(admin: Any, name: str) -> None:
    """Drop it, with the constraint that it may belong to."""
    table = UNIQUE_INDEXES[name].split(" ", maxsplit=1)[0]
    if await admin.fetchval("SELECT count(*) FROM pg_constraint WHERE conname = $1 AND contype IN ('p', 'u')", name):
        await admin.execute(f"ALTER TABLE billing.{table} DROP CONSTRAINT {name} CASCADE")
    else:
        await admin.execute(f"DROP INDEX billing.{name}")


async def test_the_list_is_the_schema_s_own(admin: Any, worker: Database) -> None:
    unique = await admin.fetch(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relnamespace = 'billing'::regnamespace AND i.indisunique"
    )
    triggers = await admin.fetch(
        "SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE c.relnamespace = 'billing'::regnamespace AND NOT tgisinternal"
    )

    assert {row["relname"] for row in unique} == set(UNIQUE_INDEXES)
    assert {row["tgname"] for row in triggers} == set(TRIGGERS)
    assert await missing_last_lines(worker.claims) == []


@pytest.mark.parametrize("name", UNIQUE_INDEXES)
async def test_a_dropped_index_is_named_and_its_remedy_mends_it(admin: Any, worker: Database, name: str) -> None:
    # given
    await drop_index(admin, name)

    # when
    [fault] = await missing_last_lines(worker.claims)
    await admin.execute(fault.partition(": ")[2])
    mended = await missing_last_lines(worker.claims)

    # then
    assert f"index {name} is missing" in fault
    assert mended == []


@pytest.mark.parametrize(
    "other",
    [
        "CREATE INDEX ledger_one_paid ON billing.ledger (shard, cycle_id) WHERE kind = 'paid'",
        "CREATE UNIQUE INDEX ledger_one_paid ON billing.ledger (shard, cycle_id, sequence) WHERE kind = 'paid'",
        "CREATE UNIQUE INDEX ledger_one_paid ON billing.ledger (shard, cycle_id) WHERE kind = 'corrected'",
    ],
)
async def test_an_index_that_keeps_out_something_else_is_named(admin: Any, worker: Database, other: str) -> None:
    # given
    await admin.execute("DROP INDEX billing.ledger_one_paid")
    await admin.execute(other)

    # when
    [fault] = await missing_last_lines(worker.claims)

    # then
    assert "ledger_one_paid is another one" in fault


async def test_how_an_index_is_stored_is_nobody_s_business(admin: Any, worker: Database) -> None:
    # given
    for name in UNIQUE_INDEXES:
        await admin.execute(f"ALTER INDEX billing.{name} SET (fillfactor = 70, deduplicate_items = off)")

    # when
    faults = await missing_last_lines(worker.claims)

    # then
    assert faults == []


async def test_an_index_that_only_reads_like_the_wanted_one_is_named(admin: Any, worker: Database) -> None:
    # given
    await admin.execute("DROP INDEX billing.ledger_one_paid")
    await admin.execute(
        "CREATE UNIQUE INDEX ledger_one_paid ON billing.ledger (shard, cycle_id) WHERE kind = 'paid WITH (x)'"
    )

    # when
    [fault] = await missing_last_lines(worker.claims)

    # then
    assert "ledger_one_paid is another one" in fault


@pytest.mark.parametrize("flag", ["indisvalid", "indisready", "indimmediate"])
async def test_an_index_that_is_not_in_force_is_named(admin: Any, worker: Database, flag: str) -> None:
    # given
    await admin.execute(f"UPDATE pg_index SET {flag} = false WHERE indexrelid = 'billing.attempts_one_open'::regclass")

    # when
    faults = await missing_last_lines(worker.claims)

    # then
    assert faults == ["the unique index attempts_one_open is not valid: REINDEX INDEX billing.attempts_one_open"]


@pytest.mark.parametrize("name", TRIGGERS)
@pytest.mark.parametrize("state", ["DISABLE TRIGGER", "ENABLE TRIGGER", "ENABLE REPLICA TRIGGER"])
async def test_a_trigger_that_is_not_always_enabled_is_named_and_its_remedy_mends_it(
    admin: Any, worker: Database, name: str, state: str
) -> None:
    # given
    await admin.execute(f"ALTER TABLE billing.{trigger_table(name)} {state} {name}")

    # when
    [fault] = await missing_last_lines(worker.claims)
    await admin.execute(fault.partition(": ")[2])
    mended = await missing_last_lines(worker.claims)

    # then
    assert f"trigger {name} is not always enabled" in fault
    assert mended == []


@pytest.mark.parametrize("name", TRIGGERS)
async def test_a_dropped_trigger_is_named_and_its_remedy_mends_it(admin: Any, worker: Database, name: str) -> None:
    # given
    await admin.execute(f"DROP TRIGGER {name} ON billing.{trigger_table(name)}")

    # when
    [fault] = await missing_last_lines(worker.claims)
    await admin.execute(fault.partition(": ")[2])
    mended = await missing_last_lines(worker.claims)

    # then
    assert f"trigger {name} is missing" in fault
    assert mended == []


async def test_a_trigger_that_does_something_else_is_named(admin: Any, worker: Database) -> None:
    # given
    await admin.execute("DROP TRIGGER ledger_append_only ON billing.ledger")
    await admin.execute(
        "CREATE TRIGGER ledger_append_only BEFORE DELETE ON billing.ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change()"
    )

    # when
    [fault] = await missing_last_lines(worker.claims)

    # then
    assert "ledger_append_only is another one" in fault


async def test_the_daemon_refuses_to_start_without_one_of_them(own_server: OwnServer) -> None:
    # given
    execute(own_server.database.admin_url, "DROP INDEX billing.attempts_one_paid")
    async with a_database(own_server.database) as pools:
        # when, then
        with pytest.raises(fitness.StartUpRefusedError, match="attempts_one_paid is missing: CREATE UNIQUE INDEX"):
            await fitness.refuse_unfit(pools, "store-test")


async def test_real_payments_are_refused_on_a_server_that_forgets_in_a_crash(database: DatabaseUrls) -> None:
    async with a_database(database) as pools:
        facts = (await pools.claims.fetch("server_facts"))[0]
        practice = await control.unfit_server(pools.claims, facts["schema_version"])
        live = await control.unfit_server(pools.claims, facts["schema_version"], live=True)

    off = [name for name in ("fsync", "full_page_writes") if facts[name] == "off"]
    assert [fault.split(" ", maxsplit=1)[0] for fault in live if fault not in practice] == off
