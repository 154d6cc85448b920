"""The twin of sql/queries/inbox.sql: each function is the query of its name."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from tests.simulation.store_twin_attempts import is_being_sent
from tests.simulation.store_twin_books import Books
from tests.simulation.store_twin_tables import CHECK, NOT_NULL, Row, refused

_KEPT = ("webhook_id", "event_type", "payment_id", "transaction_id", "cancellation_id", "store_matches", "sent_at",
         "received_at")  # fmt: skip
_MAY_BE_NULL = frozenset({"transaction_id", "cancellation_id", "store_matches"})
_LENGTHS = {"webhook_id": (1, 200), "event_type": (1, 100), "payment_id": (1, 200), "transaction_id": (0, 200),
            "cancellation_id": (0, 200)}  # fmt: skip


def keep_hints(books: Books, *columns: Sequence[Any]) -> list[Row]:
    """Keep webhooks, each once."""
    hints, kept = dict(books.hints), []
    for values in zip(*columns, strict=True):
        row: Row = {**dict(zip(_KEPT, values, strict=True)), "read_at": None, "result": None}
        if any(row[name] is None for name in _KEPT if name not in _MAY_BE_NULL):
            raise refused(NOT_NULL)
        if not all(row[name] is None or least <= len(row[name]) <= most for name, (least, most) in _LENGTHS.items()):
            raise refused(CHECK, "webhook_inbox_sizes")
        if row["webhook_id"] not in hints:
            hints[row["webhook_id"]] = row
            kept.append({"webhook_id": row["webhook_id"]})
    books.hints = hints
    return kept


def read_hints(books: Books, shards: Sequence[int], now: datetime, limit: int) -> list[Row]:
    """Have the payments of unread hints looked at soon, and mark the hints as read."""
    claimed = sorted((h for h in books.hints.values() if h["read_at"] is None), key=itemgetter("received_at"))[:limit]
    results = {
        payment_id: _order(books, shards, payment_id, now)
        for payment_id in dict.fromkeys(h["payment_id"] for h in claimed)
    }
    read = [{**hint, "read_at": now, "result": results[hint["payment_id"]]} for hint in claimed]
    books.hints = {**books.hints, **{hint["webhook_id"]: hint for hint in read}}
    return [{name: hint[name] for name in ("webhook_id", "result", "received_at")} for hint in read]


def unread_hints(books: Books, limit: int) -> list[Row]:
    """How many are unread, up to a bound."""
    return [{"unread": min(sum(hint["read_at"] is None for hint in books.hints.values()), limit)}]


def forget_hints(books: Books, before: datetime, limit: int) -> list[Row]:
    """Delete what was read and is old."""
    old = [h for h in books.hints.values() if h["received_at"] < before and h["read_at"] is not None]
    gone = {hint["webhook_id"] for hint in sorted(old, key=itemgetter("received_at"))[:limit]}
    books.hints = {name: hint for name, hint in books.hints.items() if name not in gone}
    return [{"webhook_id": name} for name in sorted(gone)]


def _order(books: Books, shards: Sequence[int], payment_id: str, now: datetime) -> str:
    found = (books.cycle_named(shard, payment_id) for shard in shards)
    cycle = next((cycle for cycle in found if cycle is not None), None)
    if cycle is None:
        return "unknown"
    newest = books.attempts_of(cycle)[-1:]
    for attempt in newest:
        if is_being_sent(attempt, now):
            return "sending"
        look_at = attempt["look_at"]
        books.attempts.update(attempt, look_at=now if look_at is None else min(look_at, now))
    return "ordered" if newest else "no_attempt"
