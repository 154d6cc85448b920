"""The oracle: compares what PortOne really did with what our rows say, one by one. It believes neither side's sums.

Every fault is named; a run without faults is an empty answer. Where Postgres keeps the moment of each commit, an intent
counts from that moment and not from what its worker wrote into it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import asyncpg

from billing_worker.billing.model import SHARDS
from billing_worker.store import db, ledger
from tests.conftest import DatabaseUrls
from tests.crash.simulated import Simulated

# Both clocks are this machine's, read in two programs that may be scheduled late.
CLOCKS_DIFFER_MAX = timedelta(milliseconds=20)

# How long a request may be on its way between the last look at its deadline and its arrival, on two cores that a dozen
# programs share. A worker that slept past its lease and sends all the same is later than that.
ARRIVES_AFTER_MAX = timedelta(seconds=3)

Json = dict[str, Any]
T = TypeVar("T")


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
    """One try, as our rows have it: when its intent, each noted resend and its first verdict were there."""

    payment_id: str
    number: int
    key: str
    body_sha256: str
    opened_at: datetime
    settled_at: datetime | None
    resent_at: Sequence[datetime] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Until when bytes may leave: after the intent or note before them, and after the first intent of their key."""

    send_window: timedelta
    resend_until: timedelta


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
    paid_at: Mapping[str, datetime] = field(default_factory=dict)
    bounds: Bounds | None = None
    # Keys of which an acknowledged intent or resend was lost with its server: until then they may be sent all the same.
    keys_lost: frozenset[str] = frozenset()
    history_lost_at: datetime | None = None

    def posts_in_history(self) -> list[Post]:
        """The requests whose rows nothing has taken away."""
        return [post for post in self.posts if not self._is_excused(post)]

    def _is_excused(self, post: Post) -> bool:
        lost_at = self.history_lost_at
        return post.key in self.keys_lost and lost_at is not None and post.arrived_at <= lost_at


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
        "sent too late": _too_late(books),
        "sent when paid": _when_paid(books),
        "next key before proof": _unproven(books),
        "told otherwise": _told_otherwise(books),
        "chain": iter(books.chain_faults),
    }
    return {name: listed for name, each in found.items() if (listed := list(each))}


def payments_in(books: Books, fault: str) -> set[str]:
    """The payments that a fault names, by themselves or by one of their keys."""
    return {one.payment_id for one in (*books.posts, *books.attempts) if one.payment_id in fault}


def known_of(books: Books, fault: str) -> list[str]:
    """All that the books have on the payments of a fault: what a person needs to judge it."""
    payments = payments_in(books, fault)
    known: list[object] = [attempt for attempt in books.attempts if attempt.payment_id in payments]
    known += sorted((post for post in books.posts if post.payment_id in payments), key=lambda post: post.arrived_at)
    known += [f"{payment_id} paid at {books.paid_at.get(payment_id)}" for payment_id in sorted(payments)]
    if books.history_lost_at is not None:
        lost = sorted(key for key in books.keys_lost if any(key.startswith(payment_id) for payment_id in payments))
        known.append(f"history lost until {books.history_lost_at}, of these keys: {', '.join(lost) or 'none'}")
    return [str(one) for one in known]


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
        # Of a key whose row is gone the first bytes that arrived are what all others must be.
        if written.setdefault(post.key, post.body_sha256) != post.body_sha256:
            yield f"{post.key}: its bytes are not the intent's"


def _without_intent(books: Books) -> Iterator[str]:
    if books.posts_without_key:
        yield f"{books.posts_without_key} requests had no key"
    opened = {attempt.key: attempt.opened_at for attempt in books.attempts}
    for post in books.posts_in_history():
        if post.key not in opened:
            yield f"{post.key}: no attempt has this key"
        elif post.arrived_at < opened[post.key] - CLOCKS_DIFFER_MAX:
            yield f"{post.key}: arrived {opened[post.key] - post.arrived_at} before its intent"


def _too_late(books: Books) -> Iterator[str]:
    """Requests that arrived when neither the intent nor a noted resend still allowed them."""
    if books.bounds is None:
        return
    attempts = {attempt.key: attempt for attempt in books.attempts}
    for post in books.posts_in_history():
        if (attempt := attempts.get(post.key)) is None:
            continue
        allowed = [at for at in (attempt.opened_at, *attempt.resent_at) if at <= post.arrived_at + CLOCKS_DIFFER_MAX]
        late = post.arrived_at - max(allowed, default=attempt.opened_at) - books.bounds.send_window
        if late > ARRIVES_AFTER_MAX:
            yield f"{post.key}: arrived {late} after its time to send"
        if (
            post.arrived_at - attempt.opened_at
            > books.bounds.resend_until + books.bounds.send_window + ARRIVES_AFTER_MAX
        ):
            yield f"{post.key}: arrived {post.arrived_at - attempt.opened_at} after its intent"


def _when_paid(books: Books) -> Iterator[str]:
    for post in books.posts_in_history():
        paid_at = books.paid_at.get(post.payment_id)
        if paid_at is not None and post.arrived_at > paid_at + CLOCKS_DIFFER_MAX:
            yield f"{post.key}: arrived {post.arrived_at - paid_at} after the cycle was paid"


def _unproven(books: Books) -> Iterator[str]:
    """Keys that followed another on the same payment while that one had no verdict yet, or was still being sent."""
    last_arrival = {post.key: post.arrived_at for post in books.posts_in_history()}
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


async def read_books(
    portone: Simulated,
    database: DatabaseUrls,
    *,
    bounds: Bounds | None = None,
    history_lost_at: datetime | None = None,
    keys_lost: Iterable[str] = (),
) -> Books:
    """Both sides as they stand."""
    truth, posts = await portone.truth(), await portone.posts()
    connection = await asyncpg.connect(database.admin_url, timeout=30)
    try:
        moments = await _Moments.of(connection)
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
            attempts=[moments.attempt(row) for row in await connection.fetch(_ATTEMPTS)],
            subscriptions_overdue=[row["business_key"] for row in await connection.fetch(_OVERDUE)],
            events=Counter(row["payment_id"] for row in await connection.fetch(_EVENTS)),
            chain_faults=await _chain_faults(database),
            paid_at=moments.paid,
            bounds=bounds,
            history_lost_at=history_lost_at,
            keys_lost=frozenset(keys_lost),
        )
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class _Moments:
    """When transactions committed, as far as this server has kept it, by attempt, payment and key."""

    intents: Mapping[int, datetime]
    verdicts: Mapping[int, datetime]
    paid: Mapping[str, datetime]
    resends: Mapping[str, Sequence[datetime]]

    @classmethod
    async def of(cls, connection: Any) -> "_Moments":
        if await connection.fetchval("SHOW track_commit_timestamp") != "on":
            return cls({}, {}, {}, {})
        entries = await connection.fetch(_COMMITS_OF_ENTRIES)
        witnessed = await connection.fetchval("SELECT to_regclass('witness.resends') IS NOT NULL")
        resends = await connection.fetch(_COMMITS_OF_RESENDS) if witnessed else []
        return cls(
            intents={row["attempt_id"]: row["at"] for row in entries if row["kind"] == "intent"},
            verdicts=_first((row["attempt_id"], row["at"]) for row in entries if row["kind"] in _VERDICTS),
            paid=_first((row["payment_id"], row["at"]) for row in entries if row["kind"] == "paid"),
            resends={row["idempotency_key"]: row["moments"] for row in resends},
        )

    def attempt(self, row: Any) -> Attempt:
        noted = self.resends.get(row["idempotency_key"], ())
        written = row["last_sent_at"]
        return Attempt(
            payment_id=row["payment_id"],
            number=row["attempt_number"],
            key=row["idempotency_key"],
            body_sha256=row["body_sha256"],
            opened_at=self.intents.get(row["attempt_id"], row["opened_at"]),
            settled_at=self.verdicts.get(row["attempt_id"], row["settled_at"]),
            resent_at=noted or ((written,) if written > row["opened_at"] else ()),
        )


def _first(moments: Iterable[tuple[T, datetime]]) -> dict[T, datetime]:
    first: dict[T, datetime] = {}
    for key, at in moments:
        first[key] = min(at, first.get(key, at))
    return first


async def _chain_faults(database: DatabaseUrls) -> list[str]:
    store = await db.connect(database.worker_url, db.PoolLimits(1, 1), application_name="oracle")
    try:
        return [fault for shard in range(SHARDS) for fault in (await ledger.verify_shard(store.claims, shard))[1]]
    finally:
        await store.close()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


# What closes an attempt. A correction comes after one of these.
_VERDICTS = frozenset({"paid", "declined", "refused", "voided"})

_PAID = "SELECT payment_id, amount_minor, currency, pg_tx_id FROM billing.ledger WHERE kind = 'paid'"
_CYCLES = """
SELECT s.business_key, c.cycle_number, c.period_start_on, c.period_end_on, c.status
FROM billing.cycles c JOIN billing.subscriptions s USING (shard, subscription_id)
"""
_ATTEMPTS = """
SELECT attempt_id, payment_id, attempt_number, idempotency_key, encode(request_sha256, 'hex') AS body_sha256, opened_at,
       last_sent_at, settled_at
FROM billing.attempts
"""
_OVERDUE = "SELECT business_key FROM billing.subscriptions WHERE status = 'active' AND next_due_at <= clock_timestamp()"
_EVENTS = "SELECT payload ->> 'payment_id' AS payment_id FROM billing.outbox WHERE event_type = 'charge.succeeded'"
# No entry is ever changed, so the transaction that wrote it is the row's own.
_COMMITS_OF_ENTRIES = """
SELECT attempt_id, payment_id, kind, pg_xact_commit_timestamp(xmin) AS at
FROM billing.ledger
WHERE attempt_id IS NOT NULL AND pg_xact_commit_timestamp(xmin) IS NOT NULL
"""
_COMMITS_OF_RESENDS = """
SELECT idempotency_key, array_agg(pg_xact_commit_timestamp(xmin)) AS moments
FROM witness.resends
GROUP BY idempotency_key
"""

# Keeps what a row forgets: each moment at which an attempt was noted to be sent again. For the oracle only.
WITNESS = """
CREATE SCHEMA witness;
CREATE TABLE witness.resends (idempotency_key text NOT NULL);
CREATE FUNCTION witness.note_resend() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO witness.resends VALUES (NEW.idempotency_key);
    RETURN NULL;
END $$;
CREATE TRIGGER witness_resend AFTER UPDATE OF last_sent_at ON billing.attempts
    FOR EACH ROW WHEN (OLD.last_sent_at IS DISTINCT FROM NEW.last_sent_at) EXECUTE FUNCTION witness.note_resend();
"""
