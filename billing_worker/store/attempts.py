"""Attempts: opening, settling, looking. One function a named query of sql/queries.

A row is addressed by its id and by what it stands for: after a failover to a server that lacks the last commits, an id
may be another row's, and what we hold in memory must never be written to that one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from billing_worker.billing.model import SHARDS, Attempt, ClaimedCycle
from billing_worker.billing.money import Money
from billing_worker.billing.settlement import Settlement
from billing_worker.billing.states import AttemptStatus, CycleStatus, Source
from billing_worker.store.db import Executor, columns


@dataclass(frozen=True, slots=True)
class Intent:
    """An attempt that is about to be opened: its number, its key, and the exact bytes of its request."""

    cycle: ClaimedCycle
    attempt_number: int
    idempotency_key: str
    request_body: bytes = field(repr=False)
    time_to_pay: datetime | None = None  # when PortOne shall charge by itself; without it we charge


@dataclass(frozen=True, slots=True)
class ClaimedLook:
    """An attempt whose look is ours until the lease ends; look_epoch is the fence of a resend."""

    attempt: Attempt
    look_epoch: int


@dataclass(frozen=True, slots=True)
class LookOrder:
    """When an attempt that was asked about is looked at; while it is being sent, that is when its lease ends."""

    shard: int
    attempt_id: int
    look_at: datetime
    being_sent: bool


async def open_attempts(
    db: Executor, intents: Sequence[Intent], *, now: datetime, look_at: datetime, worker: str
) -> list[Attempt]:
    """Write the intents. Only what comes back may be sent.

    The rest has lost its lease or its cycle; or, of a booking, its subscription has changed or is being changed. Such a
    cycle is still due and may be released.
    """
    rows = [
        (
            i.cycle.shard,
            i.cycle.cycle_id,
            i.cycle.payment_id,
            i.cycle.claim_epoch,
            i.attempt_number,
            i.idempotency_key,
            i.request_body,
            hashlib.sha256(i.request_body).digest(),
            i.time_to_pay,
            i.cycle.billing_key.reveal() if i.time_to_pay else None,
        )
        for i in intents
    ]
    opened = await db.fetch("open_attempts", *columns(rows, 10), now, look_at, worker)
    by_payment = {i.cycle.payment_id: i for i in intents}
    return [_opened(row, by_payment[row["payment_id"]], now) for row in opened]


async def settle_attempts(db: Executor, settlements: Sequence[Settlement], *, now: datetime, actor: str) -> set[str]:
    """Write the settlements in one transaction. Returns the keys of the attempts that were still as decided upon."""
    rows = [_settlement_row(s) for s in settlements]
    entries = [
        (
            s.attempt.idempotency_key,
            position,
            e.kind,
            e.amount_minor,
            e.pg_tx_id,
            e.code,
            e.message,
            e.source,
            e.actor or actor,
        )
        for s in settlements
        for position, e in enumerate(s.entries)
    ]
    events = [
        (s.attempt.idempotency_key, e.event_type, json.dumps(dict(e.payload), ensure_ascii=False))
        for s in settlements
        for e in s.events
    ]
    settled = await db.fetch("settle_attempts", *columns(rows, 19), now, *columns(entries, 9), *columns(events, 3))
    return {row["idempotency_key"] for row in settled}


async def attempt_statuses(db: Executor, attempts: Sequence[Attempt]) -> dict[str, AttemptStatus]:
    """The statuses that stand now, by idempotency key."""
    rows = await db.fetch("attempt_statuses", *columns([_named(a) for a in attempts], 3))
    return {row["idempotency_key"]: AttemptStatus(row["status"]) for row in rows}


async def shards_to_look(db: Executor, now: datetime) -> list[int]:
    """The shards that have an attempt to ask about."""
    return [row["shard"] for row in await db.fetch("shards_to_look", now)]


async def claim_looks(
    db: Executor, shard: int, *, now: datetime, lease_until: datetime, limit: int
) -> list[ClaimedLook]:
    """Take up to limit of the shard's attempts whose look is due."""
    rows = await db.fetch("claim_looks", shard, now, lease_until, limit)
    return [ClaimedLook(_attempt(row), row["look_epoch"]) for row in rows]


async def note_resend(db: Executor, claimed: ClaimedLook, *, now: datetime, look_at: datetime) -> bool:
    """Write down that the bytes leave again. False: somebody else has the attempt, and nothing may be sent."""
    attempt = claimed.attempt
    return bool(await db.fetch("note_resend", *_named(attempt), claimed.look_epoch, now, look_at))


async def note_booked(
    db: Executor, attempt: Attempt, *, schedule_id: str, look_at: datetime, source: Source, actor: str
) -> bool:
    """Write down that PortOne has the booking, and when to ask what became of it.

    True as often as that is what stands; it is entered once. False: the attempt is closed, or has another schedule.
    Where the booking is to be taken back, it is looked at before look_at.
    """
    return bool(await db.fetch("note_booked", *_named(attempt), schedule_id, look_at, source, actor))


async def ask_again(db: Executor, looks: Sequence[tuple[Attempt, datetime | None]]) -> None:
    """Set the next looks; None ends the looking at an attempt that is closed.

    One that is to be taken back, unknown to the attempt given, keeps its look.
    """
    rows = [(*_named(a), a.last_sent_at, a.revoke_reason, look_at) for a, look_at in looks]
    await db.fetch("ask_again", *columns(rows, 6))


async def verify_attempt(
    db: Executor, attempt: Attempt, *, now: datetime, transaction_id: str, refunded_minor: int, actor: str
) -> None:
    """Write down that PortOne's record of a paid attempt agrees with ours, and what of it has been refunded since."""
    await db.fetch("verify_attempt", *_named(attempt), now, transaction_id, refunded_minor, actor)


async def contradict_attempt(db: Executor, attempt: Attempt, *, what: str, look_at: datetime, actor: str) -> bool:
    """Write down that PortOne's record differs. False where that has been said before."""
    return bool(await db.fetch("contradict_attempt", *_named(attempt), look_at, what, actor))


async def hand_over_attempts(db: Executor, attempts: Sequence[Attempt], *, now: datetime) -> None:
    """Let the reconciler have open attempts that will not be sent from here."""
    await db.fetch("hand_over_attempts", *columns([_named(a) for a in attempts], 3), now)


async def look_soon(db: Executor, payment_id: str, *, now: datetime) -> LookOrder | None:
    """Have the newest attempt of a payment_id looked at next, unless its sender has it. None where there is none."""
    rows = await db.fetch("look_soon", list(range(SHARDS)), payment_id, now)
    return LookOrder(**dict(rows[0])) if rows else None


async def show_attempts(db: Executor, payment_id: str) -> list[asyncpg.Record]:
    """Every attempt on a payment_id, without its request."""
    return await db.fetch("show_attempts", list(range(SHARDS)), payment_id)


def _named(attempt: Attempt) -> tuple[int, int, str]:
    """The row's id, and what says that the row is still this attempt's."""
    return attempt.shard, attempt.attempt_id, attempt.idempotency_key


def _opened(row: asyncpg.Record, intent: Intent, now: datetime) -> Attempt:
    cycle = intent.cycle
    return Attempt(
        shard=cycle.shard,
        attempt_id=row["attempt_id"],
        cycle_id=cycle.cycle_id,
        subscription_id=cycle.subscription_id,
        business_key=cycle.business_key,
        cycle_number=cycle.cycle_number,
        cycle_status=CycleStatus.COLLECTING,
        attempt_number=intent.attempt_number,
        store_id=row["store_id"],
        attempts_count=intent.attempt_number,
        payment_id=cycle.payment_id,
        idempotency_key=intent.idempotency_key,
        price=cycle.price,
        status=AttemptStatus.OPEN,
        opened_at=now,
        last_sent_at=now,
        looks=0,
        due_at=row["due_at"],
        declines_count=row["declines_count"],
        first_declined_at=row["first_declined_at"],
        older_transaction_ids=frozenset(row["older_transaction_ids"]),
        request_body=intent.request_body,
        time_to_pay=intent.time_to_pay,
    )


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(
        shard=row["shard"],
        attempt_id=row["attempt_id"],
        cycle_id=row["cycle_id"],
        subscription_id=row["subscription_id"],
        business_key=row["business_key"],
        cycle_number=row["cycle_number"],
        cycle_status=CycleStatus(row["cycle_status"]),
        attempt_number=row["attempt_number"],
        store_id=row["store_id"],
        attempts_count=row["attempts_count"],
        payment_id=row["payment_id"],
        idempotency_key=row["idempotency_key"],
        price=Money(row["amount_minor"], row["currency"]),
        status=AttemptStatus(row["status"]),
        opened_at=row["opened_at"],
        last_sent_at=row["last_sent_at"],
        looks=row["looks"],
        due_at=row["due_at"],
        declines_count=row["declines_count"],
        first_declined_at=row["first_declined_at"],
        older_transaction_ids=frozenset(row["older_transaction_ids"]),
        settled_at=row["settled_at"],
        pg_tx_id=row["pg_tx_id"],
        request_body=row["request_body"],
        time_to_pay=row["time_to_pay"],
        schedule_id=row["schedule_id"],
        revoke_reason=row["revoke_reason"],
        contradiction=row["contradiction"],
    )


def _settlement_row(s: Settlement) -> tuple[object, ...]:
    return (
        *_named(s.attempt),
        s.attempt.cycle_id,
        s.attempt.status,
        s.attempt.last_sent_at,
        s.attempt_status,
        "|".join(sorted(s.cycle_from)),
        s.cycle_status,
        s.claimable_at,
        s.held_reason,
        s.look_at,
        s.transaction_id,
        s.pg_tx_id,
        s.paid_at,
        s.decline_code,
        s.decline_message,
        s.declines_added,
        s.source,
    )
