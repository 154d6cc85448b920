"""The twin of sql/queries/attempts.sql: each function is the query of its name.

What Postgres decides by the statement's own snapshot is decided here before the first row changes, and the parts of a
statement come in the order in which Postgres runs them, so that the first of several refusals is the same one.
"""

# ruff: noqa: PLR0917 - a query takes what its SQL takes, by position

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter

from tests.simulation.store_twin_books import Books, place_in_ledger
from tests.simulation.store_twin_tables import Row

_by_look_at = itemgetter("look_at", "attempt_id")
_END = datetime.max.replace(tzinfo=UTC)

_LOOKED_AT = ("shard", "attempt_id", "cycle_id", "subscription_id", "attempt_number", "payment_id", "idempotency_key",
              "amount_minor", "currency", "status", "request_body", "opened_at", "last_sent_at", "looks", "look_epoch",
              "settled_at", "pg_tx_id", "time_to_pay", "schedule_id", "revoke_reason",
              "contradiction")  # fmt: skip
_OF_CYCLE = ("cycle_number", "store_id", "due_at", "attempts_count", "declines_count", "first_declined_at")


def open_attempts(
    books: Books,
    shards: Sequence[int],
    cycle_ids: Sequence[int],
    payment_ids: Sequence[str],
    epochs: Sequence[int],
    numbers: Sequence[int],
    idempotency_keys: Sequence[str],
    bodies: Sequence[bytes],
    hashes: Sequence[bytes],
    times_to_pay: Sequence[datetime | None],
    billing_keys: Sequence[str | None],
    now: datetime,
    look_at: datetime,
    worker: str,
) -> list[Row]:
    """Write intents for what is still ours; a booking's only while its subscription says what the request says."""
    bookable = {
        (shard, cycle_id)
        for shard, cycle_id, time_to_pay, billing_key in zip(shards, cycle_ids, times_to_pay, billing_keys, strict=True)
        if time_to_pay is not None and _is_bookable(books, shard, cycle_id, billing_key)
    }
    opened: list[tuple[Row, Row]] = []
    for position, cycle_id in enumerate(cycle_ids):
        cycle = books.cycles.rows.get((shards[position], cycle_id))
        number = numbers[position]
        if (
            cycle is None
            or cycle["payment_id"] != payment_ids[position]
            or cycle["claim_epoch"] != epochs[position]
            or cycle["status"] != "due"
            or cycle["attempts_count"] != number - 1
            or (times_to_pay[position] is not None and (shards[position], cycle_id) not in bookable)
        ):
            continue
        cycle = books.cycles.update(cycle, status="collecting", fruitless_claims=0, attempts_count=number)
        written = {
            "attempt_number": number,
            "idempotency_key": idempotency_keys[position],
            "request_body": bodies[position],
            "request_sha256": hashes[position],
            "opened_at": now,
            "last_sent_at": now,
            "look_at": look_at,
            "worker": worker,
            "time_to_pay": times_to_pay[position],
        }
        opened.append((cycle, books.attempts.insert(_fresh_attempt(cycle, written))))
    for cycle, attempt in sorted(opened, key=lambda one: place_in_ledger(one[0])):
        books.ledger.enter(
            attempt,
            "intent",
            attempt_id=attempt["attempt_id"],
            amount_minor=cycle["amount_minor"],
            code="schedule" if attempt["time_to_pay"] is not None else "",
            source="rule",
            actor=worker,
        )
    return [_opened(books, cycle, attempt) for cycle, attempt in opened]


def attempt_statuses(
    books: Books, shards: Sequence[int], attempt_ids: Sequence[int], idempotency_keys: Sequence[str]
) -> list[Row]:
    """The statuses that stand now."""
    return [
        {"idempotency_key": attempt["idempotency_key"], "status": attempt["status"]}
        for attempt, _ in _found(books, shards, attempt_ids, idempotency_keys)
    ]


def shards_to_look(books: Books, now: datetime) -> list[Row]:
    """The shards with an attempt to ask about, the one that has waited longest first."""
    oldest: dict[int, datetime] = {}
    for attempt in books.attempts.lively.values():
        look_at, shard = attempt["look_at"], attempt["shard"]
        if look_at <= now and look_at < oldest.get(shard, _END):
            oldest[shard] = look_at
    return [{"shard": shard} for shard, _ in sorted(oldest.items(), key=itemgetter(1, 0))]


def claim_looks(books: Books, shard: int, now: datetime, lease_until: datetime, limit: int) -> list[Row]:
    """Take the attempts whose look is due, oldest first."""
    due = [a for a in books.attempts.lively.values() if a["shard"] == shard and a["look_at"] <= now]
    due.sort(key=_by_look_at)
    claimed: list[Row] = []
    for attempt in due[:limit]:
        new = books.attempts.update(
            attempt, look_at=lease_until, look_epoch=attempt["look_epoch"] + 1, looks=attempt["looks"] + 1
        )
        cycle = books.cycle_of(new)
        row = {column: new[column] for column in _LOOKED_AT}
        for column in _OF_CYCLE:
            row[column] = cycle[column]
        row["business_key"] = books.subscription_of(new)["business_key"]
        row["cycle_status"] = cycle["status"]
        row["older_transaction_ids"] = _older_transaction_ids(books, new)
        claimed.append(row)
    return claimed


def note_resend(
    books: Books, shard: int, attempt_id: int, idempotency_key: str, look_epoch: int, now: datetime, look_at: datetime
) -> list[Row]:
    """Write down that the bytes leave again."""
    attempt = _one(books, shard, attempt_id, idempotency_key)
    if attempt is None or attempt["look_epoch"] != look_epoch or attempt["status"] != "open":
        return []
    if attempt["revoke_reason"] is not None:
        return []
    books.attempts.update(attempt, last_sent_at=now, look_at=look_at)
    return [{"attempt_id": attempt_id}]


def note_booked(
    books: Books,
    shard: int,
    attempt_id: int,
    idempotency_key: str,
    schedule_id: str,
    look_at: datetime,
    source: str,
    actor: str,
) -> list[Row]:
    """PortOne has the booking: its name is written down and entered once."""
    attempt = _one(books, shard, attempt_id, idempotency_key)
    if attempt is None or attempt["status"] != "open":
        return []
    if attempt["schedule_id"] is not None or attempt["time_to_pay"] is None:
        return [{"attempt_id": attempt_id}] if attempt["schedule_id"] == schedule_id else []
    later = look_at if attempt["revoke_reason"] is None else attempt["look_at"]
    noted = books.attempts.update(attempt, schedule_id=schedule_id, look_at=later)
    books.ledger.enter(
        noted,
        "scheduled",
        attempt_id=attempt_id,
        amount_minor=noted["amount_minor"],
        message=schedule_id,
        source=source,
        actor=actor,
    )
    return [{"attempt_id": attempt_id}]


def ask_again(
    books: Books,
    shards: Sequence[int],
    attempt_ids: Sequence[int],
    idempotency_keys: Sequence[str],
    last_sent_ats: Sequence[datetime],
    revoke_reasons: Sequence[str | None],
    look_ats: Sequence[datetime | None],
) -> list[Row]:
    """Set the next looks; an open attempt keeps having one. Whoever has sent it since, or wants it back, says when."""
    moved: set[int] = set()
    for attempt, position in _found(books, shards, attempt_ids, idempotency_keys):
        look_at, attempt_id = look_ats[position], attempt["attempt_id"]
        as_sent = look_at is not None and attempt["last_sent_at"] == last_sent_ats[position]
        as_sent = as_sent and attempt["revoke_reason"] == revoke_reasons[position]
        if attempt_id not in moved and (as_sent or attempt["status"] != "open"):
            moved.add(attempt_id)
            books.attempts.update(attempt, look_at=look_at)
    return []


def verify_attempt(
    books: Books,
    shard: int,
    attempt_id: int,
    idempotency_key: str,
    now: datetime,
    transaction_id: str | None,
    refunded_minor: int,
    actor: str,
) -> list[Row]:
    """PortOne's record agrees; what has been refunded beyond what is entered is entered."""
    attempt = _one(books, shard, attempt_id, idempotency_key)
    if attempt is None or attempt["status"] != "paid":
        return []
    known = attempt["transaction_id"] if transaction_id is None else transaction_id
    new = books.attempts.update(attempt, verified_at=now, look_at=None, contradiction=None, transaction_id=known)
    entered = sum(e["amount_minor"] for e in books.ledger.of_cycle(attempt) if e["kind"] == "refunded")
    if refunded_minor > entered:
        books.ledger.enter(
            new,
            "refunded",
            attempt_id=attempt_id,
            amount_minor=refunded_minor - entered,
            pg_tx_id=new["pg_tx_id"],
            source="look",
            actor=actor,
        )
    return []


def _later(attempt: Row, look_at: datetime) -> datetime | None:
    """The next look after a contradiction: never later than whoever wants a booking back has said."""
    if attempt["status"] != "open":
        return None
    return look_at if attempt["revoke_reason"] is None else min(attempt["look_at"], look_at)


def contradict_attempt(
    books: Books, shard: int, attempt_id: int, idempotency_key: str, look_at: datetime, what: str, actor: str
) -> list[Row]:
    """PortOne's record differs from what we asked for."""
    attempt = _one(books, shard, attempt_id, idempotency_key)
    if attempt is None:
        return []
    cycle = books.cycle_of(attempt)
    was = cycle["status"]
    said = any(
        entry["kind"] == "mismatch" and entry["message"] == what and entry["attempt_id"] == attempt_id
        for entry in books.ledger.of_cycle(attempt)
    )
    news = was not in {"paid", "held", "skipped"} or not said
    if news:
        books.ledger.enter(
            attempt, "mismatch", attempt_id=attempt_id, code="mismatch", message=what, source="look", actor=actor
        )
    if was not in {"paid", "held"} and not (was == "skipped" and said):
        books.cycles.update(cycle, status="held", held_reason=what)
    books.attempts.update(
        attempt,
        look_at=_later(attempt, look_at),
        contradiction=None if said and attempt["contradiction"] is None else what,
    )
    return [{"attempt_id": attempt_id}] if news else []


def hand_over_attempts(
    books: Books, shards: Sequence[int], attempt_ids: Sequence[int], idempotency_keys: Sequence[str], now: datetime
) -> list[Row]:
    """Let the reconciler have open attempts that nobody has looked at yet."""
    for attempt, _ in _found(books, shards, attempt_ids, idempotency_keys):
        if attempt["status"] == "open" and attempt["look_epoch"] == 0:
            books.attempts.update(attempt, look_at=now)
    return []


def look_soon(books: Books, shards: Sequence[int], payment_id: str, now: datetime) -> list[Row]:
    """Have the newest attempt of a payment_id looked at next, unless its sender has it."""
    ordered: list[Row] = []
    for shard in shards:
        cycle = books.cycle_named(shard, payment_id)
        newest = books.attempts_of(cycle)[-1:] if cycle is not None else []
        for attempt in newest:
            look_at = attempt["look_at"]
            being_sent = is_being_sent(attempt, now)
            if not being_sent:
                books.attempts.update(attempt, look_at=now)
            row = {"shard": shard, "attempt_id": attempt["attempt_id"]}
            ordered.append(row | {"look_at": look_at if being_sent else now, "being_sent": being_sent})
    return ordered


def is_being_sent(attempt: Row, now: datetime) -> bool:
    """Whether its sender still has it. A booking that PortOne has is no longer being sent."""
    # A look that nobody has ordered compares as neither: the attempt is closed, and so it is not being sent.
    unknown = attempt["status"] == "open" and attempt["schedule_id"] is None
    return bool(unknown and now < attempt["look_at"] <= attempt["last_sent_at"] + timedelta(minutes=15))


def _is_bookable(books: Books, shard: int, cycle_id: int, billing_key: str | None) -> bool:
    cycle = books.cycles.rows.get((shard, cycle_id))
    if cycle is None or cycle["mode"] != "schedule" or (shard, cycle["subscription_id"]) in books.locked:
        return False
    of = books.subscription_of(cycle)
    same_price = (of["amount_minor"], of["order_name"]) == (cycle["amount_minor"], cycle["order_name"])
    return bool(of["status"] != "cancelled" and of["billing_key"] == billing_key and same_price)


def _fresh_attempt(cycle: Row, written: Row) -> Row:
    return {
        "shard": cycle["shard"],
        "cycle_id": cycle["cycle_id"],
        "subscription_id": cycle["subscription_id"],
        "payment_id": cycle["payment_id"],
        "amount_minor": cycle["amount_minor"],
        "currency": cycle["currency"],
        "status": "open",
        **written,
        "look_epoch": 0,
        "looks": 0,
        "settled_at": None,
        "source": None,
        "transaction_id": None,
        "pg_tx_id": None,
        "paid_at": None,
        "decline_code": None,
        "decline_message": None,
        "verified_at": None,
        "contradiction": None,
        "schedule_id": None,
        "revoke_reason": None,
    }


def _opened(books: Books, cycle: Row, attempt: Row) -> Row:
    return {
        "attempt_id": attempt["attempt_id"],
        "payment_id": cycle["payment_id"],
        "store_id": cycle["store_id"],
        "due_at": cycle["due_at"],
        "declines_count": cycle["declines_count"],
        "first_declined_at": cycle["first_declined_at"],
        "older_transaction_ids": _older_transaction_ids(books, attempt) if attempt["attempt_number"] > 1 else [],
    }


def _older_transaction_ids(books: Books, attempt: Row) -> list[str]:
    number = attempt["attempt_number"]
    return [
        older["transaction_id"]
        for older in books.attempts_of(attempt)
        if older["attempt_number"] < number and older["transaction_id"] is not None
    ]


def _one(books: Books, shard: int, attempt_id: int, idempotency_key: str) -> Row | None:
    attempt = books.attempts.rows.get((shard, attempt_id))
    return attempt if attempt is not None and attempt["idempotency_key"] == idempotency_key else None


def _found(
    books: Books, shards: Sequence[int], attempt_ids: Sequence[int], idempotency_keys: Sequence[str]
) -> Iterator[tuple[Row, int]]:
    """The attempts that are named, with their place in the input."""
    for position, attempt_id in enumerate(attempt_ids):
        attempt = _one(books, shards[position], attempt_id, idempotency_keys[position])
        if attempt is not None:
            yield attempt, position
