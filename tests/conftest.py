"""A Postgres for the tests: one server a session, migrated once, and a copy of its database for every test that asks.

BILLING_TEST_DATABASE_URL names another server instead: a superuser's DSN; databases of random names come and go there.
BILLING_TEST_POSTGRES_BIN names the directory of the binaries that the embedded server is started from.
"""

import asyncio
import itertools
import os
import secrets
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.store.migrate import apply_migrations

# The logins of the tests, each in one group role. A constant password: the embedded server listens on loopback, and
# on another server several sessions may make the same logins at the same time.
LOGINS = {
    "t_owner": "billing_owner",
    "t_migrator": "billing_migrator",
    "t_worker": "billing_worker",
    "t_auditor": "billing_auditor",
}
LOGIN_PASSWORD = "billing-tests"

_CREATE_LOGIN = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{login}') THEN
        CREATE ROLE {login} LOGIN PASSWORD '{password}' IN ROLE {group};
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    RAISE NOTICE 'another session made it';
END $$
"""

T = TypeVar("T")

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """One database, and its DSN for each kind of user."""

    name: str
    admin_url: str

    @property
    def owner_url(self) -> str:
        """A login that may act as the owner of every table: the strongest hand that tampers."""
        return self._url_of("t_owner")

    @property
    def migrator_url(self) -> str:
        """The login that migrates; no superuser."""
        return self._url_of("t_migrator")

    @property
    def worker_url(self) -> str:
        """What the daemon runs as."""
        return self._url_of("t_worker")

    @property
    def auditor_url(self) -> str:
        """Reads, and never a billing key."""
        return self._url_of("t_auditor")

    def _url_of(self, login: str) -> str:
        return changed_url(self.admin_url, user=login, password=LOGIN_PASSWORD)


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server that one test may kill, and its migrated database."""

    server: EmbeddedPostgres
    database: DatabaseUrls


def changed_url(url: str, *, database: str = "", user: str = "", password: str = "") -> str:
    """The DSN with another database, or as another user."""
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    if user:
        userinfo = f"{quote(user)}:{quote(password)}"
    return urlunsplit(
        parts._replace(netloc=f"{userinfo}@{hosts}", path=f"/{quote(database)}" if database else parts.path)
    )


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine on a loop and a thread of its own, so that the loop of the test is left alone."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


def execute(url: str, *statements: str) -> None:
    """Run each statement by itself."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=30)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    run_apart(run())


def fetch_value(url: str, query: str) -> object:
    """The one value that the query returns."""

    async def run() -> object:
        connection = await asyncpg.connect(url, timeout=30)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return run_apart(run())


def make_migrated_database(admin_url: str, name: str) -> DatabaseUrls:
    """A new database with the schema in it, and the test logins on its server."""
    execute(admin_url, f'CREATE DATABASE "{name}"')
    urls = DatabaseUrls(name=name, admin_url=changed_url(admin_url, database=name))
    run_apart(apply_migrations(urls.admin_url))
    logins = [
        _CREATE_LOGIN.format(login=login, password=LOGIN_PASSWORD, group=group) for login, group in LOGINS.items()
    ]
    execute(admin_url, *logins)
    return urls


def chosen_binaries() -> Path | None:
    """The binaries that the environment asks for."""
    chosen = os.environ.get("BILLING_TEST_POSTGRES_BIN")
    return Path(chosen) if chosen else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The DSN of a superuser on the server of this session, which forgets its rows in a crash; see own_server."""
    other = os.environ.get("BILLING_TEST_DATABASE_URL")
    if other:
        yield other
        return
    with EmbeddedPostgres(durable=False, binaries=chosen_binaries()) as server:
        yield server.url()


@pytest.fixture(scope="session")
def template_database(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database to copy. Nobody connects to it, or it could not be copied."""
    name = f"billing_template_{secrets.token_hex(4)}"
    make_migrated_database(postgres_server, name)
    execute(postgres_server, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
    yield name
    execute(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(postgres_server: str, template_database: str) -> Iterator[DatabaseUrls]:
    """A migrated and empty database of the test's own."""
    name = f"{template_database}_{next(_numbers)}"
    execute(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}" STRATEGY wal_log')
    yield DatabaseUrls(name=name, admin_url=changed_url(postgres_server, database=name))
    execute(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A durable embedded server of the test's own, to kill and restart, with a migrated database named billing."""
    with EmbeddedPostgres(durable=True, binaries=chosen_binaries()) as server:
        yield OwnServer(server=server, database=make_migrated_database(server.url(), "billing"))
