"""Migrations on a server: each applied once whoever runs them, none edited, and no superuser needed."""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import asyncpg
import pytest

from billing_worker.store import migrate
from billing_worker.store.migrate import Migration, MigrationError, apply_migrations, pending_migrations, roles_sql
from tests.conftest import LOGIN_PASSWORD, EmbeddedPostgres, changed_url, chosen_binaries, execute, fetch_value

NAMES = [migration.name for migration in migrate.read_migrations()]
_numbers = itertools.count(1)


@pytest.fixture
def empty_database(postgres_server: str) -> Iterator[str]:
    """The DSN of a database without a schema."""
    name = f"billing_empty_{secrets.token_hex(4)}_{next(_numbers)}"
    execute(postgres_server, f'CREATE DATABASE "{name}"')
    yield changed_url(postgres_server, database=name)
    execute(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True, slots=True)
class BareServer:
    """A server that has never heard of billing, and an ordinary user who owns a database on it."""

    admin_url: str
    owner_url: str


@pytest.fixture
def bare_server() -> Iterator[Callable[[str], BareServer]]:
    """A server without our roles; its user app has the attributes that the test asks for."""
    with EmbeddedPostgres(durable=False, binaries=chosen_binaries()) as server:

        def with_user(attributes: str) -> BareServer:
            execute(
                server.url(),
                f"CREATE ROLE app LOGIN PASSWORD '{LOGIN_PASSWORD}' {attributes}",
                "CREATE DATABASE shop OWNER app",
            )
            admin_url = server.url(database="shop")
            return BareServer(admin_url, changed_url(admin_url, user="app", password=LOGIN_PASSWORD))

        yield with_user


def with_one_more(sql: str) -> list[Migration]:
    """Our migrations and another one after them."""
    ours = migrate.read_migrations()
    return [*ours, Migration(len(ours) + 1, f"{len(ours) + 1:04d}_more", sql)]


async def test_an_empty_database_is_brought_up_to_date_once(empty_database: str) -> None:
    # given
    pending = await pending_migrations(empty_database)

    # when
    applied = await apply_migrations(empty_database)
    again = await apply_migrations(empty_database)

    # then
    assert pending == applied == NAMES
    assert again == await pending_migrations(empty_database) == []


async def test_four_migrators_at_once_apply_everything_once(empty_database: str) -> None:
    applied = await asyncio.gather(*(apply_migrations(empty_database) for _ in range(4)))

    assert sorted(applied, key=len) == [[], [], [], NAMES]
    assert fetch_value(empty_database, "SELECT count(*) FROM billing.schema_migrations") == len(NAMES)


async def test_a_file_that_was_edited_after_it_was_applied_is_refused(empty_database: str) -> None:
    # given
    ours = with_one_more("CREATE TABLE billing.more (n integer);")
    await apply_migrations(empty_database, migrations=ours[:-1])
    edited = [replace(ours[0], sql=ours[0].sql + "\n-- a comment"), *ours[1:]]

    # when, then
    with pytest.raises(MigrationError, match=r"0001_tables was edited"):
        await apply_migrations(empty_database, migrations=edited)
    assert fetch_value(empty_database, "SELECT to_regclass('billing.more')::text") is None


async def test_a_database_of_a_newer_program_is_refused(empty_database: str) -> None:
    # given
    await apply_migrations(empty_database, migrations=with_one_more("CREATE TABLE billing.more (n integer);"))

    # when, then
    with pytest.raises(MigrationError, match=rf"lacks \(\[{len(NAMES) + 1}\]\)"):
        await apply_migrations(empty_database)
    with pytest.raises(MigrationError, match="lacks"):
        await pending_migrations(empty_database)


async def test_a_migration_that_fails_leaves_nothing_of_itself_behind(empty_database: str) -> None:
    # given
    broken = with_one_more("CREATE TABLE billing.more (n integer); SELECT 1 / 0;")

    # when
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply_migrations(empty_database, migrations=broken)

    # then
    assert fetch_value(empty_database, "SELECT to_regclass('billing.more')::text") is None
    assert fetch_value(empty_database, "SELECT max(version) FROM billing.schema_migrations") == len(NAMES)


async def test_a_migration_that_says_so_runs_outside_a_transaction(empty_database: str) -> None:
    # given
    index = (
        "-- migrate: no-transaction\n-- Why: a test.\nCREATE INDEX CONCURRENTLY more ON billing.cycles (order_name);"
    )

    # when
    applied = await apply_migrations(empty_database, migrations=with_one_more(index))

    # then
    assert applied[-1] == f"{len(NAMES) + 1:04d}_more"
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'billing.more'::regclass"
    assert fetch_value(empty_database, valid) is True


async def test_two_migrators_that_build_an_index_concurrently_do_not_wait_for_each_other_for_ever(
    empty_database: str,
) -> None:
    # given
    index = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY more ON billing.cycles (order_name);"
    migrations = with_one_more(index)
    await apply_migrations(empty_database)

    # when
    applied = await asyncio.gather(*(apply_migrations(empty_database, migrations=migrations) for _ in range(3)))

    # then
    assert sorted(applied, key=len) == [[], [], [f"{len(NAMES) + 1:04d}_more"]]


async def test_a_lock_that_somebody_keeps_ends_in_words_and_not_in_waiting(empty_database: str) -> None:
    # given
    keeper = await asyncpg.connect(empty_database)
    await keeper.execute("SELECT pg_advisory_lock($1::bigint)".replace("$1", str(migrate.LOCK_KEY)))

    # when, then
    try:
        with pytest.raises(MigrationError, match="another migrator holds the lock"):
            await apply_migrations(empty_database, lock_wait_seconds=0.3)
    finally:
        await keeper.close()
    assert fetch_value(empty_database, "SELECT to_regnamespace('billing')::text") is None


async def test_a_migration_steps_back_from_a_table_that_is_in_use(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(migrate, "STATEMENT_LOCK_TIMEOUT", "200ms")
    await apply_migrations(empty_database)
    reader = await asyncpg.connect(empty_database)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT * FROM billing.cycles")

    # when, then
    try:
        with pytest.raises(asyncpg.LockNotAvailableError):
            await apply_migrations(
                empty_database, migrations=with_one_more("ALTER TABLE billing.cycles ADD COLUMN more text;")
            )
    finally:
        await transaction.rollback()
        await reader.close()


def test_files_with_a_number_too_many_or_too_few_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    # given
    directory = tmp_path_factory.mktemp("migrations")
    paths = [directory / name for name in ("0001_a.sql", "0003_c.sql")]
    for path in paths:
        path.write_text("SELECT 1;")

    # when, then
    with pytest.raises(MigrationError, match="without gap"):
        migrate.read_migrations(paths)


async def test_a_user_who_may_create_roles_needs_no_superuser(bare_server: Callable[[str], BareServer]) -> None:
    # given
    server = bare_server("CREATEROLE")

    # when
    applied = await apply_migrations(server.owner_url)
    again = await apply_migrations(server.owner_url)

    # then
    assert applied == NAMES
    assert again == []
    owner = "SELECT tableowner FROM pg_tables WHERE schemaname = 'billing' AND tablename = 'ledger'"
    assert fetch_value(server.admin_url, owner) == "billing_owner"


async def test_a_user_who_may_not_create_roles_is_told_what_a_dba_has_to_do(
    bare_server: Callable[[str], BareServer],
) -> None:
    # given
    server = bare_server("")

    # when
    with pytest.raises(MigrationError, match="--print-roles"):
        await apply_migrations(server.owner_url)
    execute(server.admin_url, roles_sql("app"))

    # then
    assert await apply_migrations(server.owner_url) == NAMES
    assert await apply_migrations(server.owner_url) == []


async def test_the_printed_roles_can_be_run_again(bare_server: Callable[[str], BareServer]) -> None:
    server = bare_server("")

    execute(server.admin_url, roles_sql("app"), roles_sql("app"))

    assert await apply_migrations(server.owner_url) == NAMES


async def test_a_migrator_of_its_own_can_follow_the_first_one(bare_server: Callable[[str], BareServer]) -> None:
    # given
    server = bare_server("CREATEROLE")
    await apply_migrations(server.owner_url)
    execute(server.admin_url, f"CREATE ROLE second LOGIN PASSWORD '{LOGIN_PASSWORD}' IN ROLE billing_migrator")
    second_url = changed_url(server.admin_url, user="second", password=LOGIN_PASSWORD)

    # when
    applied = await apply_migrations(second_url, migrations=with_one_more("CREATE TABLE billing.more (n integer);"))

    # then
    assert applied == [f"{len(NAMES) + 1:04d}_more"]
    assert fetch_value(server.admin_url, "SELECT tableowner FROM pg_tables WHERE tablename = 'more'") == "billing_owner"
