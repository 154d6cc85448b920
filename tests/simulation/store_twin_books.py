"""All tables of the twin together, how one finds the other, and the journal by which a refused statement is undone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tests.simulation.store_twin_shapes import attempts_table, cycles_table, outbox_table, subscriptions_table
from tests.simulation.store_twin_tables import CHECK, Journal, Ledger, Row, refused

Snapshot = tuple[Any, ...]


class Books:
    """What the queries read and write."""

    def __init__(self, now: Callable[[], datetime], written_by: str) -> None:
        self.now = now
        self._journal: Journal = []
        self.subscriptions = subscriptions_table(self._journal)
        self.cycles = cycles_table(self._journal)
        self.attempts = attempts_table(self._journal)
        self.outbox = outbox_table(self._journal)
        self.ledger = Ledger(now, written_by)
        self.control: dict[str, Row] = {}
        self.deployment: dict[int, Row] = {}
        self.hints: dict[str, Row] = {}
        # Subscriptions that somebody's transaction has locked: what steps over them looks here.
        self.locked: frozenset[tuple[int, int]] = frozenset()
        self._tables = (self.subscriptions, self.cycles, self.attempts, self.outbox)
        self._cycle_by_payment_id = self.cycles.unique("cycles_payment_id")
        self._attempt_by_number = self.attempts.unique("attempts_number")
        self._open = self.attempts.unique("attempts_one_open")
        self._subscription_by_key = self.subscriptions.unique("subscriptions_business_key")
        self._depth = 0

    def cycle_named(self, shard: int, payment_id: str) -> Row | None:
        """The cycle of a payment_id."""
        key = self._cycle_by_payment_id.entries.get((shard, payment_id))
        return None if key is None else self.cycles.rows[key]

    def subscription_named(self, shard: int, business_key: str) -> Row | None:
        """The subscription of a business key."""
        key = self._subscription_by_key.entries.get((shard, business_key))
        return None if key is None else self.subscriptions.rows[key]

    def subscription_of(self, row: Row) -> Row:
        """The subscription of a cycle or an attempt."""
        return self.subscriptions.rows[row["shard"], row["subscription_id"]]

    def cycle_of(self, attempt: Row) -> Row:
        """The cycle of an attempt."""
        return self.cycles.rows[attempt["shard"], attempt["cycle_id"]]

    def attempts_of(self, cycle: Row) -> list[Row]:
        """The attempts on a cycle by their numbers, as far as they are numbered without a gap, which the guard on
        attempts_count sees to.
        """
        entries, rows = self._attempt_by_number.entries, self.attempts.rows
        shard, cycle_id = cycle["shard"], cycle["cycle_id"]
        found: list[Row] = []
        while key := entries.get((shard, cycle_id, len(found) + 1)):
            found.append(rows[key])
        return found

    def open_attempt(self, cycle: Row) -> Row | None:
        """The attempt on the cycle that has no verdict; the row of another attempt on it does as well."""
        key = self._open.entries.get((cycle["shard"], cycle["cycle_id"]))
        return None if key is None else self.attempts.rows[key]

    def all_open_attempts(self) -> list[Row]:
        """Every attempt without a verdict."""
        return [self.attempts.rows[key] for key in self._open.entries.values()]

    def write_control(self, row: Row) -> None:
        """Put an order in the place of the one before."""
        if row["name"] != "sending":
            raise refused(CHECK, "control_name")
        if row["value"] not in {"on", "halted"}:
            raise refused(CHECK, "control_value")
        self.control = {**self.control, row["name"]: row}

    @contextmanager
    def undone_if_it_fails(self) -> Iterator[None]:
        """A statement, a savepoint or a transaction: all of it or nothing. Numbers are used up either way."""
        changes, entries = len(self._journal), len(self.ledger.rows)
        control, deployment, hints = self.control, self.deployment, self.hints
        self._depth += 1
        try:
            yield
        except BaseException:
            while len(self._journal) > changes:
                table, key, old = self._journal.pop()
                table.undo(key, old)
            self.ledger.undo_to(entries)
            self.control, self.deployment, self.hints = control, deployment, hints
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._journal.clear()

    def snapshot(self) -> Snapshot:
        """Everything by reference, sequences too."""
        states = (*(table.state() for table in self._tables), self.ledger.state())
        return (*states, self.control, self.deployment, self.hints)

    def restore(self, snapshot: Snapshot) -> None:
        """Be as it was then."""
        for table, state in zip(self._tables, snapshot, strict=False):
            table.become(state)
        self.ledger.become(snapshot[-4])
        self.control, self.deployment, self.hints = snapshot[-3:]

    def next_ids(self) -> dict[str, int]:
        """The sequences."""
        return {table.name: table.next_id for table in self._tables}

    def number_from(self, next_ids: dict[str, int]) -> None:
        """Set the sequences."""
        for table in self._tables:
            table.next_id = next_ids[table.name]

    def rows(self, name: str) -> list[Row]:
        """The rows of a table."""
        if name == "ledger":
            return list(self.ledger.rows)
        if name == "control":
            return list(self.control.values())
        if name == "deployment":
            return list(self.deployment.values())
        if name == "webhook_inbox":
            return list(self.hints.values())
        if name == "ledger_heads":
            return [
                {"shard": shard, "subscription_id": subscription_id, "sequence": sequence}
                for (shard, subscription_id), sequence in self.ledger.heads.items()
                if sequence
            ]
        return list(next(table for table in self._tables if table.name == name).rows.values())


def place_in_ledger(row: Row) -> tuple[int, int, int]:
    """By what the statements order the entries that they append."""
    return row["shard"], row["subscription_id"], row["cycle_id"]
