"""The twin of sql/queries/cycles.sql: each function is the query of its name.

What Postgres decides by the statement's own snapshot is decided here before the first row changes.
"""

# ruff: noqa: PLR0917 - a query takes what its SQL takes, by position

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import itemgetter

from tests.simulation.store_twin_books import Books, place_in_ledger
from tests.simulation.store_twin_tables import Row

BACKLOG_BOUND = 2000

_by_claimable_at = itemgetter("claimable_at", "cycle_id")

_CLAIMED = ("shard", "cycle_id", "subscription_id", "cycle_number", "payment_id", "amount_minor", "currency",
            "order_name", "due_at", "mode", "claim_epoch", "fruitless_claims", "attempts_count")  # fmt: skip
_CUSTOMER = ("business_key", "customer_id", "customer_name", "customer_phone", "customer_email", "billing_key")


def shards_due(books: Books, now: datetime, store_id: str) -> list[Row]:
    """The shards with a cycle to collect, the one that has waited longest first."""
    oldest: dict[int, Row] = {}
    for cycle in books.cycles.lively.values():
        if cycle["claimable_at"] <= now and cycle["store_id"] == store_id:
            first = oldest.setdefault(cycle["shard"], cycle)
            if _by_claimable_at(cycle) < _by_claimable_at(first):
                oldest[cycle["shard"]] = cycle
    ordered = sorted(oldest.values(), key=itemgetter("claimable_at", "shard"))
    return [{"shard": cycle["shard"], "suspect": cycle["fruitless_claims"] > 0} for cycle in ordered]


def claim_due_cycles(
    books: Books, shard: int, now: datetime, lease_until: datetime, limit: int, suspects: bool, store_id: str
) -> list[Row]:
    """Take the oldest due cycles of one shard: suspects or others."""
    due = [
        cycle
        for cycle in books.cycles.lively.values()
        if cycle["shard"] == shard
        and cycle["claimable_at"] <= now
        and (cycle["fruitless_claims"] > 0) == suspects
        and cycle["store_id"] == store_id
    ]
    due.sort(key=_by_claimable_at)
    return [_claimed(books, cycle, now, lease_until) for cycle in due[:limit]]


def release_cycles(
    books: Books,
    shards: Sequence[int],
    cycle_ids: Sequence[int],
    payment_ids: Sequence[str],
    epochs: Sequence[int],
    claimable_at: datetime,
) -> list[Row]:
    """Give back what is still ours."""
    for cycle, _ in _ours(books, shards, cycle_ids, payment_ids, epochs):
        fruitless = max(cycle["fruitless_claims"] - 1, 0)
        books.cycles.update(cycle, claimable_at=claimable_at, fruitless_claims=fruitless)
    return []


def set_aside_cycles(
    books: Books,
    shards: Sequence[int],
    cycle_ids: Sequence[int],
    payment_ids: Sequence[str],
    epochs: Sequence[int],
    statuses: Sequence[str],
    reasons: Sequence[str],
    actor: str,
) -> list[Row]:
    """End claims without an attempt."""
    moved: list[tuple[Row, str, str]] = []
    for cycle, position in _ours(books, shards, cycle_ids, payment_ids, epochs):
        status, reason = str(statuses[position]), reasons[position]
        new = books.cycles.update(cycle, status=status, held_reason=reason if status == "held" else None)
        moved.append((new, status, reason))
    for cycle, status, reason in sorted(moved, key=lambda one: place_in_ledger(one[0])):
        books.ledger.enter(cycle, status, code=reason, source="rule", actor=actor)
    return [{"payment_id": cycle["payment_id"]} for cycle, _, _ in moved]


def skip_cycle(
    books: Books, shards: Sequence[int], payment_id: str, reason: str, actor: str, look_at: datetime, now: datetime
) -> list[Row]:
    """A person decides not to collect: an open attempt is closed by the same hand, a booking is to be taken back."""
    moved = [
        books.cycles.update(cycle, status="skipped", held_reason=None)
        for cycle in _named(books, shards, payment_id)
        if cycle["status"] in {"due", "given_up", "held"}
    ]
    for attempt in [books.open_attempt(cycle) for cycle in moved]:
        if attempt is not None and attempt["time_to_pay"] is not None:
            want_back(books, attempt, "skipped", now)
        elif attempt is not None:
            books.attempts.update(
                attempt,
                status="voided",
                request_body=None,
                settled_at=books.now(),
                source="operator",
                look_at=look_at,
                looks=0,
            )
            books.ledger.enter(
                attempt,
                "voided",
                attempt_id=attempt["attempt_id"],
                code="operator",
                message=reason,
                source="operator",
                actor=actor,
            )
    for cycle in moved:
        books.ledger.enter(cycle, "skipped", code="operator", message=reason, source="operator", actor=actor)
    return [{"moved": len(moved)}]


def retry_cycle(
    books: Books, shards: Sequence[int], payment_id: str, reason: str, actor: str, now: datetime
) -> list[Row]:
    """A person orders another try, never while a charge is open. A booking that is still out is taken back first."""
    moved = [
        _tried_again(books, cycle, now)
        for cycle in _named(books, shards, payment_id)
        if cycle["status"] in {"given_up", "held"} and not _is_being_charged(books, cycle)
    ]
    for cycle in moved:
        books.ledger.enter(cycle, "operator", code="retry", message=reason, source="operator", actor=actor)
    return [{"moved": len(moved)}]


def _is_being_charged(books: Books, cycle: Row) -> bool:
    attempt = books.open_attempt(cycle)
    return attempt is not None and attempt["time_to_pay"] is None


def _tried_again(books: Books, cycle: Row, now: datetime) -> Row:
    booking = books.open_attempt(cycle) if cycle["status"] == "held" else None
    if booking is not None:
        reason = booking["revoke_reason"] or "retried"
        books.attempts.update(booking, revoke_reason=reason, look_at=now, contradiction=None)
    return books.cycles.update(
        cycle,
        status="due" if booking is None else "collecting",
        held_reason=None,
        claimable_at=now,
        fruitless_claims=0,
        declines_count=0,
        first_declined_at=None,
        **(price_of_subscription(books, cycle, now) if booking is None else {}),
    )


def accept_cycle(books: Books, shards: Sequence[int], payment_id: str, reason: str, actor: str) -> list[Row]:
    """A person accepts what PortOne has for a paid cycle."""
    accepted = [
        books.attempts.update(attempt, contradiction=None)
        for cycle in _named(books, shards, payment_id)
        if cycle["status"] == "paid"
        for attempt in books.attempts_of(cycle)
        if attempt["contradiction"] is not None
    ]
    for attempt in accepted:
        books.ledger.enter(
            attempt,
            "operator",
            attempt_id=attempt["attempt_id"],
            code="accepted",
            message=reason,
            source="operator",
            actor=actor,
        )
    return [{"moved": len(accepted)}]


def hold_cycle(
    books: Books, shards: Sequence[int], payment_id: str, reason: str, actor: str, now: datetime
) -> list[Row]:
    """A person sets aside what is being collected; its attempt stays open, and a booking is to be taken back."""
    moved = [
        books.cycles.update(cycle, status="held", held_reason=reason)
        for cycle in _named(books, shards, payment_id)
        if cycle["status"] == "collecting"
    ]
    for cycle in moved:
        attempt = books.open_attempt(cycle)
        if attempt is not None and attempt["time_to_pay"] is not None:
            want_back(books, attempt, "held", now)
    for cycle in moved:
        books.ledger.enter(cycle, "held", code="operator", message=reason, source="operator", actor=actor)
    return [{"moved": len(moved)}]


def backlog(books: Books, now: datetime) -> list[Row]:
    """What the gauges show."""
    due = [c for c in books.cycles.lively.values() if c["claimable_at"] <= now and c["due_at"] <= now]
    unopened = Counter(s["shard"] for s in books.subscriptions.lively.values() if s["next_due_at"] <= now)
    held = sum(cycle["status"] == "held" for cycle in books.cycles.rows.values())
    held += sum(subscription["status"] == "held" for subscription in books.subscriptions.rows.values())
    held += sum(
        attempt["contradiction"] is not None and books.cycle_of(attempt)["status"] == "paid"
        for attempt in books.attempts.rows.values()
    )
    followed = [(a, books.cycle_of(a)) for a in books.all_open_attempts()]
    open_attempts = [a for a, cycle in followed if cycle["status"] == "collecting" and cycle["due_at"] <= now]
    unwanted = [a for a, _cycle in followed if a["time_to_pay"] and a["revoke_reason"] is not None]
    return [
        {
            "due": _bounded(Counter(cycle["shard"] for cycle in due)),
            "oldest_due_at": min((cycle["claimable_at"] for cycle in due), default=None),
            "unopened": _bounded(unopened),
            "held": held,
            "open_attempts": len(open_attempts),
            "oldest_open_at": min(
                (
                    max(attempt["opened_at"], attempt["time_to_pay"] or attempt["opened_at"])
                    for attempt in open_attempts
                ),
                default=None,
            ),
            "to_take_back": len(unwanted),
            "first_unwanted_at": min((attempt["time_to_pay"] for attempt in unwanted), default=None),
        }
    ]


def list_exceptions(books: Books, limit: int) -> list[Row]:
    """What a person has to decide about."""
    cycles = books.cycles.rows.values()
    found = [(cycle, cycle["held_reason"]) for cycle in cycles if cycle["status"] == "held"]
    for attempt in books.attempts.rows.values():
        cycle = books.cycle_of(attempt)
        if attempt["contradiction"] is not None and cycle["status"] == "paid":
            found.append((cycle, attempt["contradiction"]))
    listed = [
        {
            "business_key": books.subscription_of(cycle)["business_key"],
            "cycle_number": cycle["cycle_number"],
            "due_at": cycle["due_at"],
            "amount_minor": cycle["amount_minor"],
            "currency": cycle["currency"],
            "held_reason": reason,
            "payment_id": cycle["payment_id"],
        }
        for cycle, reason in found
    ]
    listed += [
        {
            "business_key": held["business_key"],
            "cycle_number": held["next_cycle_number"],
            "due_at": held["next_due_at"],
            "amount_minor": held["amount_minor"],
            "currency": held["currency"],
            "held_reason": held["held_reason"],
            "payment_id": None,
        }
        for held in books.subscriptions.rows.values()
        if held["status"] == "held"
    ]
    return sorted(listed, key=itemgetter("due_at"))[:limit]


def other_stores(books: Books, store_id: str) -> list[Row]:
    """The stores, other than ours, of the newest cycles."""
    newest: dict[int, Row] = {}
    for cycle in books.cycles.rows.values():
        if cycle["cycle_id"] >= newest.setdefault(cycle["shard"], cycle)["cycle_id"]:
            newest[cycle["shard"]] = cycle
    return [{"store_id": store} for store in {c["store_id"] for c in newest.values()} - {store_id}]


def want_back(books: Books, attempt: Row, reason: str, look_at: datetime) -> None:
    """A booking is to be taken back, for the first reason that was given."""
    books.attempts.update(attempt, revoke_reason=attempt["revoke_reason"] or reason, look_at=look_at)


def price_of_subscription(books: Books, cycle: Row, now: datetime) -> Row:
    """What a cycle of schedule mode takes from its subscription until its time has come."""
    if cycle["mode"] != "schedule" or cycle["due_at"] <= now:
        return {}
    of = books.subscription_of(cycle)
    return {"amount_minor": of["amount_minor"], "order_name": of["order_name"]}


def _claimed(books: Books, cycle: Row, now: datetime, lease_until: datetime) -> Row:
    new = books.cycles.update(
        cycle,
        claimable_at=lease_until,
        claim_epoch=cycle["claim_epoch"] + 1,
        fruitless_claims=cycle["fruitless_claims"] + 1,
        **price_of_subscription(books, cycle, now),
    )
    subscription = books.subscription_of(new)
    row = {column: new[column] for column in _CLAIMED}
    for column in _CUSTOMER:
        row[column] = subscription[column]
    row["subscription_status"] = subscription["status"]
    return row


def _ours(
    books: Books, shards: Sequence[int], cycle_ids: Sequence[int], payment_ids: Sequence[str], epochs: Sequence[int]
) -> Iterator[tuple[Row, int]]:
    """The rows that are still due, of that epoch and of that payment_id, each once, with their place in the input."""
    seen: set[int] = set()
    for position, cycle_id in enumerate(cycle_ids):
        cycle = books.cycles.rows.get((shards[position], cycle_id))
        if (
            cycle is not None
            and cycle["status"] == "due"
            and cycle["claim_epoch"] == epochs[position]
            and cycle["payment_id"] == payment_ids[position]
            and cycle_id not in seen
        ):
            seen.add(cycle_id)
            yield cycle, position


def _named(books: Books, shards: Sequence[int], payment_id: str) -> list[Row]:
    found = (books.cycle_named(shard, payment_id) for shard in shards)
    return [cycle for cycle in found if cycle is not None]


def _bounded(count: Counter[int]) -> int:
    return sum(min(number, BACKLOG_BOUND) for number in count.values())
