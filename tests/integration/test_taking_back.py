"""What is booked is taken back when price or card change, and when a person says so; until then it stays open."""

from dataclasses import replace
from typing import Any

import pytest

from billing_worker.billing.model import idempotency_key
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import CycleStatus, Mode, SubscriptionStatus
from billing_worker.store import attempts, cycles
from billing_worker.store.attempts import Intent
from billing_worker.store.db import Database
from billing_worker.store.subscriptions import Cancellation
from tests.booked import (
    DEARER,
    DUE_AT,
    LEASE,
    NEW_CARD,
    PLAN,
    attempt_of,
    book,
    cancel,
    change,
    claim,
    cycle_of,
    faults,
    hold,
    known_ones,
    look,
    open_booking,
    owe,
    revoked,
    settle,
    skip,
)
from tests.builders import NOON


@pytest.mark.parametrize(
    ("wanted", "reason"), [(DEARER, "price"), (replace(PLAN, billing_key=NEW_CARD), "card")], ids=["price", "card"]
)
async def test_another_price_or_card_takes_the_booking_back(
    worker: Database, admin: Any, wanted: PlannedSubscription, reason: str
) -> None:
    # given
    await book(worker)

    # when
    await change(worker, wanted)

    # then
    row, cycle = await attempt_of(admin), await cycle_of(admin)
    assert (row["status"], row["revoke_reason"], row["look_at"]) == ("open", reason, NOON)
    assert (cycle["status"], cycle["amount_minor"], cycle["order_name"]) == ("collecting", 9900, PLAN.order_name)


@pytest.mark.parametrize(
    "wanted",
    [PLAN, replace(PLAN, mode=Mode.CHARGE), replace(PLAN, customer=replace(PLAN.customer, phone="010-0000-0000"))],
    ids=["nothing", "mode", "customer"],
)
async def test_what_portone_was_not_told_of_leaves_the_booking_alone(
    worker: Database, admin: Any, wanted: PlannedSubscription
) -> None:
    await book(worker)

    await change(worker, wanted)

    assert (await attempt_of(admin))["revoke_reason"] is None


async def test_a_charge_under_way_is_never_taken_back(worker: Database, admin: Any) -> None:
    # given
    of = await owe(worker, mode=Mode.CHARGE)
    [cycle] = await claim(worker)
    intent = Intent(cycle, 1, idempotency_key(of, 1), b"{}")
    await attempts.open_attempts(worker.claims, [intent], now=NOON, look_at=NOON + LEASE, worker="worker-1")

    # when
    await change(worker, replace(DEARER, billing_key=NEW_CARD))
    held = await hold(worker, of)
    done = await cancel(worker)

    # then
    row = await attempt_of(admin)
    assert (held, done) == (True, Cancellation(ended=True, skipped=0, revoking=0))
    assert (row["revoke_reason"], row["look_at"]) == (None, NOON + LEASE)


async def test_a_new_price_comes_too_late_for_a_booking_whose_time_has_come(worker: Database, admin: Any) -> None:
    await book(worker)

    await change(worker, DEARER, now=DUE_AT)

    assert (await attempt_of(admin))["revoke_reason"] is None


async def test_the_first_reason_to_take_a_booking_back_stays(worker: Database, admin: Any) -> None:
    # given
    await book(worker)

    # when
    await change(worker, DEARER)
    done = await cancel(worker)

    # then
    assert done.revoking == 1
    assert (await attempt_of(admin))["revoke_reason"] == "price"


async def test_a_cancelled_subscription_s_booking_stays_open_until_it_is_taken_back(
    worker: Database, admin: Any
) -> None:
    # given
    await book(worker)

    # when
    done, again = await cancel(worker), await cancel(worker)

    # then
    row = await attempt_of(admin)
    assert done == Cancellation(ended=True, skipped=0, revoking=1)
    assert again == Cancellation(ended=False, skipped=0, revoking=0)
    assert (row["status"], row["revoke_reason"], row["look_at"]) == ("open", "cancelled", NOON)
    assert (await cycle_of(admin))["status"] == "collecting"
    status = (await known_ones(worker, PLAN))[PLAN.business_key].status
    assert status is SubscriptionStatus.CANCELLED


async def test_a_booked_cycle_that_is_skipped_keeps_its_attempt_open_until_the_booking_is_taken_back(
    worker: Database, admin: Any
) -> None:
    # given
    attempt = await book(worker)

    # when
    at_once = await skip(worker, attempt.payment_id)
    held = await hold(worker, attempt.payment_id)
    reason_held = (await attempt_of(admin))["revoke_reason"]
    skipped = await skip(worker, attempt.payment_id)
    row = await attempt_of(admin)
    [found] = await look(worker)
    taken_back = revoked(found, cycle_from=CycleStatus.SKIPPED, cycle_status=CycleStatus.SKIPPED)
    settled = await settle(worker, taken_back)

    # then
    assert (at_once, held, skipped, settled) == (False, True, True, True)
    assert (row["status"], row["revoke_reason"], reason_held, row["look_at"]) == ("open", "held", "held", NOON)
    assert found.cycle_status is CycleStatus.SKIPPED
    assert ((await cycle_of(admin))["status"], (await attempt_of(admin))["status"]) == ("skipped", "revoked")
    kinds = [entry["kind"] for entry in await admin.fetch("SELECT kind FROM billing.ledger ORDER BY sequence")]
    assert kinds == ["intent", "scheduled", "held", "skipped", "revoked"]
    assert await faults(worker) == []


async def test_a_cycle_that_is_skipped_while_a_contradicted_booking_is_open_says_why(
    worker: Database, admin: Any
) -> None:
    # given
    attempt = await book(worker)
    await attempts.contradict_attempt(worker.outcomes, attempt, what="amount", look_at=DUE_AT, actor="worker-1")

    # when
    assert await skip(worker, attempt.payment_id)

    # then
    row = await attempt_of(admin)
    assert (row["status"], row["revoke_reason"], row["look_at"]) == ("open", "skipped", NOON)


async def test_a_held_cycle_keeps_its_reason_while_its_booking_is_taken_back(worker: Database, admin: Any) -> None:
    # given
    attempt = await book(worker)
    await hold(worker, attempt.payment_id)
    [found] = await look(worker)

    # when
    taken_back = revoked(found, cycle_from=CycleStatus.HELD, cycle_status=CycleStatus.HELD)
    assert await settle(worker, replace(taken_back, held_reason="held while an attempt ended unpaid"))

    # then
    assert ((await cycle_of(admin))["status"], (await cycle_of(admin))["held_reason"]) == ("held", "asked us to")


async def test_what_was_taken_back_is_booked_anew_at_the_new_price(worker: Database, admin: Any) -> None:
    # given
    await book(worker)
    await change(worker, DEARER)
    [found] = await look(worker)

    # when
    settled = await settle(worker, revoked(found, cycle_from=CycleStatus.COLLECTING, cycle_status=CycleStatus.DUE))
    row = await cycle_of(admin)
    [cycle] = await claim(worker)
    [attempt] = await open_booking(worker, cycle)

    # then
    assert settled
    assert (row["status"], row["amount_minor"], row["order_name"]) == ("due", 12_900, DEARER.order_name)
    assert (attempt.attempt_number, attempt.price) == (2, DEARER.price)
    assert await faults(worker) == []


async def test_what_is_taken_back_when_it_is_due_has_the_price_that_changed_before(
    worker: Database, admin: Any
) -> None:
    # given
    await book(worker)
    await change(worker, replace(PLAN, billing_key=NEW_CARD))
    await change(worker, replace(DEARER, billing_key=NEW_CARD))
    [found] = await look(worker)

    # when
    taken_back = revoked(found, cycle_from=CycleStatus.COLLECTING, cycle_status=CycleStatus.DUE)
    await settle(worker, taken_back, now=DUE_AT)

    # then
    assert found.revoke_reason == "price"
    assert (await cycle_of(admin))["amount_minor"] == 12_900


async def test_what_is_taken_back_for_another_reason_when_it_is_due_keeps_its_price(
    worker: Database, admin: Any
) -> None:
    # given
    await book(worker)
    await change(worker, replace(PLAN, billing_key=NEW_CARD))
    [found] = await look(worker)
    await change(worker, replace(DEARER, billing_key=NEW_CARD), now=DUE_AT)

    # when
    taken_back = revoked(found, cycle_from=CycleStatus.COLLECTING, cycle_status=CycleStatus.DUE)
    await settle(worker, taken_back, now=DUE_AT)

    # then
    assert (await cycle_of(admin))["amount_minor"] == 9900


async def test_a_held_cycle_is_tried_again_at_the_price_that_changed_meanwhile(worker: Database, admin: Any) -> None:
    # given
    attempt = await book(worker)
    await hold(worker, attempt.payment_id)

    async def retry() -> bool:
        return await cycles.retry_cycle(worker.claims, attempt.payment_id, reason="x", actor="kim", now=NOON)

    # when
    [found] = await look(worker)
    await settle(worker, revoked(found, cycle_from=CycleStatus.HELD, cycle_status=CycleStatus.HELD))
    await change(worker, DEARER)
    when_held = (await cycle_of(admin))["amount_minor"]
    retried = await retry()

    # then
    assert retried
    assert (when_held, (await cycle_of(admin))["amount_minor"]) == (9900, 12_900)
    assert await faults(worker) == []
