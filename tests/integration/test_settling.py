"""Settling in Postgres: what stands is compared with what was decided upon, and all of it is written or none."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from billing_worker.billing import settlement
from billing_worker.billing.charging import Verdict, Voided
from billing_worker.billing.model import Attempt, shard_of
from billing_worker.billing.outcomes import Declined, Paid
from billing_worker.billing.settlement import Settlement
from billing_worker.billing.states import AttemptStatus, CycleStatus, Mode, Source
from billing_worker.store import attempts, cycles, subscriptions
from billing_worker.store.attempts import Intent
from billing_worker.store.cycles import NewCycle
from billing_worker.store.db import Database, RowRefusedError
from tests.builders import NOON, STORE_ID, a_plan, a_policy, some_rules
from tests.conftest import DatabaseUrls
from tests.rig import a_database

SHARD = shard_of("sub-1")
SOFT = Declined("51", "잔액부족", "tx-1")
HARD = Declined("41", "분실카드", "tx-1")
LEASE = timedelta(minutes=1)


@pytest.fixture
async def worker(database: DatabaseUrls) -> AsyncIterator[Database]:
    async with a_database(database) as pools:
        yield pools


@pytest.fixture
async def admin(database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.admin_url)
    yield connection
    await connection.close()


async def owe(worker: Database, *, numbers: int = 1) -> None:
    """One subscription with due cycles."""
    await subscriptions.add_subscriptions(worker.claims, [(a_plan(), NOON)])
    for number in range(1, numbers + 1):
        start_on = NOON.date() + timedelta(days=30 * number)
        names = (SHARD, 1, a_plan().business_key, number)
        cycle = NewCycle(
            *names, start_on, start_on + timedelta(days=30), NOON, a_plan().price, "x", f"rb1{number:027d}", NOON,
            Mode.CHARGE, NOON,
        )  # fmt: skip
        await cycles.open_cycles(worker.claims, [cycle], store_id=STORE_ID)


async def open_all(worker: Database) -> list[Attempt]:
    """The next attempt of every due cycle."""
    claimed = await cycles.claim_due_cycles(
        worker.claims,
        SHARD,
        store_id=STORE_ID,
        now=NOON + timedelta(days=30),
        lease_until=NOON + timedelta(days=31),
        limit=50,
    )
    intents = [Intent(c, c.attempts_count + 1, f"{c.payment_id}-g{c.attempts_count + 1}", b"{}") for c in claimed]
    opened = await attempts.open_attempts(worker.claims, intents, now=NOON, look_at=NOON + LEASE, worker="worker-1")
    return sorted(opened, key=lambda attempt: attempt.cycle_number)


def decided(attempt: Attempt, verdict: Verdict, source: Source = Source.ANSWER) -> Settlement:
    return settlement.settle(attempt, verdict, source, now=NOON, rules=some_rules(), policy=a_policy())


async def write(worker: Database, *settlements: Settlement) -> set[str]:
    return await attempts.settle_attempts(worker.outcomes, settlements, now=NOON, actor="worker-1")


async def kinds(admin: Any) -> list[str]:
    return [
        row["kind"]
        for row in await admin.fetch("SELECT kind FROM billing.ledger ORDER BY shard, subscription_id, sequence")
    ]


async def closed(worker: Database, attempt: Attempt, status: AttemptStatus, cycle_status: CycleStatus) -> Attempt:
    """The attempt as a later look would have it."""
    return replace(attempt, status=status, cycle_status=cycle_status, settled_at=NOON)


async def test_a_verdict_its_entries_and_its_event_are_written_together(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    [attempt] = await open_all(worker)

    # when
    settled = await write(worker, decided(attempt, Paid("pg-1", NOON)))

    # then
    row, cycle = (
        await admin.fetchrow("SELECT * FROM billing.attempts"),
        await admin.fetchrow("SELECT * FROM billing.cycles"),
    )
    event = await admin.fetchrow("SELECT * FROM billing.outbox")
    assert settled == {attempt.idempotency_key}
    assert (row["status"], row["pg_tx_id"], row["paid_at"], row["settled_at"]) == ("paid", "pg-1", NOON, NOON)
    assert (row["request_body"], row["source"], row["verified_at"]) == (None, "answer", None)
    assert (cycle["status"], cycle["paid_at"]) == ("paid", NOON)
    assert await kinds(admin) == ["intent", "paid"]
    assert (event["event_type"], json.loads(event["payload"])["payment_id"]) == ("charge.succeeded", attempt.payment_id)


async def test_a_verdict_is_written_once(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    [attempt] = await open_all(worker)
    paid = decided(attempt, Paid("pg-1", NOON))

    # when
    first, second = await write(worker, paid), await write(worker, paid)

    # then
    assert (first, second) == ({attempt.idempotency_key}, set())
    assert await kinds(admin) == ["intent", "paid"]
    assert await admin.fetchval("SELECT count(*) FROM billing.outbox") == 1


@pytest.mark.parametrize("late", [SOFT, HARD, Voided()], ids=str)
async def test_nothing_turns_a_paid_cycle_back(worker: Database, admin: Any, late: Verdict) -> None:
    """Two workers followed one attempt; the one that learnt less is second."""
    # given
    await owe(worker)
    [attempt] = await open_all(worker)
    await write(worker, decided(attempt, Paid("pg-1", NOON)))

    # when
    settled = await write(worker, decided(attempt, late, Source.LOOK))

    # then
    assert settled == set()
    assert await admin.fetchval("SELECT status FROM billing.cycles") == "paid"
    assert await kinds(admin) == ["intent", "paid"]


async def test_a_verdict_decided_on_another_status_is_left_alone(worker: Database, admin: Any) -> None:
    """The cycle was held between the decision and the writing: a person has been asked."""
    # given
    await owe(worker)
    [attempt] = await open_all(worker)
    declined = decided(attempt, SOFT)
    await attempts.contradict_attempt(
        worker.outcomes, attempt, what="amount is 1", look_at=NOON + timedelta(hours=1), actor="worker-2"
    )

    # when
    settled = await write(worker, declined)

    # then
    assert settled == set()
    assert await admin.fetchval("SELECT status FROM billing.attempts") == "open"
    assert await kinds(admin) == ["intent", "mismatch"]


async def test_a_stale_verdict_on_an_older_attempt_leaves_the_newer_one_alone(worker: Database, admin: Any) -> None:
    """The cycle stands as it stood when the verdict was reached: it is being collected, but by the next attempt."""
    # given
    await owe(worker)
    [first] = await open_all(worker)
    stale = decided(first, Voided(), Source.LOOK)
    await write(worker, decided(first, SOFT))
    [second] = await open_all(worker)

    # when
    settled = await write(worker, stale)

    # then
    rows = await admin.fetch("SELECT status FROM billing.attempts ORDER BY attempt_number")
    assert settled == set()
    assert [row["status"] for row in rows] == ["declined", "open"]
    assert await admin.fetchval("SELECT status FROM billing.cycles") == "collecting"
    assert second.attempt_number == 2


async def test_a_declined_cycle_counts_its_declines_from_the_first(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)

    # when
    for _ in range(3):
        [attempt] = await open_all(worker)
        await write(worker, decided(attempt, SOFT))

    # then
    cycle = await admin.fetchrow("SELECT * FROM billing.cycles")
    assert (cycle["declines_count"], cycle["attempts_count"], cycle["first_declined_at"]) == (3, 3, NOON)
    assert (attempt.declines_count, attempt.first_declined_at) == (2, NOON)
    assert attempt.older_transaction_ids == {"tx-1"}


async def test_a_late_truth_is_a_named_correction(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    [attempt] = await open_all(worker)
    await write(worker, decided(attempt, HARD))

    # when
    late = await closed(worker, attempt, AttemptStatus.DECLINED, CycleStatus.GIVEN_UP)
    settled = await write(worker, decided(late, Paid("pg-1", NOON), Source.LOOK))

    # then
    cycle = await admin.fetchrow("SELECT * FROM billing.cycles")
    assert settled == {attempt.idempotency_key}
    assert (cycle["status"], cycle["held_reason"]) == ("paid", None)
    assert await kinds(admin) == ["intent", "declined", "given_up", "corrected", "paid"]


async def test_a_late_truth_never_takes_a_cycle_from_under_a_newer_attempt(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    [first] = await open_all(worker)
    await write(worker, decided(first, SOFT))
    late = await closed(worker, first, AttemptStatus.DECLINED, CycleStatus.DUE)
    [second] = await open_all(worker)

    # when
    while_collecting = await write(worker, decided(late, Paid("pg-1", NOON), Source.LOOK))
    await admin.execute("UPDATE billing.cycles SET status = 'held', held_reason = 'x'")
    while_held = await write(worker, decided(late, Paid("pg-1", NOON), Source.LOOK))
    held = replace(second, cycle_status=CycleStatus.HELD)
    by_the_newer = await write(worker, decided(held, Paid("pg-1", NOON), Source.LOOK))

    # then
    assert (while_collecting, while_held, by_the_newer) == (set(), set(), {second.idempotency_key})
    assert await kinds(admin) == ["intent", "declined", "intent", "paid"]


async def test_a_batch_writes_what_still_stands_and_leaves_the_rest(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, numbers=3)
    first, second, third = await open_all(worker)
    await write(worker, decided(second, Paid("pg-2", NOON)))

    # when
    settled = await write(
        worker, decided(first, Paid("pg-1", NOON)), decided(second, SOFT), decided(third, Voided(), Source.LOOK)
    )

    # then
    assert settled == {first.idempotency_key, third.idempotency_key}
    assert await kinds(admin) == ["intent"] * 3 + ["paid", "paid", "voided"]
    rows = await admin.fetch("SELECT status FROM billing.cycles ORDER BY cycle_number")
    assert [row["status"] for row in rows] == ["paid", "paid", "due"]


async def test_a_batch_with_a_row_that_postgres_refuses_is_not_written_at_all(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, numbers=2)
    first, second = await open_all(worker)

    # when, then
    with pytest.raises(RowRefusedError, match="ledger_one_transaction"):
        await write(worker, decided(first, Paid("pg-1", NOON)), decided(second, Paid("pg-1", NOON)))
    assert await kinds(admin) == ["intent", "intent"]
    assert await admin.fetchval("SELECT count(*) FROM billing.attempts WHERE status = 'open'") == 2


async def test_a_text_that_asyncpg_cannot_send_is_refused_and_not_taken_for_an_outage(
    worker: Database, admin: Any
) -> None:
    """Taken for an outage it would be written again for ever, and every verdict behind it would wait."""
    await owe(worker)
    [attempt] = await open_all(worker)
    spoilt = replace(decided(attempt, SOFT), decline_message="\ud800")

    with pytest.raises(RowRefusedError):
        await write(worker, spoilt)


async def test_a_settlement_does_not_wait_for_a_renewal_or_an_import(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    [attempt] = await open_all(worker)

    # when
    async with worker.claims.transaction() as transaction:
        renewed = await subscriptions.lock_due_subscriptions(transaction, SHARD, now=NOON, lead_until=NOON, limit=10)
        imported = await subscriptions.find_subscriptions(transaction, ["sub-1"])
        settled = await write(worker, decided(attempt, Paid("pg-1", NOON)))

    # then
    assert (len(renewed), len(imported)) == (1, 1)
    assert settled == {attempt.idempotency_key}


async def test_a_contradiction_is_said_once_and_again_after_a_person_had_the_cycle_tried_again(
    worker: Database, admin: Any
) -> None:
    # given
    await owe(worker)
    [attempt] = await open_all(worker)

    async def contradict() -> bool:
        return await attempts.contradict_attempt(
            worker.outcomes, attempt, what="amount is 1", look_at=NOON + timedelta(hours=1), actor="worker-1"
        )

    # when
    said = [await contradict(), await contradict()]
    await admin.execute("UPDATE billing.cycles SET status = 'collecting', held_reason = NULL")
    said.append(await contradict())

    # then
    assert said == [True, False, True]
    assert await kinds(admin) == ["intent", "mismatch", "mismatch"]
    assert await admin.fetchval("SELECT look_at FROM billing.attempts") == NOON + timedelta(hours=1)


@pytest.mark.parametrize("status", ["due", "given_up", "skipped"])
async def test_other_money_for_a_cycle_that_was_closed_unpaid_is_held(
    worker: Database, admin: Any, status: str
) -> None:
    # given
    await owe(worker)
    [attempt] = await open_all(worker)
    await write(worker, decided(attempt, SOFT))
    await admin.execute("UPDATE billing.cycles SET status = $1", status)

    # when
    said = await attempts.contradict_attempt(
        worker.outcomes, attempt, what="amount is 1", look_at=NOON + timedelta(hours=1), actor="worker-1"
    )

    # then
    assert said
    assert await admin.fetchval("SELECT status FROM billing.cycles") == "held"
    assert await admin.fetchval("SELECT look_at FROM billing.attempts") is None


async def test_what_became_of_a_batch_can_be_read_again(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, numbers=2)
    first, second = await open_all(worker)
    await write(worker, decided(first, Paid("pg-1", NOON)))

    # when
    standing = await attempts.attempt_statuses(worker.outcomes, [first, second])

    # then
    assert standing == {first.idempotency_key: AttemptStatus.PAID, second.idempotency_key: AttemptStatus.OPEN}


async def test_a_look_that_is_claimed_is_not_claimed_again_before_its_lease_ends(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, numbers=3)
    opened = await open_all(worker)
    now = NOON + LEASE

    # when
    claims = [
        await attempts.claim_looks(worker.claims, SHARD, now=moment, lease_until=moment + LEASE, limit=2)
        for moment in (NOON, now, now, now, now + LEASE)
    ]

    # then
    assert [len(claimed) for claimed in claims] == [0, 2, 1, 0, 2]
    assert {look.attempt.attempt_id for claimed in claims[1:3] for look in claimed} == {a.attempt_id for a in opened}
    assert [look.look_epoch for look in claims[4]] == [2, 2]
    assert claims[4][0].attempt.request_body == b"{}"
    assert claims[4][0].attempt.looks == 2


async def test_looks_end_only_for_attempts_that_are_closed(worker: Database, admin: Any) -> None:
    # given
    await owe(worker, numbers=2)
    first, second = await open_all(worker)
    await write(worker, decided(first, SOFT))

    # when
    await attempts.ask_again(worker.outcomes, [(first, None), (second, None)])

    # then
    rows = await admin.fetch("SELECT look_at FROM billing.attempts ORDER BY attempt_id")
    assert [row["look_at"] for row in rows] == [None, NOON + LEASE]
