"""The twin of sql/queries/subscriptions.sql and of what control.sql tells: each function is the query of its name."""

# ruff: noqa: PLR0917 - a query takes what its SQL takes, by position

from collections.abc import Sequence
from datetime import date, datetime, time
from operator import itemgetter
from typing import Any

from tests.simulation.store_twin_books import Books
from tests.simulation.store_twin_cycles import want_back
from tests.simulation.store_twin_tables import NOT_NULL, Row, refused

_by_next_due_at = itemgetter("next_due_at", "subscription_id")

CHANGEABLE = ("customer_id", "customer_name", "customer_phone", "customer_email", "billing_key", "order_name",
               "amount_minor", "mode")  # fmt: skip
_FIXED = ("currency", "period_unit", "period_count", "anchor_on", "zone", "charge_at")
_DUE = ("shard", "subscription_id", "business_key", "order_name", "amount_minor", "mode", *_FIXED,
        "next_cycle_number")  # fmt: skip
_FOUND = ("shard", "subscription_id", "business_key", *CHANGEABLE, *_FIXED, "status", "first_cycle_number",
          "next_cycle_number")  # fmt: skip


def shards_to_renew(books: Books, now: datetime, lead_until: datetime) -> list[Row]:
    """The shards with a subscription whose next period has come, or is to be booked by now."""
    shards = {one["shard"] for one in books.subscriptions.lively.values() if _comes(one, now, lead_until)}
    return [{"shard": shard} for shard in sorted(shards)]


def lock_due_subscriptions(books: Books, shard: int, now: datetime, limit: int, lead_until: datetime) -> list[Row]:
    """The shard's subscriptions whose next period has come, or is to be booked. Nobody runs a query beside this one, so
    none is locked. What is owed is earlier than what is to be booked.
    """
    lively = books.subscriptions.lively.values()
    due = [one for one in lively if one["shard"] == shard and _comes(one, now, lead_until)]
    due.sort(key=_by_next_due_at)
    return [{column: one[column] for column in _DUE} for one in due[:limit]]


def _comes(one: Row, now: datetime, lead_until: datetime) -> bool:
    return bool(one["next_due_at"] <= (max(now, lead_until) if one["mode"] == "schedule" else now))


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
    modes: Sequence[str],
    claimable_ats: Sequence[datetime],
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
            "mode": str(modes[position]),
            "claimable_at": claimable_ats[position],
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


def lock_subscription(books: Books, shard: int, business_key: str) -> list[Row]:
    """Before it is cancelled."""
    one = books.subscription_named(shard, business_key)
    return [{"shard": shard, "subscription_id": one["subscription_id"]}] if one else []


def cancel_subscription(
    books: Books, shard: int, business_key: str, reason: str, actor: str, now: datetime
) -> list[Row]:
    """End a subscription, skip those of its cycles that are due, and want its bookings back."""
    one = books.subscription_named(shard, business_key)
    if one is None or one["status"] not in {"active", "held"}:
        return [{"cancelled": 0, "skipped": 0, "revoking": 0}]
    cancelled = books.subscriptions.update(one, status="cancelled", held_reason=None, changed_at=books.now())
    due = [
        cycle
        for cycle in books.cycles.lively.values()
        if cycle["shard"] == shard and cycle["subscription_id"] == one["subscription_id"]
    ]
    skipped = [books.cycles.update(cycle, status="skipped") for cycle in sorted(due, key=itemgetter("cycle_id"))]
    booked = _bookings_of(books, one)
    for attempt in booked:
        want_back(books, attempt, "cancelled", now)
    books.ledger.enter(cancelled, "operator", code="cancelled", message=reason, source="operator", actor=actor)
    for cycle in skipped:
        books.ledger.enter(cycle, "skipped", code="cancelled", message=reason, source="operator", actor=actor)
    return [{"cancelled": 1, "skipped": len(skipped), "revoking": len(booked)}]


def _bookings_of(books: Books, subscription: Row) -> list[Row]:
    """The open bookings of a subscription."""
    named = (subscription["shard"], subscription["subscription_id"])
    return [
        attempt
        for attempt in books.all_open_attempts()
        if attempt["time_to_pay"] is not None and (attempt["shard"], attempt["subscription_id"]) == named
    ]


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
    modes: Sequence[str],
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
    customers = (customer_ids, customer_names, customer_phones, customer_emails)
    changeable = (*customers, billing_keys, order_names, amounts, modes)
    fixed = (currencies, units, counts, anchors, zones, charge_ats)
    for position, business_key in enumerate(business_keys):
        row: Row = {"shard": shards[position], "business_key": business_key}
        for column, values in zip((*CHANGEABLE, *_FIXED), (*changeable, *fixed), strict=True):
            row[column] = values[position]
        row |= {
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
    *rest: Any,
) -> list[Row]:
    """Give known subscriptions what may change of their plans; what is booked with another price or card is to be
    taken back, and what is not booked yet takes the price.
    """
    *changeable, now = rest
    changed: set[tuple[int, int]] = set()
    for position, subscription_id in enumerate(subscription_ids):
        key = (shards[position], subscription_id)
        one = books.subscriptions.rows.get(key)
        if one is not None and key not in changed:
            changed.add(key)
            values = {name: of[position] for name, of in zip(CHANGEABLE, changeable, strict=True)}
            new = books.subscriptions.update(one, **values, changed_at=books.now())
            _follow_the_change(books, one, new, now)
    return []


def _follow_the_change(books: Books, old: Row, new: Row, now: datetime) -> None:
    other_card = old["billing_key"] != new["billing_key"]
    other_price = (old["amount_minor"], old["order_name"]) != (new["amount_minor"], new["order_name"])
    if not (other_card or other_price):
        return
    for cycle in list(books.cycles.lively.values()):
        of_it = (cycle["shard"], cycle["subscription_id"]) == (new["shard"], new["subscription_id"])
        if of_it and cycle["mode"] == "schedule" and cycle["due_at"] > now:
            price = {"amount_minor": new["amount_minor"], "order_name": new["order_name"]}
            books.cycles.update(cycle, claim_epoch=cycle["claim_epoch"] + 1, **price)
    for attempt in _bookings_of(books, new):
        in_time = other_price and attempt["time_to_pay"] > now
        if in_time and attempt["revoke_reason"] in {None, "card"}:
            books.attempts.update(attempt, revoke_reason="price", look_at=now)
        elif in_time or other_card:
            want_back(books, attempt, "card", now)


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
        "correction_number": 0,
        "adopted": False,
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
