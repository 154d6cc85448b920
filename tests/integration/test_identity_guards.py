"""What a worker still holds of a row that is gone is never written to the row that has its id now.

A failover to a server that lacks the last commits gives the sequences' last numbers, and the epochs, out a second time.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from billing_worker.billing import settlement
from billing_worker.billing.model import Attempt, ClaimedCycle
from billing_worker.billing.outcomes import Paid
from billing_worker.billing.states import CycleStatus, Source
from billing_worker.store import attempts, cycles, subscriptions
from billing_worker.store.attempts import ClaimedLook, Intent
from billing_worker.store.db import Database
from billing_worker.workers import renewer
from tests.builders import NOON, STORE_ID, a_plan, a_policy, an_attempt, some_rules

LEASE = timedelta(minutes=2)
ANOTHER_PAYMENT = "rb1" + "z" * 27
ANOTHER_KEY = f"{ANOTHER_PAYMENT}-g0001"

# The rows that the failover has brought back are others', under the ids and epochs that we know.
OTHERS_NOW = f"""
UPDATE billing.cycles SET payment_id = '{ANOTHER_PAYMENT}';
UPDATE billing.attempts SET payment_id = '{ANOTHER_PAYMENT}', idempotency_key = '{ANOTHER_KEY}';
"""

TABLES = ("subscriptions", "cycles", "attempts", "ledger", "outbox")


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker has in memory."""

    cycle: ClaimedCycle
    attempt: Attempt
    look: ClaimedLook


async def everything(admin: Any) -> str:
    """All that the tables hold, to compare."""
    found = [
        str(await admin.fetchval(f"SELECT jsonb_agg(t ORDER BY t::text) FROM billing.{table} t")) for table in TABLES
    ]
    return hashlib.sha256("".join(found).encode()).hexdigest()


async def claimed_cycle(worker: Database) -> ClaimedCycle:
    """The due cycle of one subscription, under our lease."""
    await subscriptions.add_subscriptions(worker.claims, [(a_plan(), NOON)])
    await renewer.Renewer(worker.claims, store_id=STORE_ID, lead=LEASE, batch_max=9, actor="worker-1").run_once(NOON)
    [cycle] = await cycles.claim_due_cycles(
        worker.claims, a_plan_shard(), store_id=STORE_ID, now=NOON, lease_until=NOON + LEASE, limit=9
    )
    return cycle


def a_plan_shard() -> int:
    return an_attempt().shard


async def opened(worker: Database, cycle: ClaimedCycle) -> list[Attempt]:
    intent = Intent(cycle, 1, f"{cycle.payment_id}-g0001", b"{}")
    return await attempts.open_attempts(worker.claims, [intent], now=NOON, look_at=NOON, worker="worker-1")


async def held(worker: Database, admin: Any, *, status: str) -> Held:
    """A cycle and its attempt in memory, when the rows with their ids have become others'."""
    cycle = await claimed_cycle(worker)
    [attempt] = await opened(worker, cycle)
    [look] = await attempts.claim_looks(worker.claims, cycle.shard, now=NOON, lease_until=NOON + LEASE, limit=9)
    if status == "paid":
        await attempts.settle_attempts(worker.outcomes, [paid(attempt)], now=NOON, actor="worker-1")
    await admin.execute(OTHERS_NOW)
    return Held(cycle, attempt, look)


def paid(attempt: Attempt) -> settlement.Settlement:
    verdict = Paid("pg-1", NOON)
    return settlement.settle(attempt, verdict, Source.ANSWER, now=NOON, rules=some_rules(), policy=a_policy())


Write = Callable[[Database, Held], Awaitable[object]]


async def settles(worker: Database, mine: Held) -> object:
    return await attempts.settle_attempts(worker.outcomes, [paid(mine.attempt)], now=NOON, actor="worker-1")


async def notes_a_resend(worker: Database, mine: Held) -> object:
    return await attempts.note_resend(worker.outcomes, mine.look, now=NOON + LEASE, look_at=NOON + 2 * LEASE)


async def asks_again(worker: Database, mine: Held) -> object:
    await attempts.ask_again(worker.outcomes, [(mine.attempt, NOON + 3 * LEASE)])
    return False


async def contradicts(worker: Database, mine: Held) -> object:
    return await attempts.contradict_attempt(
        worker.outcomes, mine.attempt, what="x", look_at=NOON + 3 * LEASE, actor="worker-1"
    )


async def verifies(worker: Database, mine: Held) -> object:
    await attempts.verify_attempt(
        worker.outcomes, mine.attempt, now=NOON, transaction_id="tx-1", refunded_minor=900, actor="worker-1"
    )
    return False


async def reads_the_status(worker: Database, mine: Held) -> object:
    return await attempts.attempt_statuses(worker.outcomes, [mine.attempt])


@pytest.mark.parametrize(
    ("write", "status"),
    [
        (settles, "open"),
        (notes_a_resend, "open"),
        (asks_again, "open"),
        (contradicts, "open"),
        (contradicts, "paid"),
        (verifies, "paid"),
        (reads_the_status, "open"),
    ],
)
async def test_what_is_known_of_an_attempt_is_not_written_to_another_with_its_id(
    worker: Database, admin: Any, write: Write, status: str
) -> None:
    # given
    mine = await held(worker, admin, status=status)
    before = await everything(admin)

    # when
    written = await write(worker, mine)

    # then
    assert not written
    assert await everything(admin) == before


async def test_an_attempt_is_not_handed_over_by_who_held_another_with_its_id(worker: Database, admin: Any) -> None:
    # given
    cycle = await claimed_cycle(worker)
    [attempt] = await opened(worker, cycle)
    await admin.execute(OTHERS_NOW)
    before = await everything(admin)

    # when
    await attempts.hand_over_attempts(worker.outcomes, [attempt], now=NOON - LEASE)

    # then
    assert await everything(admin) == before


async def opens(worker: Database, cycle: ClaimedCycle) -> object:
    return await opened(worker, cycle)


async def gives_back(worker: Database, cycle: ClaimedCycle) -> object:
    await cycles.release_cycles(worker.claims, [cycle], claimable_at=NOON)
    return False


async def sets_aside(worker: Database, cycle: ClaimedCycle) -> object:
    return await cycles.set_aside_cycles(worker.claims, [(cycle, CycleStatus.HELD, "x")], actor="worker-1")


@pytest.mark.parametrize("write", [opens, gives_back, sets_aside])
async def test_a_claim_is_worth_nothing_on_another_cycle_with_its_id_and_epoch(
    worker: Database, admin: Any, write: Callable[[Database, ClaimedCycle], Awaitable[object]]
) -> None:
    # given
    cycle = await claimed_cycle(worker)
    await admin.execute(OTHERS_NOW)
    before = await everything(admin)

    # when
    written = await write(worker, cycle)

    # then
    assert not written
    assert await everything(admin) == before


async def test_a_period_is_not_opened_for_another_subscription_with_its_id(worker: Database, admin: Any) -> None:
    # given
    await subscriptions.add_subscriptions(worker.claims, [(a_plan(), NOON)])
    [due] = await subscriptions.lock_due_subscriptions(
        worker.claims, a_plan_shard(), now=NOON, lead_until=NOON, limit=9
    )
    await admin.execute("UPDATE billing.subscriptions SET business_key = 'another'")
    before = await everything(admin)

    # when
    new = renewer.new_cycle(due, store_id=STORE_ID, lead=LEASE)
    count = await cycles.open_cycles(worker.claims, [new], store_id=STORE_ID)

    # then
    assert count == 0
    assert await everything(admin) == before


async def test_two_verdicts_on_one_id_in_one_batch_write_the_one_that_is_the_row_s(
    worker: Database, admin: Any
) -> None:
    # given
    mine = await held(worker, admin, status="open")
    stale = paid(mine.attempt)
    theirs = paid(replace(mine.attempt, payment_id=ANOTHER_PAYMENT, idempotency_key=ANOTHER_KEY))

    # when
    settled = await attempts.settle_attempts(
        worker.outcomes, [replace(stale, pg_tx_id="pg-stale"), theirs], now=NOON, actor="worker-1"
    )

    # then
    assert settled == {ANOTHER_KEY}
    assert await admin.fetch("SELECT pg_tx_id FROM billing.ledger WHERE kind = 'paid'") == [("pg-1",)]
    assert await admin.fetchval("SELECT count(*) FROM billing.outbox") == len(theirs.events)


async def test_the_rows_own_holder_does_write(worker: Database, admin: Any) -> None:
    # given
    cycle = await claimed_cycle(worker)

    # when
    [attempt] = await opened(worker, cycle)
    settled = await attempts.settle_attempts(worker.outcomes, [paid(attempt)], now=NOON, actor="worker-1")

    # then
    assert settled == {attempt.idempotency_key}
    assert await attempts.attempt_statuses(worker.outcomes, [attempt])
