"""A booking says what its subscription says, however the two change at the same moment."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from billing_worker.billing.model import idempotency_key
from billing_worker.billing.money import Money
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from billing_worker.store import attempts, subscriptions
from billing_worker.store.attempts import Intent
from billing_worker.store.db import Database, RowRefusedError
from billing_worker.store.subscriptions import Cancellation
from tests.booked import (
    DEARER,
    DUE_AT,
    LEASE,
    NEW_CARD,
    PLAN,
    cancel,
    change,
    claim,
    cycle_of,
    known_ones,
    look,
    open_booking,
    owe,
)
from tests.builders import NOON, a_plan, eventually
from tests.conftest import DatabaseUrls


async def test_a_booking_is_an_attempt_that_says_when_portone_shall_charge(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)

    # when
    [cycle] = await claim(worker)
    [attempt] = await open_booking(worker, cycle)
    [looked_at] = await look(worker, now=NOON + LEASE)

    # then
    assert (cycle.mode, cycle.due_at) == (Mode.SCHEDULE, DUE_AT)
    assert (attempt.time_to_pay, attempt.due_at, attempt.schedule_id) == (DUE_AT, DUE_AT, None)
    assert replace(looked_at, looks=0) == replace(attempt, request_body=looked_at.request_body)
    [entry] = await admin.fetch("SELECT kind, code FROM billing.ledger")
    assert tuple(entry) == ("intent", "schedule")
    assert (await cycle_of(admin))["status"] == "collecting"


async def test_a_charge_is_no_booking(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    [cycle] = await claim(worker, DUE_AT)

    # when
    intent = Intent(cycle, 1, idempotency_key(cycle.payment_id, 1), b"{}")
    [attempt] = await attempts.open_attempts(worker.claims, [intent], now=DUE_AT, look_at=DUE_AT, worker="worker-1")

    # then
    assert attempt.time_to_pay is None
    assert [row["code"] for row in await admin.fetch("SELECT code FROM billing.ledger")] == [""]


async def test_a_cycle_that_is_charged_is_never_booked(worker: Database) -> None:
    # given
    await owe(worker, mode=Mode.CHARGE)
    [cycle] = await claim(worker)

    # when
    opened = await open_booking(worker, cycle)

    # then
    assert opened == []


@pytest.mark.parametrize("wanted", [DEARER, replace(PLAN, billing_key=NEW_CARD)], ids=["price", "card"])
async def test_who_claimed_at_the_old_price_or_card_is_fenced_off(
    worker: Database, admin: Any, wanted: PlannedSubscription
) -> None:
    # given
    await owe(worker)
    [before] = await claim(worker)

    # when
    await change(worker, wanted)
    late = await open_booking(worker, before)
    row = await cycle_of(admin)
    [after] = await claim(worker, NOON + LEASE)
    opened = await open_booking(worker, after)

    # then
    assert late == []
    assert row["claim_epoch"] == before.claim_epoch + 1
    assert (after.price, after.order_name, after.billing_key) == (wanted.price, wanted.order_name, wanted.billing_key)
    assert [attempt.price for attempt in opened] == [wanted.price]


@pytest.mark.parametrize(
    "behind",
    [
        "UPDATE billing.subscriptions SET amount_minor = amount_minor + 1",
        "UPDATE billing.subscriptions SET order_name = 'another'",
        "UPDATE billing.subscriptions SET billing_key = 'bk-another'",
        "UPDATE billing.subscriptions SET status = 'cancelled'",
    ],
)
async def test_a_booking_is_opened_only_while_its_subscription_says_what_the_request_says(
    worker: Database, admin: Any, behind: str
) -> None:
    # given
    await owe(worker)
    [cycle] = await claim(worker)

    # when
    await admin.execute(behind)
    opened = await open_booking(worker, cycle)

    # then
    assert opened == []


async def test_a_booking_is_not_opened_while_somebody_changes_its_subscription_and_charges_do_not_wait(
    worker: Database,
) -> None:
    # given
    await owe(worker)
    [cycle] = await claim(worker)

    # when
    async with worker.claims.transaction() as transaction:
        await subscriptions.find_subscriptions(transaction, [PLAN.business_key])
        meanwhile = await open_booking(worker, cycle)
    afterwards = await open_booking(worker, cycle)

    # then
    assert meanwhile == []
    assert len(afterwards) == 1


async def test_a_cancellation_waits_for_the_booking_that_is_being_opened_and_then_finds_it(
    worker: Database, admin: Any
) -> None:
    # given
    await owe(worker)
    [cycle] = await claim(worker)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%NO KEY UPDATE%'"

    # when
    async with worker.claims.transaction() as transaction:
        intent = Intent(cycle, 1, idempotency_key(cycle.payment_id, 1), b"{}", time_to_pay=cycle.due_at)
        [attempt] = await attempts.open_attempts(
            transaction, [intent], now=NOON, look_at=NOON + LEASE, worker="worker-1"
        )
        ending = asyncio.create_task(cancel(worker))
        await eventually(lambda: admin.fetchval(waiting))
    done = await ending

    # then
    assert done == Cancellation(ended=True, skipped=0, revoking=1)
    assert [(one.attempt_id, one.revoke_reason) for one in await look(worker)] == [(attempt.attempt_id, "cancelled")]


async def test_a_stale_price_is_mended_by_the_next_claim_until_the_cycle_is_due(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    await admin.execute("UPDATE billing.subscriptions SET amount_minor = 12900, order_name = 'dear'")

    # when
    [early] = await claim(worker)
    await admin.execute("UPDATE billing.subscriptions SET amount_minor = 1, order_name = 'cheap'")
    [late] = await claim(worker, DUE_AT)

    # then
    assert (early.price, early.order_name) == (Money(12_900, "KRW"), "dear")
    assert (late.price, late.order_name) == (Money(12_900, "KRW"), "dear")


# --- the price of a cycle ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["amount_minor = 1", "order_name = 'another'"])
@pytest.mark.parametrize("status", ["collecting", "paid", "given_up", "held", "skipped"])
async def test_the_price_of_a_cycle_stands_once_portone_may_have_been_asked(
    worker: Database, admin: Any, status: str, column: str
) -> None:
    # given
    await owe(worker)
    await admin.execute(
        f"UPDATE billing.cycles SET status = '{status}', held_reason = 'x', "
        f"paid_at = CASE '{status}' WHEN 'paid' THEN now() END"
    )

    # when, then
    with pytest.raises(asyncpg.RestrictViolationError, match="no longer open to change"):
        await admin.execute(f"UPDATE billing.cycles SET {column}")


async def test_the_price_of_a_cycle_that_is_charged_never_changes_whoever_asks(
    worker: Database, admin: Any, database: DatabaseUrls
) -> None:
    # given
    await owe(worker, mode=Mode.CHARGE)
    connection = await asyncpg.connect(database.worker_url)

    # when, then
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("UPDATE billing.cycles SET amount_minor = 1")
    await connection.close()
    await admin.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.RestrictViolationError):
        await admin.execute("UPDATE billing.cycles SET amount_minor = 1")


async def test_a_price_that_is_refused_is_a_row_s_fault(worker: Database, admin: Any) -> None:
    """Or one bad row would keep a whole batch of verdicts from being written, again and again."""
    # given
    await owe(worker)
    await admin.execute(
        "CREATE OR REPLACE FUNCTION billing.always() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.status := ''held''; NEW.held_reason := ''x''; RETURN NEW; END'"
    )
    await admin.execute(
        "CREATE TRIGGER a_first BEFORE UPDATE ON billing.cycles FOR EACH ROW EXECUTE FUNCTION billing.always()"
    )

    # when, then
    with pytest.raises(RowRefusedError, match="23001"):
        await change(worker, DEARER)


async def test_a_new_price_reaches_what_is_not_due_yet_and_nothing_else(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    await owe(worker, plan=a_plan("sub-charged"), mode=Mode.CHARGE)
    of = "SELECT amount_minor FROM billing.cycle_list WHERE business_key = $1"

    # when
    await change(worker, replace(a_plan("sub-charged"), price=DEARER.price))
    await change(worker, DEARER, now=DUE_AT)
    when_due = await admin.fetchval(of, PLAN.business_key)
    await change(worker, PLAN, now=DUE_AT)
    await change(worker, DEARER, now=DUE_AT - timedelta(seconds=1))

    # then
    assert when_due == PLAN.price.amount_minor
    assert await admin.fetchval(of, PLAN.business_key) == DEARER.price.amount_minor
    assert await admin.fetchval(of, "sub-charged") == 9900


async def test_the_mode_of_a_subscription_may_change_and_its_cycle_keeps_its_own(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)

    # when
    await change(worker, replace(PLAN, mode=Mode.CHARGE))

    # then
    assert (await known_ones(worker, PLAN))[PLAN.business_key].plan.mode is Mode.CHARGE
    assert (await cycle_of(admin))["mode"] == "schedule"
    assert (await cycle_of(admin))["claim_epoch"] == 0
