"""Migrations: numbered files, forward only, each applied once, none ever edited afterwards.

One migrator works at a time. The lock is polled and not waited for: a waiter inside pg_advisory_lock and a migrator
that creates an index concurrently would wait for each other.
"""

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from billing_worker.store import files
from billing_worker.store.db import CONNECT_SECONDS

ROLES = ("billing_owner", "billing_migrator", "billing_worker", "billing_auditor")
LOCK_KEY = 0x62_69_6C_6C  # "bill"; any fixed number does
LOCK_WAIT_SECONDS = 60.0
LOCK_POLL_SECONDS = 0.1
# A migration that cannot have its lock at once steps back, or every statement of the worker queues behind it.
STATEMENT_LOCK_TIMEOUT = "5s"

_NO_TRANSACTION = re.compile(r"\A--\s*migrate:\s*no-transaction\s*$", re.MULTILINE)

_BOOKS = """
CREATE TABLE IF NOT EXISTS billing.schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user,
    elapsed_ms integer NOT NULL
)
"""


class MigrationError(Exception):
    """Why nothing was migrated, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of sql/migrations."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The file's fingerprint, by which an edit is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(paths: list[Path] | None = None) -> list[Migration]:
    """The files in order. Raises MigrationError where two carry one number or one is missing."""
    found = [
        Migration(int(path.name.split("_")[0]), path.stem, path.read_text(encoding="utf-8"))
        for path in (paths if paths is not None else files.migration_files())
    ]
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError("sql/migrations must be numbered 1, 2, 3 … without gap or repetition")
    return found


async def apply_migrations(
    dsn: str, *, migrations: list[Migration] | None = None, lock_wait_seconds: float = LOCK_WAIT_SECONDS
) -> list[str]:
    """Bring the database up to date and return the names of what was applied.

    Raises MigrationError or asyncpg's errors.
    """
    wanted = read_migrations() if migrations is None else migrations
    connection = await _connect(dsn)
    try:
        await _lock(connection, lock_wait_seconds)
        await _ensure_roles(connection)
        await connection.execute("SET ROLE billing_owner")
        # A copy of a database keeps the schema and loses the right to create one.
        if await connection.fetchval("SELECT to_regnamespace('billing') IS NULL"):
            await connection.execute("CREATE SCHEMA billing")
        await connection.execute(_BOOKS)
        return [m.name for m in await _pending(connection, wanted) if await _apply(connection, m)]
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def pending_migrations(dsn: str) -> list[str]:
    """What `apply_migrations` would apply; changes nothing."""
    connection = await _connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('billing.schema_migrations')") is None:
            return [migration.name for migration in read_migrations()]
        return [migration.name for migration in await _pending(connection, read_migrations())]
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


def newest_version() -> int:
    """The schema version that this program wants."""
    return read_migrations()[-1].version


def roles_sql(migrator: str = "billing_migrate_login") -> str:
    """The exact SQL for a DBA where the migrating user may not create roles."""
    return (
        files.roles_text()
        + "\n-- The user that runs `billing-worker migrate` (put its name here):\n"
        + f"GRANT billing_migrator TO {migrator};\n"
    )


async def _connect(dsn: str) -> Any:
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS,
        target_session_attrs="read-write",
        server_settings={
            "application_name": "billing-worker migrate",
            "lock_timeout": STATEMENT_LOCK_TIMEOUT,
            "client_min_messages": "warning",
        },
    )


async def _lock(connection: Any, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
        if time.monotonic() > deadline:
            raise MigrationError(
                "another migrator holds the lock; wait for it or end its session, then run migrate again"
            )
        await asyncio.sleep(LOCK_POLL_SECONDS)


async def _ensure_roles(connection: Any) -> None:
    if await _roles_suffice(connection):
        return
    try:
        await connection.execute(files.roles_text())
    except asyncpg.InsufficientPrivilegeError:
        raise MigrationError(
            "this user may neither create the roles nor act as billing_owner: "
            "give a DBA the output of `billing-worker migrate --print-roles`, then run migrate again"
        ) from None


async def _roles_suffice(connection: Any) -> bool:
    there = await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1::text[])", list(ROLES))
    if there < len(ROLES):
        return False
    # From PostgreSQL 16 on, a member of a role need not be one that may act as it.
    acting = "SET" if connection.get_server_version() >= (16,) else "MEMBER"
    return bool(
        await connection.fetchval(
            "SELECT pg_has_role(current_user, 'billing_owner', $1) AND (to_regnamespace('billing') IS NOT NULL "
            "OR has_database_privilege('billing_owner', current_database(), 'CREATE'))",
            acting,
        )
    )


async def _pending(connection: Any, wanted: list[Migration]) -> list[Migration]:
    applied = {row["version"]: row for row in await connection.fetch("SELECT * FROM billing.schema_migrations")}
    for migration in wanted:
        if migration.version in applied and applied[migration.version]["sha256"] != migration.sha256:
            raise MigrationError(
                f"{migration.name} was edited after it was applied: restore the file and put the change into a new one"
            )
    unknown = sorted(set(applied) - {migration.version for migration in wanted})
    if unknown:
        raise MigrationError(
            f"the database has migrations that this program lacks ({unknown}): "
            "install the program that made them, or a newer one"
        )
    return [migration for migration in wanted if migration.version not in applied]


async def _apply(connection: Any, migration: Migration) -> bool:
    started = time.perf_counter()
    if _NO_TRANSACTION.search(migration.sql):
        # One statement, such as CREATE INDEX CONCURRENTLY, that refuses to run inside a transaction.
        await connection.execute(migration.sql)
        await _book(connection, migration, started)
    else:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await _book(connection, migration, started)
    return True


async def _book(connection: Any, migration: Migration, started: float) -> None:
    await connection.execute(
        "INSERT INTO billing.schema_migrations (version, name, sha256, elapsed_ms) VALUES ($1, $2, $3, $4)",
        migration.version,
        migration.name,
        migration.sha256,
        int((time.perf_counter() - started) * 1000),
    )
