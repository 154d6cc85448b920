"""The oracle: compares what PortOne really did with what our rows say, one by one. It believes neither side's sums.

Every fault is named; a run without faults is an empty answer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg

from billing_worker.billing.model import SHARDS
from billing_worker.store import db, ledger
from tests.conftest import DatabaseUrls
from tests.crash.simulated import Simulated

# Both clocks are this machine's, read in two programs that may be scheduled late.
CLOCKS_DIFFER_MAX = timedelta(milliseconds=20)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Charge:
    """Money that moved, on either side."""

    payment_id: str
    amount_minor: int
    currency: str
    pg_tx_id: str


@dataclass(frozen=True, slots=True)
class Post:
    """One request for a charge, as it arrived at PortOne."""

    payment_id: str
    key: str
    body_sha256: str
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class Cycle:
    """One period, and how it ended."""

    business_key: str
    number: int
    period_start_on: date
    period_end_on: date
    status: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, as our row has it."""

    payment_id: str
    number: int
    key: str
    body_sha256: str
    opened_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Books:
    """Both sides, read when nothing moves any more."""

    charges: Sequence[Charge]
    posts: Sequence[Post]
    posts_without_key: int
    overlaps: Sequence[Json]
    violations: Sequence[Json]
    paid: Sequence[Charge]
    cycles: Sequence[Cycle]
    attempts: Sequence[Attempt]
    subscriptions_overdue: Sequence[str]
    events: Counter[str]
    chain_faults: Sequence[str]


def faults(books: Books) -> dict[str, list[str]]:
    """Everything that is wrong, by name; empty when nothing is."""
    found = {
        "paid twice": _paid_twice(books),
        "lost": _lost(books),
        "phantom": _phantom(books),
        "missed": _missed(books),
        "overlaps": [str(overlap) for overlap in books.overlaps],
        "violations": [str(violation) for violation in books.violations],
        "other bytes under one key": _other_bytes(books),
        "sent without intent": _without_intent(books),
        "next key before proof": _unproven(books),
        "told otherwise": _told_otherwise(books),
        "chain": iter(books.chain_faults),
    }
    return {name: listed for name, each in found.items() if (listed := list(each))}


def _paid_twice(books: Books) -> Iterator[str]:
    for side, charges in (("PortOne", books.charges), ("ledger", books.paid)):
        for payment_id, times in Counter(charge.payment_id for charge in charges).items():
            if times > 1:
                yield f"{payment_id}: {times} times in {side}"


def _lost(books: Books) -> Iterator[str]:
    paid = set(books.paid)
    yield from (f"{charge}: not in the ledger" for charge in books.charges if charge not in paid)


def _phantom(books: Books) -> Iterator[str]:
    charged = set(books.charges)
    yield from (f"{entry}: not at PortOne" for entry in books.paid if entry not in charged)


def _missed(books: Books) -> Iterator[str]:
    yield from (f"{business_key}: its next period was not opened" for business_key in books.subscriptions_overdue)
    yield from (f"{cycle}: not ended" for cycle in books.cycles if cycle.status in ("due", "collecting"))
    of_subscription: dict[str, list[Cycle]] = defaultdict(list)
    for cycle in books.cycles:
        of_subscription[cycle.business_key].append(cycle)
    for cycles in of_subscription.values():
        cycles.sort(key=lambda cycle: cycle.number)
        if cycles[0].number != 1:
            yield f"{cycles[0]}: not the first period"
        for one, other in pairwise(cycles):
            if (other.number, other.period_start_on) != (one.number + 1, one.period_end_on):
                yield f"{other}: does not follow {one}"


def _other_bytes(books: Books) -> Iterator[str]:
    written = {attempt.key: attempt.body_sha256 for attempt in books.attempts}
    for post in books.posts:
        if post.key in written and written[post.key] != post.body_sha256:
            yield f"{post.key}: its bytes are not the intent's"


def _without_intent(books: Books) -> Iterator[str]:
    if books.posts_without_key:
        yield f"{books.posts_without_key} requests had no key"
    opened = {attempt.key: attempt.opened_at for attempt in books.attempts}
    for post in books.posts:
        if post.key not in opened:
            yield f"{post.key}: no attempt has this key"
        elif post.arrived_at < opened[post.key] - CLOCKS_DIFFER_MAX:
            yield f"{post.key}: arrived {opened[post.key] - post.arrived_at} before its intent"


def _unproven(books: Books) -> Iterator[str]:
    """Keys that followed another on the same payment while that one had no verdict yet, or was still being sent."""
    last_arrival = {post.key: post.arrived_at for post in books.posts}
    by_payment: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in books.attempts:
        by_payment[attempt.payment_id].append(attempt)
    for attempts in by_payment.values():
        attempts.sort(key=lambda attempt: attempt.number)
        for older, newer in pairwise(attempts):
            if older.settled_at is None or older.settled_at > newer.opened_at:
                yield f"{newer.key}: opened before {older.key} was settled"
            if last_arrival.get(older.key, newer.opened_at) > newer.opened_at + CLOCKS_DIFFER_MAX:
                yield f"{older.key}: sent after {newer.key} was opened"


def _told_otherwise(books: Books) -> Iterator[str]:
    """Each paid cycle is announced to the merchant's systems once."""
    for entry in books.paid:
        if books.events[entry.payment_id] != 1:
            yield f"{entry.payment_id}: {books.events[entry.payment_id]} events say that it is paid"


async def read_books(portone: Simulated, database: DatabaseUrls) -> Books:
    """Both sides as they stand."""
    truth, posts = await portone.truth(), await portone.posts()
    connection = await asyncpg.connect(database.admin_url, timeout=30)
    try:
        return Books(
            charges=[
                Charge(one["paymentId"], one["amount"], one["currency"], one["pgTxId"]) for one in truth["charges"]
            ],
            posts=[
                Post(one["paymentId"], one["idempotency_key"], one["body_sha256"], _instant(one["arrived_at"]))
                for one in posts
            ],
            posts_without_key=truth["counters"]["posts_without_key"],
            overlaps=truth["overlaps"],
            violations=truth["violations"],
            paid=[Charge(*row) for row in await connection.fetch(_PAID)],
            cycles=[Cycle(*row) for row in await connection.fetch(_CYCLES)],
            attempts=[Attempt(*row) for row in await connection.fetch(_ATTEMPTS)],
            subscriptions_overdue=[row["business_key"] for row in await connection.fetch(_OVERDUE)],
            events=Counter(row["payment_id"] for row in await connection.fetch(_EVENTS)),
            chain_faults=await _chain_faults(database),
        )
    finally:
        await connection.close()


async def _chain_faults(database: DatabaseUrls) -> list[str]:
    store = await db.connect(database.worker_url, db.PoolLimits(1, 1), application_name="oracle")
    try:
        return [fault for shard in range(SHARDS) for fault in (await ledger.verify_shard(store.claims, shard))[1]]
    finally:
        await store.close()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


_PAID = "SELECT payment_id, amount_minor, currency, pg_tx_id FROM billing.ledger WHERE kind = 'paid'"
_CYCLES = """
SELECT s.business_key, c.cycle_number, c.period_start_on, c.period_end_on, c.status
FROM billing.cycles c JOIN billing.subscriptions s USING (shard, subscription_id)
"""
_ATTEMPTS = """
SELECT payment_id, attempt_number, idempotency_key, encode(request_sha256, 'hex'), opened_at, settled_at
FROM billing.attempts
"""
_OVERDUE = "SELECT business_key FROM billing.subscriptions WHERE status = 'active' AND next_due_at <= clock_timestamp()"
_EVENTS = "SELECT payload ->> 'payment_id' AS payment_id FROM billing.outbox WHERE event_type = 'charge.succeeded'"
