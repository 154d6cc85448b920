"""The way to Postgres: two pools, the named queries, and one translation of everything that can go wrong.

Two pools, so that a verdict can always be written: claims never take the outcomes' connections. A failure around a
commit says nothing about whether it was applied; callers read again by a unique key and never assume. Nor is a commit
believed that came back with a warning: that is how Postgres reports one whose wait for a standby was cancelled.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import asyncpg

from billing_worker.store import files

# A claim of a thousand rows takes milliseconds; a connection that takes this long is a connection to a dead host.
CONNECT_SECONDS = 10.0
# No transaction of ours waits for anything but its next statement. Whoever is cut off in one would keep its locks, and
# with them the rows that others skip, until the network tells the server hours later.
IDLE_IN_TRANSACTION_SECONDS = 10.0
# Idle connections are renewed before a firewall forgets them.
IDLE_SECONDS = 240.0

# Classes of SQLSTATE after which the same statement may succeed later: connection, resources, operator intervention,
# system, serialisation and deadlock, lock not available, and a standby that was taken for a primary.
_PASSING_CLASSES = frozenset({"08", "40", "53", "55", "57", "58", "25"})

# Classes that are about the values of a row: a value out of range, a constraint.
_ROW_CLASSES = frozenset({"22", "23"})

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


class DatabaseGoneError(Exception):
    """Postgres did not answer, or not in time. Whether a commit was applied is unknown."""


class DatabaseMovedError(DatabaseGoneError):
    """A connection has led to a server or a database that nobody has accepted. Nothing ran there."""


class NoPrimaryError(DatabaseGoneError):
    """No server that answers takes writes."""


class RowRefusedError(Exception):
    """Postgres refused what we asked: a constraint, a value, a right. Nothing was applied."""


class StatementRefusedError(RowRefusedError):
    """Postgres refused the statement for any row: a right, an object or a login is missing until somebody mends it."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections each pool may hold, and how long one statement may take, in seconds."""

    claims_max: int = 4
    outcomes_max: int = 4
    command_seconds: float = 20.0


class Executor(Protocol):
    """What a query function needs: something that runs a named query."""

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """Run the named query and return its rows. Raises DatabaseGoneError or RowRefusedError."""


@cache
def queries() -> dict[str, str]:
    """Every query of sql/queries by its name."""
    found: dict[str, str] = {}
    for text in files.query_texts():
        for name, body in _NAMED.findall(text):
            assert name not in found, f"two queries are named {name}"
            found[name] = body.strip()
    return found


def translated(error: BaseException) -> DatabaseGoneError | RowRefusedError:
    """What a failure below us means to those above. The text names the kind of failure and never a value."""
    if isinstance(error, asyncpg.PostgresError):
        state = getattr(error, "sqlstate", None) or ""
        constraint = getattr(error, "constraint_name", None)
        named = f"{type(error).__name__} {state}" + (f" on {constraint}" if constraint else "")
        if state[:2] in _PASSING_CLASSES:
            return DatabaseGoneError(named)
        return RowRefusedError(named) if state[:2] in _ROW_CLASSES else StatementRefusedError(named)
    if isinstance(error, ValueError) and not isinstance(error, asyncpg.ClientConfigurationError):
        # asyncpg could not even send the value, and it will not be able to the next time either.
        return RowRefusedError(type(error).__name__)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return NoPrimaryError(
            "the server takes no writes, as a replica or by default_transaction_read_only: point BILLING_DATABASE_URL "
            "at the primary"
        )
    return DatabaseGoneError(type(error).__name__)


class _Heeding:
    """Listens to one connection for warnings, and takes what was done meanwhile for not acknowledged where one came.

    A commit whose wait for a synchronous standby is cancelled is reported as a success, with a warning of class 01.
    None of our statements warns otherwise. asyncpg schedules a listener when the warning arrives, which is before the
    answer to the statement, so it has run before whoever waits for that answer goes on.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._warnings: list[str] = []

    def __enter__(self) -> None:
        self._connection.add_log_listener(self._note)

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        self._connection.remove_log_listener(self._note)
        if kind is None and self._warnings:
            raise DatabaseGoneError(f"not acknowledged: the server warned with {self._warnings[0]}")

    def _note(self, _connection: Any, message: Any) -> None:
        if message.severity_en == "WARNING" and message.sqlstate[:2] == "01":
            self._warnings.append(message.sqlstate)


class Connection:
    """One connection inside a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """Run the named query inside the transaction."""
        rows: list[asyncpg.Record] = await self._connection.fetch(queries()[name], *arguments)
        return rows

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of the transaction that can be refused without the rest. Raises RowRefusedError."""
        with _translating():
            async with self._connection.transaction():
                yield


class Lone(Connection):
    """One connection of its own; each fetch is one statement and so one transaction."""

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """Run the named query in a transaction of its own."""
        with _translating(), _Heeding(self._connection):
            return await super().fetch(name, *arguments)


class Pool:
    """A bounded pool; each fetch is one statement and so one transaction."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """Run the named query in a transaction of its own."""
        with _translating():
            async with self._pool.acquire() as connection:
                with _Heeding(connection):
                    rows: list[asyncpg.Record] = await connection.fetch(queries()[name], *arguments)
                return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction that commits at the end of the block. Never hold one across a network call."""
        with _translating():
            async with self._pool.acquire() as connection:
                with _Heeding(connection):
                    async with connection.transaction():
                        yield Connection(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A read-only transaction whose queries all see one moment, however busily others write."""
        with _translating():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield Connection(connection)


class _translating:  # noqa: N801 - read as a word in a with statement
    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # InternalClientError is how a server that is no primary is turned down, and an answer that makes no sense.
        kinds = asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError
        if isinstance(error, kinds):
            raise translated(error) from None


def translating() -> AbstractContextManager[None]:
    """For what speaks to Postgres beside the pools: its errors become DatabaseGoneError or RowRefusedError."""
    return _translating()


class Database:
    """Both pools. Made by `connect`, closed by the daemon when nothing is in flight."""

    def __init__(self, claims: Any, outcomes: Any) -> None:
        self._pools = (claims, outcomes)
        self.claims = Pool(claims)
        self.outcomes = Pool(outcomes)

    async def look_again(self) -> None:
        """Replace every connection before its next use, each by one that is looked at."""
        for pool in self._pools:
            await pool.expire_connections()

    async def close(self) -> None:
        """Close both pools; connections that do not let go are cut."""
        for pool in self._pools:
            pool.terminate()


Admit = Callable[[Executor], Awaitable[None]]


async def connect(
    dsn: str, limits: PoolLimits, *, application_name: str, admit: Admit | None = None, replica_too: bool = False
) -> Database:
    """Open both pools. admit looks at each new connection before it runs anything, and raises where it must not.

    Several hosts in the DSN are tried in turn and only a primary is taken, or any that answers where a replica will do
    too. Raises DatabaseGoneError.
    """

    async def first_look(connection: Any) -> None:
        if admit is not None:
            await admit(Lone(connection))

    async def pool(size_max: int, suffix: str) -> Any:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size_max,
            timeout=CONNECT_SECONDS,
            command_timeout=limits.command_seconds,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            target_session_attrs="any" if replica_too else "read-write",
            init=first_look,
            reset=_nothing_to_reset,
            server_settings=_server_settings(f"{application_name} {suffix}"),
        )

    with _translating():
        claims = await pool(limits.claims_max, "claims")
        try:
            outcomes = await pool(limits.outcomes_max, "outcomes")
        except BaseException:
            claims.terminate()
            raise
    return Database(claims, outcomes)


@asynccontextmanager
async def alone(dsn: str, *, application_name: str, command_seconds: float) -> AsyncIterator[Lone]:
    """A new connection that nobody has looked at yet, to judge where it leads. Raises DatabaseGoneError."""
    with _translating():
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=command_seconds,
            target_session_attrs="read-write",
            server_settings=_server_settings(application_name),
        )
        try:
            yield Lone(connection)
            await connection.close(timeout=CONNECT_SECONDS)
        finally:
            connection.terminate()  # of one that is closed, nothing is left to end


def _server_settings(application_name: str) -> dict[str, str]:
    return {
        "application_name": application_name,
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS:.0f}s",
        "jit": "off",  # a claim is short; compiling it costs more than running it
        "search_path": "pg_catalog",
        # A role may be set to be spared warnings, and one of them takes an acknowledgement back.
        "client_min_messages": "warning",
        # Every statement here looks up a bounded batch by index. A plan made while a table was empty would scan
        # it, and the session would keep that plan while the table grows to millions.
        "enable_seqscan": "off",
        "random_page_cost": "1.1",
    }


async def _nothing_to_reset(_connection: Any) -> None:
    """Spare a round trip for each statement: nothing here sets anything for longer than its transaction."""


def columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    """Rows turned into the parallel arrays that unnest wants: one list a column, also when there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
