"""A twin of the database: our named queries, executed in memory with the semantics that Postgres gives them.

It decides nothing of its own and is never slow, gone or out of order; whoever wants faults puts them between it and the
store. test_store_twin.py holds it to Postgres, call by call. It knows the queries that workers and operators run, the
constraints that those can meet, and one session at a time: what SKIP LOCKED would step over is never locked here.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from tests.simulation import (
    store_twin_attempts,
    store_twin_cycles,
    store_twin_deployment,
    store_twin_inbox,
    store_twin_settling,
    store_twin_subscriptions,
)
from tests.simulation.store_twin_books import Books, Snapshot
from tests.simulation.store_twin_deployment import Server
from tests.simulation.store_twin_tables import Row

__all__ = ["Server", "Snapshot", "StoreTwin", "UnknownQueryError"]

_QUERIES: dict[str, Callable[..., list[Row]]] = {
    query.__name__: query
    for query in (
        store_twin_attempts.ask_again,
        store_twin_attempts.attempt_statuses,
        store_twin_attempts.claim_looks,
        store_twin_attempts.contradict_attempt,
        store_twin_attempts.hand_over_attempts,
        store_twin_attempts.look_soon,
        store_twin_attempts.note_booked,
        store_twin_attempts.note_resend,
        store_twin_attempts.open_attempts,
        store_twin_settling.settle_attempts,
        store_twin_attempts.shards_to_look,
        store_twin_attempts.verify_attempt,
        store_twin_cycles.accept_cycle,
        store_twin_cycles.backlog,
        store_twin_cycles.claim_due_cycles,
        store_twin_cycles.hold_cycle,
        store_twin_cycles.list_exceptions,
        store_twin_cycles.other_stores,
        store_twin_cycles.release_cycles,
        store_twin_cycles.retry_cycle,
        store_twin_cycles.set_aside_cycles,
        store_twin_cycles.shards_due,
        store_twin_cycles.skip_cycle,
        store_twin_deployment.has_cycles,
        store_twin_deployment.index_states,
        store_twin_deployment.read_deployment,
        store_twin_deployment.record_deployment,
        store_twin_deployment.trigger_states,
        store_twin_inbox.forget_hints,
        store_twin_inbox.keep_hints,
        store_twin_inbox.read_hints,
        store_twin_inbox.unread_hints,
        store_twin_subscriptions.add_subscriptions,
        store_twin_subscriptions.cancel_subscription,
        store_twin_subscriptions.change_subscriptions,
        store_twin_subscriptions.find_subscriptions,
        store_twin_subscriptions.hold_subscription,
        store_twin_subscriptions.lock_due_subscriptions,
        store_twin_subscriptions.lock_subscription,
        store_twin_subscriptions.open_cycles,
        store_twin_subscriptions.primary_clock,
        store_twin_subscriptions.read_control,
        store_twin_subscriptions.resume_subscription,
        store_twin_subscriptions.shards_to_renew,
        store_twin_subscriptions.write_control,
    )
}

_OF_THE_SERVER: dict[str, Callable[[Books, Server], list[Row]]] = {
    query.__name__: query
    for query in (
        store_twin_deployment.see_database,
        store_twin_deployment.see_database_alone,
        store_twin_deployment.see_database_without_wal,
        store_twin_deployment.server_facts,
    )
}


class UnknownQueryError(Exception):
    """The twin has no such query; store_twin.py lists those that it has."""


class StoreTwin:
    """One primary. primary_now is its clock, workers_role the login that its ledger names."""

    def __init__(self, *, primary_now: Callable[[], datetime], workers_role: str = "worker") -> None:
        self.server = Server()
        self._books = Books(primary_now, workers_role)
        self._queries: dict[str, Callable[..., list[Row]]] = {
            name: partial(query, self._books) for name, query in _QUERIES.items()
        }
        self._queries |= {name: partial(query, self._books, self.server) for name, query in _OF_THE_SERVER.items()}

    def run(self, name: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a named query: all of it, or nothing and RowRefusedError. Raises UnknownQueryError."""
        query = self._queries.get(name)
        if query is None:
            raise UnknownQueryError(
                f"the twin does not know the query {name}: add it to tests/simulation/store_twin.py"
            )
        self.server.wal_position += 1
        with self._books.undone_if_it_fails():
            return query(*arguments)

    def lock(self, subscriptions: Iterable[tuple[int, int]]) -> None:
        """Which subscriptions, by shard and id, the next query has to step over where it steps over any."""
        self._books.locked = frozenset(subscriptions)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All queries of the block or none; one inside another is a savepoint.

        Nobody else may run a query meanwhile: what an error takes back is everything since the block began.
        """
        with self._books.undone_if_it_fails():
            yield

    @property
    def system_identifier(self) -> int:
        """Of the cluster, as initdb made it."""
        return self.server.system_identifier

    @property
    def timeline(self) -> int:
        """Of the WAL that is being written."""
        return self.server.timeline

    @property
    def wal_position(self) -> int:
        """How far the WAL is on disk: one further with each query."""
        return self.server.wal_position

    def snapshot(self) -> Snapshot:
        """Tables, sequences and the WAL's position as they stand now; cheap, and never changed by what comes later."""
        return (*self._books.snapshot(), self.server.wal_position)

    def restore(self, snapshot: Snapshot) -> None:
        """Be the server of that moment again, sequences included. Not inside a transaction.

        Followed by `promote` it is a failover to a lagging replica; alone, an older copy put in the server's place.
        """
        self._books.restore(snapshot[:-1])
        self.server.wal_position = snapshot[-1]

    def promote(self) -> None:
        """Be a server that has just been made primary: the same cluster on a new timeline."""
        self.server.timeline += 1

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table as they stand, not to be changed: subscriptions, cycles, attempts, ledger, ledger_heads,
        outbox, control, deployment or webhook_inbox. The ledger is in the order of its entries.
        """
        return self._books.rows(name)

    def next_ids(self) -> dict[str, int]:
        """The number that the next row of each table will have."""
        return self._books.next_ids()

    def number_from(self, next_ids: dict[str, int]) -> None:
        """Set the sequences, as setval does."""
        self._books.number_from(next_ids)
