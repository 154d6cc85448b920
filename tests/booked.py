"""Bookings as the store makes them: a cycle that is due in three days, and what is done with it until then."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.ledger import Entry
from billing_worker.billing.model import Attempt, ClaimedCycle, idempotency_key, payment_id, shard_of
from billing_worker.billing.money import Money
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.settlement import Settlement
from billing_worker.billing.states import AttemptStatus, CycleStatus, EntryKind, Mode, Source
from billing_worker.store import attempts, cycles, ledger, subscriptions
from billing_worker.store.attempts import Intent
from billing_worker.store.cycles import NewCycle
from billing_worker.store.db import Database
from billing_worker.store.subscriptions import Cancellation
from tests.builders import NOON, STORE_ID, a_plan

PLAN = a_plan(mode=Mode.SCHEDULE)
SHARD = shard_of(PLAN.business_key)
DUE_AT = NOON + timedelta(days=3)
LEASE = timedelta(minutes=2)
NEW_CARD = BillingKey("bk-ok-new")
DEARER = replace(PLAN, price=Money(12_900, "KRW"), order_name="연간 이용권")


async def owe(worker: Database, *, plan: PlannedSubscription = PLAN, mode: Mode = Mode.SCHEDULE) -> str:
    """A subscription with a cycle that is due in three days and may be claimed now; the payment_id."""
    await subscriptions.add_subscriptions(worker.claims, [(plan, DUE_AT)])
    [known] = (await known_ones(worker, plan)).values()
    of = payment_id(store_id=STORE_ID, business_key=plan.business_key, period_start_on=DUE_AT.date())
    cycle = NewCycle(
        shard=known.shard,
        subscription_id=known.subscription_id,
        business_key=plan.business_key,
        cycle_number=1,
        period_start_on=DUE_AT.date(),
        period_end_on=DUE_AT.date() + timedelta(days=30),
        due_at=DUE_AT,
        price=plan.price,
        order_name=plan.order_name,
        payment_id=of,
        next_due_at=DUE_AT + timedelta(days=30),
        mode=mode,
        claimable_at=NOON,
    )
    assert await cycles.open_cycles(worker.claims, [cycle], store_id=STORE_ID) == 1
    return of


async def known_ones(worker: Database, plan: PlannedSubscription) -> dict[str, subscriptions.KnownSubscription]:
    return await subscriptions.find_subscriptions(worker.claims, [plan.business_key])


async def claim(worker: Database, now: datetime = NOON) -> list[ClaimedCycle]:
    found: list[ClaimedCycle] = []
    for suspects in (False, True):
        found += await cycles.claim_due_cycles(
            worker.claims, SHARD, store_id=STORE_ID, now=now, lease_until=now + LEASE, limit=9, suspects=suspects
        )
    return found


async def open_booking(worker: Database, cycle: ClaimedCycle, *, now: datetime = NOON) -> list[Attempt]:
    number = cycle.attempts_count + 1
    intent = Intent(cycle, number, idempotency_key(cycle.payment_id, number), b"{}", time_to_pay=cycle.due_at)
    return await attempts.open_attempts(worker.claims, [intent], now=now, look_at=now + LEASE, worker="worker-1")


async def book(worker: Database, *, noted: bool = True) -> Attempt:
    """An open booking, of which PortOne has said that it has it."""
    await owe(worker)
    [cycle] = await claim(worker)
    [attempt] = await open_booking(worker, cycle)
    if noted:
        assert await note(worker, attempt)
    return attempt


async def note(worker: Database, attempt: Attempt, schedule_id: str = "schedule-1") -> bool:
    return await attempts.note_booked(
        worker.outcomes,
        attempt,
        schedule_id=schedule_id,
        look_at=DUE_AT + timedelta(minutes=1),
        source=Source.ANSWER,
        actor="worker-1",
    )


async def change(worker: Database, plan: PlannedSubscription, *, now: datetime = NOON) -> None:
    async with worker.claims.transaction() as transaction:
        known = await subscriptions.find_subscriptions(transaction, [plan.business_key])
        await subscriptions.change_subscriptions(transaction, [(known[plan.business_key], plan)], now=now)


async def look(worker: Database, *, now: datetime = NOON) -> list[Attempt]:
    claimed = await attempts.claim_looks(worker.claims, SHARD, now=now, lease_until=now + LEASE, limit=9)
    return [one.attempt for one in claimed]


def revoked(attempt: Attempt, *, cycle_from: CycleStatus, cycle_status: CycleStatus) -> Settlement:
    entry = Entry(EntryKind.REVOKED, Source.LOOK, amount_minor=attempt.price.amount_minor, code="price")
    return Settlement(
        attempt=attempt,
        source=Source.LOOK,
        attempt_status=AttemptStatus.REVOKED,
        cycle_from=frozenset({cycle_from}),
        cycle_status=cycle_status,
        entries=(entry,),
        events=(),
        claimable_at=NOON if cycle_status is CycleStatus.DUE else None,
    )


async def settle(worker: Database, settlement: Settlement, *, now: datetime = NOON) -> bool:
    return bool(await attempts.settle_attempts(worker.outcomes, [settlement], now=now, actor="worker-1"))


async def cycle_of(admin: Any) -> Any:
    return await admin.fetchrow("SELECT * FROM billing.cycles")


async def attempt_of(admin: Any) -> Any:
    return await admin.fetchrow("SELECT * FROM billing.attempts ORDER BY attempt_number DESC LIMIT 1")


async def faults(worker: Database) -> list[str]:
    return (await ledger.verify_shard(worker.claims, SHARD))[1]


async def cancel(worker: Database) -> Cancellation:
    return await subscriptions.cancel_subscription(
        worker.claims, PLAN.business_key, reason="moved away", actor="kim", now=NOON
    )


async def hold(worker: Database, of: str) -> bool:
    return await cycles.hold_cycle(worker.claims, of, reason="asked us to", actor="kim", now=NOON)


async def skip(worker: Database, of: str) -> bool:
    return await cycles.skip_cycle(worker.claims, of, reason="goodwill", actor="kim", now=NOON, recheck_at=NOON + LEASE)
