"""The twin of sql/queries/subscriptions.sql and of what control.sql tells: each function is the query of its name."""

# ruff: noqa: PLR0917 - a query takes what its SQL takes, by position

from collections.abc import Sequence
from datetime import date, datetime, time
from operator import itemgetter

from tests.simulation.store_twin_books import Books
from tests.simulation.store_twin_tables import NOT_NULL, Row, refused

_by_next_due_at = itemgetter("next_due_at", "subscription_id")

_CHANGEABLE = ("customer_id", "customer_name", "customer_phone", "customer_email", "billing_key", "order_name",
               "amount_minor")  # fmt: skip
_FIXED = ("currency", "period_unit", "period_count", "anchor_on", "zone", "charge_at")
_DUE = ("shard", "subscription_id", "business_key", "order_name", "amount_minor", *_FIXED, "next_cycle_number")
_FOUND = ("shard", "subscription_id", "business_key", *_CHANGEABLE, *_FIXED, "status", "first_cycle_number",
          "next_cycle_number")  # fmt: skip


def shards_to_renew(books: Books, now: datetime) -> list[Row]:
    """The shards with a subscription whose next period has come."""
    shards = {one["shard"] for one in books.subscriptions.lively.values() if one["next_due_at"] <= now}
    return [{"shard": shard} for shard in sorted(shards)]


def lock_due_subscriptions(books: Books, shard: int, now: datetime, limit: int) -> list[Row]:
    """The shard's subscriptions whose next period has come. Nobody runs a query beside this one, so none is locked."""
    due = [one for one in books.subscriptions.lively.values() if one["shard"] == shard and one["next_due_at"] <= now]
    due.sort(key=_by_next_due_at)
    return [{column: one[column] for column in _DUE} for one in due[:limit]]


def open_cycles(
    books: Books,
    shards: Sequence[int],
    subscription_ids: Sequence[int],
    business_keys: Sequence[str],
    numbers: Sequence[int],
    starts: Sequence[date],
    ends: Sequence[date],
    due_ats: Sequence[datetime],
    amounts: Sequence[int],
    currencies: Sequence[str],
    order_names: Sequence[str],
    payment_ids: Sequence[str],
    next_due_ats: Sequence[datetime],
    store_id: str,
) -> list[Row]:
    """Open one cycle a subscription and move the subscription on."""
    rows = books.subscriptions.rows
    known = [
        position
        for position, subscription_id in enumerate(subscription_ids)
        if (one := rows.get((shards[position], subscription_id))) and one["business_key"] == business_keys[position]
    ]
    for position in known:
        new = {
            "shard": shards[position],
            "subscription_id": subscription_ids[position],
            "cycle_number": numbers[position],
            "period_start_on": starts[position],
            "period_end_on": ends[position],
            "due_at": due_ats[position],
            "amount_minor": amounts[position],
            "currency": currencies[position],
            "order_name": order_names[position],
            "store_id": store_id,
            "payment_id": payment_ids[position],
            "claimable_at": due_ats[position],
        }
        books.cycles.insert(_fresh_cycle(books, new))
    moved: set[tuple[int, int]] = set()
    for position in known:
        key = (shards[position], subscription_ids[position])
        # A statement changes a row once, on what it was when the statement began.
        if key not in moved and rows[key]["next_cycle_number"] == numbers[position]:
            moved.add(key)
            following = numbers[position] + 1
            books.subscriptions.update(rows[key], next_cycle_number=following, next_due_at=next_due_ats[position])
    return [{"cycles": len(known)}]


def hold_subscription(books: Books, shard: int, subscription_id: int, reason: str, actor: str) -> list[Row]:
    """Set a subscription aside for a person."""
    one = books.subscriptions.rows.get((shard, subscription_id))
    if one is not None and one["status"] == "active":
        held = books.subscriptions.update(one, status="held", held_reason=reason, changed_at=books.now())
        books.ledger.enter(held, "held", code=reason, source="rule", actor=actor)
    return []


def resume_subscription(books: Books, shard: int, business_key: str, reason: str, actor: str) -> list[Row]:
    """Let a held subscription renew again."""
    one = books.subscription_named(shard, business_key)
    if one is None or one["status"] != "held":
        return [{"resumed": 0}]
    resumed = books.subscriptions.update(one, status="active", held_reason=None, changed_at=books.now())
    books.ledger.enter(resumed, "operator", code="resumed", message=reason, source="operator", actor=actor)
    return [{"resumed": 1}]


def cancel_subscription(books: Books, shard: int, business_key: str, reason: str, actor: str) -> list[Row]:
    """End a subscription, and skip those of its cycles that are due."""
    one = books.subscription_named(shard, business_key)
    if one is None or one["status"] not in {"active", "held"}:
        return [{"cancelled": 0, "skipped": 0}]
    cancelled = books.subscriptions.update(one, status="cancelled", held_reason=None, changed_at=books.now())
    due = [
        cycle
        for cycle in books.cycles.lively.values()
        if cycle["shard"] == shard and cycle["subscription_id"] == one["subscription_id"]
    ]
    skipped = [books.cycles.update(cycle, status="skipped") for cycle in sorted(due, key=itemgetter("cycle_id"))]
    books.ledger.enter(cancelled, "operator", code="cancelled", message=reason, source="operator", actor=actor)
    for cycle in skipped:
        books.ledger.enter(cycle, "skipped", code="cancelled", message=reason, source="operator", actor=actor)
    return [{"cancelled": 1, "skipped": len(skipped)}]


def find_subscriptions(books: Books, shards: Sequence[int], business_keys: Sequence[str]) -> list[Row]:
    """Those of the business keys that are known."""
    found = {
        one["subscription_id"]: one
        for shard in shards
        for business_key in business_keys
        if (one := books.subscription_named(shard, business_key)) is not None
    }
    ordered = sorted(found.values(), key=itemgetter("shard", "subscription_id"))
    return [{column: one[column] for column in _FOUND} for one in ordered]


def add_subscriptions(
    books: Books,
    shards: Sequence[int],
    business_keys: Sequence[str],
    customer_ids: Sequence[str],
    customer_names: Sequence[str],
    customer_phones: Sequence[str],
    customer_emails: Sequence[str],
    billing_keys: Sequence[str],
    order_names: Sequence[str],
    amounts: Sequence[int],
    currencies: Sequence[str],
    units: Sequence[str],
    counts: Sequence[int],
    anchors: Sequence[date],
    zones: Sequence[str],
    charge_ats: Sequence[time],
    first_numbers: Sequence[int],
    next_due_ats: Sequence[datetime],
) -> list[Row]:
    """Insert subscriptions."""
    added: list[Row] = []
    changeable = (customer_ids, customer_names, customer_phones, customer_emails, billing_keys, order_names, amounts)
    fixed = (currencies, units, counts, anchors, zones, charge_ats)
    for position, business_key in enumerate(business_keys):
        row: Row = {"shard": shards[position], "business_key": business_key}
        for column, values in zip((*_CHANGEABLE, *_FIXED), (*changeable, *fixed), strict=True):
            row[column] = values[position]
        row |= {
            "mode": "charge",
            "status": "active",
            "held_reason": None,
            "first_cycle_number": first_numbers[position],
            "next_cycle_number": first_numbers[position],
            "next_due_at": next_due_ats[position],
            "created_at": books.now(),
            "changed_at": books.now(),
        }
        new = books.subscriptions.insert(row)
        added.append({column: new[column] for column in ("shard", "subscription_id", "business_key")})
    return added


def change_subscriptions(
    books: Books,
    shards: Sequence[int],
    subscription_ids: Sequence[int],
    *changeable: Sequence[object],
) -> list[Row]:
    """Give known subscriptions what may change of their plans."""
    changed: set[tuple[int, int]] = set()
    for position, subscription_id in enumerate(subscription_ids):
        key = (shards[position], subscription_id)
        one = books.subscriptions.rows.get(key)
        if one is not None and key not in changed:
            changed.add(key)
            values = {name: of[position] for name, of in zip(_CHANGEABLE, changeable, strict=True)}
            books.subscriptions.update(one, **values, changed_at=books.now())
    return []


def primary_clock(books: Books) -> list[Row]:
    """The primary's time."""
    return [{"now": books.now()}]


def read_control(books: Books, name: str) -> list[Row]:
    """What a person has ordered."""
    row = books.control.get(name)
    return [{column: row[column] for column in ("value", "reason", "actor", "changed_at")}] if row else []


def write_control(books: Books, name: str, value: str, reason: str, actor: str) -> list[Row]:
    """Order something of every worker."""
    if reason is None or actor is None:
        raise refused(NOT_NULL)
    # Nothing here comes after the write, so there is nothing that it would have to be taken back for.
    books.write_control({"name": name, "value": value, "reason": reason, "actor": actor, "changed_at": books.now()})
    return []


def _fresh_cycle(books: Books, new: Row) -> Row:
    return new | {
        "mode": "charge",
        "correction_number": 0,
        "status": "due",
        "claim_epoch": 0,
        "fruitless_claims": 0,
        "attempts_count": 0,
        "declines_count": 0,
        "first_declined_at": None,
        "held_reason": None,
        "paid_at": None,
        "created_at": books.now(),
    }
