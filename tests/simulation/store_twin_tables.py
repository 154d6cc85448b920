"""The twin's tables: rows, unique indexes, CHECKs, and the way back from a statement that is refused.

A row is never changed where it stands; a change puts a new row in its place. So a snapshot copies references only, and
what a journal remembers of a row stays true.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing_worker.store.db import RowRefusedError

Row = dict[str, Any]
Key = tuple[int, int]
Journal = list[tuple["Table", Key, Row | None]]

CHECK = "CheckViolationError 23514"
UNIQUE = "UniqueViolationError 23505"
FOREIGN_KEY = "ForeignKeyViolationError 23503"
NOT_NULL = "NotNullViolationError 23502"
RESTRICT = "RestrictViolationError 23001"


def refused(kind: str, constraint: str = "") -> RowRefusedError:
    """The error in the very words of billing_worker.store.db.translated."""
    return RowRefusedError(f"{kind} on {constraint}" if constraint else kind)


@dataclass(slots=True)
class Unique:
    """A unique index, partial where the key is None for rows that it leaves out."""

    name: str
    key: Callable[[Row], Hashable | None]
    partial: bool = False
    entries: dict[Hashable, Key] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK. It is looked at again in an update only if a column that may change takes part in it."""

    name: str
    holds: Callable[[Row], bool]
    moving: bool = False


class Table:
    """One table. `lively` are the rows that the sweeps ask about, so that the others cost them nothing."""

    __slots__ = (
        "_journal",
        "before_update",
        "checks",
        "identity",
        "lively",
        "lively_if",
        "name",
        "next_id",
        "required",
        "rows",
        "uniques",
    )

    def __init__(
        self,
        name: str,
        identity: str,
        journal: Journal,
        *,
        uniques: tuple[Unique, ...] = (),
        checks: tuple[Check, ...] = (),
        required: tuple[str, ...] = (),
        lively_if: Callable[[Row], bool] = lambda _row: False,
        before_update: Callable[[Row, Row], None] = lambda _old, _new: None,
    ) -> None:
        self.name = name
        self.identity = identity
        self.rows: dict[Key, Row] = {}
        self.lively: dict[Key, Row] = {}
        self.lively_if = lively_if
        self.before_update = before_update
        self.next_id = 1
        self.uniques = uniques
        self.required = required
        # Postgres tries CHECKs in the order of their names, and the first that fails is the one it tells.
        self.checks = tuple(sorted(checks, key=lambda check: check.name))
        self._journal = journal

    def insert(self, row: Row) -> Row:
        """Number the row and put it in. As in Postgres a number is used up even if the row is refused."""
        row[self.identity] = self.next_id
        self.next_id += 1
        key = (row["shard"], row[self.identity])
        for column in self.required:
            if row[column] is None:
                raise refused(NOT_NULL)
        for check in self.checks:
            if not check.holds(row):
                raise refused(CHECK, check.name)
        for unique in self.uniques:
            value = unique.key(row)
            if value is not None and value in unique.entries:
                raise refused(UNIQUE, unique.name)
        self._journal.append((self, key, None))
        self._place(key, None, row)
        return row

    def update(self, old: Row, **changed: object) -> Row:
        """Put a changed row in the place of the old one."""
        new = {**old, **changed}
        key = (old["shard"], old[self.identity])
        self.before_update(old, new)
        for check in self.checks:
            if check.moving and not check.holds(new):
                raise refused(CHECK, check.name)
        for unique in self.uniques:
            if unique.partial:
                value = unique.key(new)
                if value is not None and unique.entries.get(value, key) != key:
                    raise refused(UNIQUE, unique.name)
        self._journal.append((self, key, old))
        self._place(key, old, new)
        return new

    def unique(self, name: str) -> Unique:
        """One of the table's unique indexes."""
        return next(unique for unique in self.uniques if unique.name == name)

    def undo(self, key: Key, old: Row | None) -> None:
        """Take one change back."""
        self._place(key, self.rows[key], old)

    def state(self) -> tuple[Any, ...]:
        """Rows, indexes and sequence."""
        return dict(self.rows), dict(self.lively), self.next_id, [dict(unique.entries) for unique in self.uniques]

    def become(self, state: tuple[Any, ...]) -> None:
        """Be as it was then."""
        rows, lively, self.next_id, entries = state
        self.rows, self.lively = dict(rows), dict(lively)
        for unique, then in zip(self.uniques, entries, strict=True):
            unique.entries = dict(then)

    def _place(self, key: Key, old: Row | None, new: Row | None) -> None:
        for unique in self.uniques:
            if unique.partial or old is None or new is None:
                before = unique.key(old) if old else None
                after = unique.key(new) if new else None
                if before != after:
                    if before is not None:
                        del unique.entries[before]
                    if after is not None:
                        unique.entries[after] = key
        if new is None:
            del self.rows[key]
            self.lively.pop(key, None)
            return
        self.rows[key] = new
        if self.lively_if(new):
            self.lively[key] = new
        else:
            self.lively.pop(key, None)


class Ledger:
    """The ledger, appended to and numbered within each subscription. It has no hashes: they cost more than the rest."""

    __slots__ = ("_now", "_written_by", "by_cycle", "heads", "paid_cycles", "paid_transactions", "rows")

    def __init__(self, primary_now: Callable[[], datetime], written_by: str) -> None:
        self._now = primary_now
        self._written_by = written_by
        self.rows: list[Row] = []
        self.heads: dict[Key, int] = {}
        self.by_cycle: dict[Key, tuple[Row, ...]] = {}
        self.paid_cycles: set[Key] = set()
        self.paid_transactions: set[tuple[int, str]] = set()

    def enter(
        self,
        of: Row,
        kind: str,
        *,
        source: str,
        actor: str,
        attempt_id: int | None = None,
        amount_minor: int | None = None,
        pg_tx_id: str | None = None,
        code: str = "",
        message: str = "",
    ) -> None:
        """Append an entry about a subscription, a cycle or an attempt, whose row says which it is."""
        shard, subscription_id, cycle_id = of["shard"], of["subscription_id"], of.get("cycle_id")
        head = self.heads.get((shard, subscription_id), 0) + 1
        row = {
            "shard": shard,
            "subscription_id": subscription_id,
            "sequence": head,
            "kind": str(kind),
            "cycle_id": cycle_id,
            "attempt_id": attempt_id,
            "payment_id": of.get("payment_id"),
            "amount_minor": amount_minor,
            "currency": of["currency"] if cycle_id is not None else None,
            "pg_tx_id": pg_tx_id,
            "code": code,
            "message": message,
            "source": str(source),
            "actor": actor,
            "written_by": self._written_by,
            "recorded_at": self._now(),
        }
        self._check(row)
        self.heads[shard, subscription_id] = head
        self.rows.append(row)
        if cycle_id is not None:
            cycle = (shard, cycle_id)
            self.by_cycle[cycle] = (*self.by_cycle.get(cycle, ()), row)
            if row["kind"] == "paid":
                self.paid_cycles.add(cycle)
                self.paid_transactions.add((shard, row["pg_tx_id"]))

    def of_cycle(self, row: Row) -> tuple[Row, ...]:
        """The entries of a cycle, given the row of the cycle or of an attempt on it."""
        return self.by_cycle.get((row["shard"], row["cycle_id"]), ())

    def undo_to(self, length: int) -> None:
        """Take back every entry after the first so many."""
        while len(self.rows) > length:
            row = self.rows.pop()
            self.heads[row["shard"], row["subscription_id"]] -= 1
            if row["cycle_id"] is not None:
                cycle = (row["shard"], row["cycle_id"])
                self.by_cycle[cycle] = self.by_cycle[cycle][:-1]
                if row["kind"] == "paid":
                    self.paid_cycles.discard(cycle)
                    self.paid_transactions.discard((row["shard"], row["pg_tx_id"]))

    def state(self) -> tuple[Any, ...]:
        """Everything, by reference."""
        by_cycle, paid = dict(self.by_cycle), (set(self.paid_cycles), set(self.paid_transactions))
        return list(self.rows), dict(self.heads), by_cycle, *paid

    def become(self, state: tuple[Any, ...]) -> None:
        """Be as it was then."""
        rows, heads, by_cycle, paid_cycles, paid_transactions = state
        self.rows, self.heads, self.by_cycle = list(rows), dict(heads), dict(by_cycle)
        self.paid_cycles, self.paid_transactions = set(paid_cycles), set(paid_transactions)

    def _check(self, row: Row) -> None:
        kind, amount_minor = row["kind"], row["amount_minor"]
        if row["code"] is None or row["message"] is None or row["actor"] is None:
            raise refused(NOT_NULL)
        if kind not in _LEDGER_KINDS:
            raise refused(CHECK, "ledger_kind")
        money = amount_minor is not None and amount_minor > 0 and row["currency"] is not None
        if kind == "paid" and not (money and row["cycle_id"] is not None and row["pg_tx_id"] is not None):
            raise refused(CHECK, "ledger_paid")
        if kind == "refunded" and not money:
            raise refused(CHECK, "ledger_refunded")
        if row["source"] not in {"rule", "answer", "look", "operator"}:
            raise refused(CHECK, "ledger_source")
        if kind == "paid" and (row["shard"], row["cycle_id"]) in self.paid_cycles:
            raise refused(UNIQUE, "ledger_one_paid")
        if kind == "paid" and (row["shard"], row["pg_tx_id"]) in self.paid_transactions:
            raise refused(UNIQUE, "ledger_one_transaction")


_LEDGER_KINDS = frozenset(
    {
        "intent", "paid", "declined", "refused", "voided", "scheduled", "revoked", "given_up", "corrected", "mismatch",
        "refunded", "disputed", "held", "skipped", "operator",
    }
)  # fmt: skip
