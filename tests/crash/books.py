"""The books of both sides, read when nothing moves any more: what PortOne really did, and what our rows say.

Where Postgres keeps the moment of each commit, an intent counts from that moment and not from what its worker wrote
into it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from billing_worker.billing.model import SHARDS
from billing_worker.store import db, ledger
from tests.conftest import DatabaseUrls
from tests.crash.simulated import Simulated

# Both clocks are this machine's, read in two programs that may be scheduled late.
CLOCKS_DIFFER_MAX = timedelta(milliseconds=20)

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
    """One request for a charge or a booking, as it arrived at PortOne."""

    payment_id: str
    key: str
    body_sha256: str
    arrived_at: datetime
    books: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """One booking, as PortOne has it."""

    schedule_id: str
    payment_id: str
    status: str
    created_at: datetime
    fired_at: datetime | None = None
    ended_at: datetime | None = None  # charged, failed or revoked: it charges no more

    def lives_at(self, moment: datetime) -> bool:
        """Whether it was going to charge, or charging, whatever the clocks of two programs make of that moment."""
        began = self.created_at < moment - CLOCKS_DIFFER_MAX
        return began and (self.ended_at is None or self.ended_at > moment + CLOCKS_DIFFER_MAX)


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
    status: str = ""
    is_booking: bool = False


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
    schedules: Sequence[Schedule] = ()
    charged_in_vain: int = 0  # bookings that PortOne charged by although they were to be taken back
    hints_read: int = 0
    readings: int = 0  # how often somebody took the right to read one of PortOne's lists
    paid_at: Mapping[str, datetime] = field(default_factory=dict)
    bounds: Bounds | None = None
    # Keys of which an acknowledged intent or resend was lost with its server: until then they may be sent all the same.
    keys_lost: frozenset[str] = frozenset()
    history_lost_at: datetime | None = None

    def posts_in_history(self) -> list[Post]:
        """The requests whose rows nothing has taken away."""
        return [post for post in self.posts if not self._is_excused(post)]

    @property
    def payments_lost(self) -> frozenset[str]:
        """The payments of the keys whose rows were lost: what PortOne still has booked for them nobody here knows."""
        return frozenset(key.rpartition("-")[0] for key in self.keys_lost)

    def _is_excused(self, post: Post) -> bool:
        lost_at = self.history_lost_at
        return post.key in self.keys_lost and lost_at is not None and post.arrived_at <= lost_at


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
                Post(
                    one["paymentId"],
                    one["idempotency_key"],
                    one["body_sha256"],
                    _instant(one["arrived_at"]),
                    books=one["path"].endswith("/schedule"),
                )
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
            charged_in_vain=await connection.fetchval(_IN_VAIN),
            hints_read=await connection.fetchval(_HINTS_READ),
            readings=await connection.fetchval(_READINGS),
            schedules=[_schedule(one) for one in truth["schedules"]],
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
            status=row["status"],
            is_booking=row["time_to_pay"] is not None,
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


def _schedule(one: Json) -> Schedule:
    ended_at = one["revokedAt"] or one["completedAt"]
    return Schedule(
        one["scheduleId"],
        one["paymentId"],
        one["status"],
        _instant(one["createdAt"]),
        fired_at=_instant(one["fired_at"]) if one["fired_at"] else None,
        ended_at=_instant(ended_at) if ended_at else None,
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


# What closes an attempt. A correction comes after one of these.
_VERDICTS = frozenset({"paid", "declined", "refused", "voided", "revoked"})

_PAID = "SELECT payment_id, amount_minor, currency, pg_tx_id FROM billing.ledger WHERE kind = 'paid'"
_CYCLES = """
SELECT s.business_key, c.cycle_number, c.period_start_on, c.period_end_on, c.status
FROM billing.cycles c JOIN billing.subscriptions s USING (shard, subscription_id)
"""
_ATTEMPTS = """
SELECT attempt_id, payment_id, attempt_number, idempotency_key, encode(request_sha256, 'hex') AS body_sha256, opened_at,
       last_sent_at, settled_at, status, time_to_pay
FROM billing.attempts
"""
_OVERDUE = "SELECT business_key FROM billing.subscriptions WHERE status = 'active' AND next_due_at <= clock_timestamp()"
_EVENTS = "SELECT payload ->> 'payment_id' AS payment_id FROM billing.outbox WHERE event_type = 'charge.succeeded'"
_IN_VAIN = "SELECT count(*) FROM billing.attempts WHERE status = 'paid' AND revoke_reason IS NOT NULL"
_HINTS_READ = "SELECT count(*) FROM billing.webhook_inbox WHERE read_at IS NOT NULL"
_READINGS = "SELECT coalesce(sum(epoch), 0)::bigint FROM billing.positions"
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
