"""The twin of settle_attempts: one statement that writes a batch of verdicts.

Its parts come in the order in which Postgres runs them, the last one of the text first, so that the first of several
refusals is the same one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tests.simulation.store_twin_books import Books, place_in_ledger
from tests.simulation.store_twin_tables import Row


class _Verdict(NamedTuple):
    """A row of the input of settle_attempts."""

    shard: int
    attempt_id: int
    idempotency_key: str
    cycle_id: int
    attempt_from: str
    last_sent_at: datetime
    attempt_status: str
    cycle_from: str
    cycle_status: str
    claimable_at: datetime | None
    held_reason: str | None
    look_at: datetime | None
    transaction_id: str | None
    pg_tx_id: str | None
    paid_at: datetime | None
    decline_code: str | None
    decline_message: str | None
    declines_added: int
    source: str


class _Locked(NamedTuple):
    """A verdict with the rows that it was decided on."""

    verdict: _Verdict
    attempt: Row
    cycle: Row


def settle_attempts(books: Books, *arguments: Any) -> list[Row]:
    """Write verdicts whose attempt and cycle are as they were decided on: nineteen columns of them, the time, nine
    columns of entries and three of events.
    """
    inputs, now, entries, events = arguments[:19], arguments[19], arguments[20:29], arguments[29:32]
    verdicts = [_Verdict._make(row) for row in zip(*inputs, strict=True)]
    locked = [found for verdict in verdicts if (found := _as_decided(books, verdict)) is not None]
    locked.sort(key=lambda one: (one.verdict.shard, one.verdict.cycle_id))
    _announce(books, locked, events)
    _enter(books, locked, entries, now)
    _move_cycles(books, locked, now)
    _move_attempts(books, locked, now)
    return [{"idempotency_key": one.verdict.idempotency_key} for one in locked]


def _as_decided(books: Books, verdict: _Verdict) -> _Locked | None:
    cycle = books.cycles.rows.get((verdict.shard, verdict.cycle_id))
    attempt = books.attempts.rows.get((verdict.shard, verdict.attempt_id))
    if cycle is None or attempt is None:
        return None
    same = attempt["idempotency_key"] == verdict.idempotency_key and attempt["cycle_id"] == verdict.cycle_id
    as_it_was = attempt["status"] == verdict.attempt_from and cycle["status"] in verdict.cycle_from.split("|")
    as_sent = verdict.attempt_status == "paid" or attempt["last_sent_at"] == verdict.last_sent_at
    free = verdict.attempt_from == "open" or books.open_attempt(cycle) is None
    return _Locked(verdict, attempt, cycle) if same and as_it_was and as_sent and free else None


def _announce(books: Books, locked: list[_Locked], events: Sequence[Sequence[Any]]) -> None:
    for idempotency_key, event_type, payload in zip(*events, strict=True):
        for of in [one.attempt for one in locked if one.verdict.idempotency_key == idempotency_key]:
            books.outbox.insert(
                {
                    "shard": of["shard"],
                    "subscription_id": of["subscription_id"],
                    "event_type": event_type,
                    "payload": payload,
                    "created_at": books.now(),
                }
            )


def _enter(books: Books, locked: list[_Locked], entries: Sequence[Sequence[Any]], now: datetime) -> None:
    by_key: dict[str, list[_Locked]] = {}
    for one in locked:
        by_key.setdefault(one.verdict.idempotency_key, []).append(one)
    joined = [(one, entry) for entry in zip(*entries, strict=True) for one in by_key.get(str(entry[0]), ())]
    joined.sort(key=lambda pair: (*place_in_ledger(pair[0].attempt), pair[1][1]))
    for one, (_, position, kind, amount_minor, pg_tx_id, code, message, source, actor) in joined:
        old, price = one.cycle["amount_minor"], _price(books, one, now)["amount_minor"]
        costs = f"the period costs {price} now, not {old}" if position == 0 and price != old else ""
        books.ledger.enter(
            one.attempt,
            kind,
            attempt_id=one.verdict.attempt_id,
            amount_minor=amount_minor,
            pg_tx_id=pg_tx_id,
            code=code,
            message="; ".join(filter(None, (costs, message)))[:500] if costs else message,
            source=source,
            actor=actor,
        )


def _price(books: Books, one: _Locked, now: datetime) -> Row:
    """What the cycle costs from here on, and what is sold by that."""
    verdict, attempt, cycle = one
    if verdict.attempt_status == "paid":
        return cycle | {"amount_minor": attempt["amount_minor"]}
    owed = cycle["due_at"] <= now and attempt["revoke_reason"] != "price"
    again = verdict.cycle_status == "due" and verdict.attempt_status != "declined"
    return books.subscription_of(cycle) if again and cycle["mode"] == "schedule" and not owed else cycle


def _move_cycles(books: Books, locked: list[_Locked], now: datetime) -> None:
    moved: set[int] = set()
    for verdict, attempt, cycle in locked:
        if verdict.cycle_id in moved:
            continue
        moved.add(verdict.cycle_id)
        first = cycle["first_declined_at"]
        price = _price(books, _Locked(verdict, attempt, cycle), now)
        stays = verdict.attempt_status == "revoked" and verdict.cycle_status == cycle["status"]
        books.cycles.update(
            cycle,
            status=str(verdict.cycle_status),
            claimable_at=verdict.claimable_at or cycle["claimable_at"],
            held_reason=cycle["held_reason"] if stays else verdict.held_reason,
            amount_minor=price["amount_minor"],
            order_name=price["order_name"],
            paid_at=verdict.paid_at,
            declines_count=cycle["declines_count"] + verdict.declines_added,
            first_declined_at=(first or now) if verdict.declines_added > 0 else first,
        )


def _move_attempts(books: Books, locked: list[_Locked], now: datetime) -> None:
    moved: set[int] = set()
    for verdict, attempt, _ in locked:
        if verdict.attempt_id in moved:
            continue
        moved.add(verdict.attempt_id)
        known = attempt["transaction_id"] if verdict.transaction_id is None else verdict.transaction_id
        found = verdict.attempt_status == "paid" and verdict.source == "look"
        books.attempts.update(
            attempt,
            status=str(verdict.attempt_status),
            request_body=None,
            settled_at=now,
            source=str(verdict.source),
            look_at=verdict.look_at,
            looks=0,
            transaction_id=known,
            pg_tx_id=verdict.pg_tx_id,
            paid_at=verdict.paid_at,
            decline_code=verdict.decline_code,
            decline_message=verdict.decline_message,
            verified_at=now if found else None,
        )
