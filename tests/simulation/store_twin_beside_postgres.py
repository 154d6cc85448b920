"""Postgres and its twin side by side: the same call to both, and the same tables afterwards.

One example is one transaction of Postgres that is rolled back at its end, each call a savepoint in it. Ids are compared
by what they stand for, since a statement may number its rows in any order; what the primary's clock has stamped is
compared to the half minute; hashes are not compared, for the twin has none.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from billing_worker.store import db
from billing_worker.store.db import Connection, Executor, RowRefusedError
from tests.simulation.store_twin import Snapshot, StoreTwin

T = TypeVar("T")
Row = dict[str, Any]
Pair = tuple[T, T]

WORKER = "t_worker"
_SEQUENCES = {
    "subscriptions": "subscriptions_subscription_id_seq",
    "cycles": "cycles_cycle_id_seq",
    "attempts": "attempts_attempt_id_seq",
    "outbox": "outbox_event_id_seq",
}
# What lets the worker's login put a sequence back, as a failover would. Rows go with the transaction.
GRANTS = (f"GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA billing TO {WORKER}",)

_TABLES = {
    "subscriptions": "SELECT * FROM billing.subscriptions",
    "cycles": "SELECT * FROM billing.cycles",
    "attempts": "SELECT * FROM billing.attempts",
    "ledger": "SELECT * FROM billing.ledger",
    "ledger_heads": "SELECT * FROM billing.ledger_heads",
    "outbox": "SELECT * FROM billing.outbox",
    "control": "SELECT * FROM billing.control",
    "deployment": "SELECT * FROM billing.deployment",
    "webhook_inbox": "SELECT * FROM billing.webhook_inbox",
}
_NOT_COMPARED = {"previous_hash", "entry_hash", "event_id"}
_CLOCKED = ("recorded_at", "created_at", "changed_at", "settled_at", "look_first_before")
_CLOCKS_APART_MAX = timedelta(seconds=30)
_NEXT_IDS = " UNION ALL ".join(
    f"SELECT '{table}' AS name, last_value + is_called::integer AS next_id FROM billing.{sequence}"
    for table, sequence in _SEQUENCES.items()
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A RowRefusedError as an answer."""

    text: str


class _PostgresSide:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._connection.savepoint():
            return await self._connection.fetch(name, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["_PostgresSide"]:
        """A part of the example's own."""
        yield self


class _TwinSide:
    def __init__(self, twin: StoreTwin) -> None:
        self._twin = twin

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        return self._twin.run(name, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["_TwinSide"]:
        """Nobody else asks meanwhile."""
        yield self


class _EndOfExampleError(Exception):
    """Rolls the transaction of an example back."""


class SideBySide:
    """One example: an empty Postgres and an empty twin. Call `end` after it."""

    def __init__(self, runner: asyncio.Runner, database: db.Database) -> None:
        self._runner = runner
        self._transaction: AbstractAsyncContextManager[Connection] = database.claims.transaction()
        connection = runner.run(self._transaction.__aenter__())
        self._raw = connection._connection
        self.twin = StoreTwin(primary_now=lambda: datetime.now(UTC), workers_role=WORKER)
        self._sides: tuple[Executor, Executor] = (_PostgresSide(connection), _TwinSide(self.twin))
        self._moments: list[tuple[str, dict[str, int], Snapshot]] = []
        runner.run(self._number_from(dict.fromkeys(_SEQUENCES, 1)))

    def end(self) -> None:
        """Roll back."""
        error = _EndOfExampleError()
        assert not self._runner.run(self._transaction.__aexit__(_EndOfExampleError, error, None))

    def ask(
        self, call: Callable[[Executor, int], Awaitable[T]], *, normal: Callable[[T], object] = lambda answer: answer
    ) -> Pair[T] | None:
        """Make the call on both sides and compare the answers; None where both refuse it.

        The call gets the side's number, 0 or 1, with which it takes its own of what either side has given out before.
        """
        answers = [self._runner.run(_answer(call, side, number)) for number, side in enumerate(self._sides)]
        of_postgres, of_twin = answers
        if isinstance(of_postgres, Refusal) or isinstance(of_twin, Refusal):
            assert of_postgres == of_twin
            self._put_in_step()
            return None
        assert normal(of_postgres) == normal(of_twin)
        return of_postgres, of_twin

    def remember(self) -> None:
        """Keep this moment, to come back to it."""
        name = f"moment_{len(self._moments)}"
        next_ids = self._runner.run(self._next_ids())
        self._runner.run(self._raw.execute(f"SAVEPOINT {name}"))
        self._moments.append((name, next_ids, self.twin.snapshot()))

    def moments(self) -> int:
        """How many moments are kept."""
        return len(self._moments)

    def come_back(self, number: int) -> None:
        """Be as at that moment, sequences included. The later ones are forgotten."""
        del self._moments[number + 1 :]
        name, next_ids, snapshot = self._moments[number]
        self._runner.run(self._raw.execute(f"ROLLBACK TO SAVEPOINT {name}"))
        self._runner.run(self._number_from(next_ids))
        self.twin.restore(snapshot)

    def compare_tables(self) -> None:
        """Every row of every table, and the next number of each."""
        rows, next_ids = self._runner.run(self._read())
        of_postgres = _by_meaning({name: [dict(row) for row in table] for name, table in rows.items()})
        of_twin = _by_meaning({name: self.twin.table(name) for name in _TABLES})
        for name in _TABLES:
            ours, theirs = of_postgres[name], of_twin[name]
            assert [meaning for meaning, _ in ours] == [meaning for meaning, _ in theirs], name
            for (meaning, stamped), (_, stamped_by_twin) in zip(ours, theirs, strict=True):
                for one, other in zip(stamped, stamped_by_twin, strict=True):
                    assert one == other or abs(one - other) < _CLOCKS_APART_MAX, (name, meaning, one, other)
        assert next_ids == self.twin.next_ids()

    def _put_in_step(self) -> None:
        """A refused statement has used up as many numbers as it had come to, and it may take its rows in any order."""
        of_postgres, of_twin = self._runner.run(self._next_ids()), self.twin.next_ids()
        next_ids = {table: max(next_id, of_twin[table]) for table, next_id in of_postgres.items()}
        self._runner.run(self._number_from(next_ids))
        self.twin.number_from(next_ids)

    async def _number_from(self, next_ids: dict[str, int]) -> None:
        for table, next_id in next_ids.items():
            await self._raw.fetch(
                "SELECT setval($1::text::regclass, $2, false)", f"billing.{_SEQUENCES[table]}", next_id
            )

    async def _next_ids(self) -> dict[str, int]:
        return {row["name"]: row["next_id"] for row in await self._raw.fetch(_NEXT_IDS)}

    async def _read(self) -> tuple[dict[str, list[asyncpg.Record]], dict[str, int]]:
        return {name: await self._raw.fetch(query) for name, query in _TABLES.items()}, await self._next_ids()


async def _answer(call: Callable[[Executor, int], Awaitable[T]], side: Executor, number: int) -> T | Refusal:
    try:
        return await call(side, number)
    except RowRefusedError as error:
        return Refusal(str(error))


def _by_meaning(tables: dict[str, list[Row]]) -> dict[str, list[tuple[Row, list[Any]]]]:
    names: dict[str, dict[int, str]] = {
        "subscription_id": {row["subscription_id"]: row["business_key"] for row in tables["subscriptions"]},
        "cycle_id": {row["cycle_id"]: row["payment_id"] for row in tables["cycles"]},
        "attempt_id": {row["attempt_id"]: row["idempotency_key"] for row in tables["attempts"]},
    }
    return {name: sorted((_meaning(row, names) for row in rows), key=_order(name)) for name, rows in tables.items()}


def _meaning(row: Row, names: dict[str, dict[int, str]]) -> tuple[Row, list[Any]]:
    meaning = {column: value for column, value in row.items() if column not in _NOT_COMPARED}
    for column, known in names.items():
        if meaning.get(column) is not None:
            meaning[column] = known[meaning[column]]
    if "payload" in meaning:
        meaning["payload"] = json.dumps(json.loads(meaning["payload"]), sort_keys=True)
    return meaning, [meaning.pop(column) for column in _CLOCKED if column in meaning]


def _order(name: str) -> Callable[[tuple[Row, list[Any]]], Any]:
    columns = {
        "subscriptions": ("business_key",),
        "cycles": ("payment_id",),
        "attempts": ("idempotency_key",),
        "ledger": ("subscription_id", "sequence"),
        "ledger_heads": ("subscription_id",),
        "outbox": ("subscription_id", "event_type", "payload"),
        "control": ("name",),
        "deployment": ("version",),
        "webhook_inbox": ("webhook_id",),
    }[name]
    return lambda one: tuple(one[0][column] for column in columns)
