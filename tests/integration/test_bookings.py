"""Bookings that PortOne has: noted once, never put off when they are to be taken back, and seen by people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from billing_worker.billing.states import CycleStatus
from billing_worker.store import attempts, cycles
from billing_worker.store.db import Database
from tests.booked import (
    DEARER,
    DUE_AT,
    LEASE,
    PLAN,
    SHARD,
    attempt_of,
    book,
    change,
    faults,
    look,
    note,
    owe,
    revoked,
    settle,
)
from tests.builders import NOON


async def test_a_booking_is_noted_and_entered_once(worker: Database, admin: Any) -> None:
    # given
    attempt = await book(worker, noted=False)

    # when
    noted = [await note(worker, attempt), await note(worker, attempt), await note(worker, attempt, "schedule-2")]

    # then
    assert noted == [True, True, False]
    row = await attempt_of(admin)
    assert (row["schedule_id"], row["look_at"]) == ("schedule-1", DUE_AT + timedelta(minutes=1))
    [entry] = await admin.fetch("SELECT * FROM billing.ledger WHERE kind = 'scheduled'")
    assert (entry["amount_minor"], entry["message"], entry["source"]) == (9900, "schedule-1", "answer")
    assert await faults(worker) == []


async def test_a_booking_is_not_noted_of_another_attempt_nor_of_one_that_is_closed(
    worker: Database, admin: Any
) -> None:
    # given
    attempt = await book(worker, noted=False)

    # when
    of_another = await note(worker, replace(attempt, idempotency_key="another"))
    await settle(worker, revoked(attempt, cycle_from=CycleStatus.COLLECTING, cycle_status=CycleStatus.DUE))
    when_closed = await note(worker, attempt)

    # then
    assert (of_another, when_closed) == (False, False)
    assert (await attempt_of(admin))["schedule_id"] is None


async def test_a_booking_that_is_to_be_taken_back_is_looked_at_at_once_even_if_noted_afterwards(
    worker: Database,
) -> None:
    # given
    attempt = await book(worker, noted=False)

    # when
    await change(worker, DEARER)
    assert await note(worker, attempt)

    # then
    [found] = await look(worker)
    assert (found.schedule_id, found.revoke_reason) == ("schedule-1", "price")


async def test_who_does_not_know_that_a_booking_is_to_be_taken_back_does_not_put_its_look_off(worker: Database) -> None:
    # given
    attempt = await book(worker)
    await attempts.look_soon(worker.claims, attempt.payment_id, now=NOON)
    [before] = await look(worker)

    # when
    await change(worker, DEARER)
    await attempts.ask_again(worker.outcomes, [(before, DUE_AT + timedelta(minutes=1))])
    [now_knowing] = await look(worker)
    await attempts.ask_again(worker.outcomes, [(now_knowing, DUE_AT)])

    # then
    assert (before.revoke_reason, now_knowing.revoke_reason) == (None, "price")
    assert await look(worker, now=DUE_AT - timedelta(seconds=1)) == []
    assert len(await look(worker, now=DUE_AT)) == 1


async def test_a_booking_that_is_to_be_taken_back_is_not_sent_again(worker: Database) -> None:
    # given
    await book(worker, noted=False)
    [claimed] = await attempts.claim_looks(
        worker.claims, SHARD, now=NOON + LEASE, lease_until=NOON + 2 * LEASE, limit=9
    )

    # when
    await change(worker, DEARER)
    sent = await attempts.note_resend(worker.outcomes, claimed, now=NOON + LEASE, look_at=NOON + 2 * LEASE)

    # then
    assert sent is False


async def test_a_booking_that_portone_has_is_not_being_sent(worker: Database) -> None:
    # given
    attempt = await book(worker, noted=False)

    # when
    before = await attempts.look_soon(worker.claims, attempt.payment_id, now=NOON)
    await note(worker, attempt)
    after = await attempts.look_soon(worker.claims, attempt.payment_id, now=NOON)

    # then
    assert before is not None
    assert after is not None
    assert (before.being_sent, before.look_at) == (True, NOON + LEASE)
    assert (after.being_sent, after.look_at) == (False, NOON)
    assert len(await look(worker)) == 1


# --- what people and gauges see ------------------------------------------------------------------------------------


async def test_a_booking_counts_as_open_from_its_time_on(worker: Database, admin: Any) -> None:
    # given
    await book(worker)

    # when
    before = await cycles.backlog(worker.claims, DUE_AT - timedelta(seconds=1))
    after = await cycles.backlog(worker.claims, DUE_AT)

    # then
    assert (before.open_attempts, before.oldest_open_at) == (0, None)
    assert (after.open_attempts, after.oldest_open_at) == (1, DUE_AT)


async def test_the_view_of_schedules_tells_what_is_booked(worker: Database, admin: Any) -> None:
    # given
    attempt = await book(worker, noted=False)
    before = await admin.fetchrow("SELECT * FROM billing.schedules")
    await note(worker, attempt)

    # when
    row = await admin.fetchrow("SELECT * FROM billing.schedules")

    # then
    assert (before["schedule_id"], before["booked_at"]) == (None, None)
    assert (row["business_key"], row["cycle_number"], row["payment_id"]) == (PLAN.business_key, 1, attempt.payment_id)
    assert (row["schedule_id"], row["time_to_pay"], row["booked_at"]) == ("schedule-1", DUE_AT, NOON)
    assert (row["amount_minor"], row["currency"], row["status"], row["revoke_reason"]) == (9900, "KRW", "open", None)


async def test_what_is_only_to_be_booked_is_not_due_now(worker: Database, admin: Any) -> None:
    # given
    await owe(worker)
    seen = "SELECT count(*) FROM billing.due_now"

    # when
    when_owed = await admin.fetchval(seen)
    await admin.execute("UPDATE billing.cycles SET due_at = now() + interval '1 day'")

    # then
    assert (when_owed, await admin.fetchval(seen)) == (1, 0)
