"""Schedules of the simulator: booked, and fired when the clock comes to their time."""

import itertools
import json
from datetime import datetime, timedelta

import pytest

from tests.contract.booking import DAY, book, booked, jump, look, now_of, refusal, revoke


async def test_a_schedule_fires_when_the_clock_jumps_over_its_time(practice):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id)

    before = (await look(practice, schedule_id)).json()
    unseen = await practice.look(payment_id)
    await jump(practice, 2 * DAY)
    after = (await look(practice, schedule_id)).json()
    payment = (await practice.look(payment_id)).json()

    assert (before["status"], after["status"]) == ("SCHEDULED", "SUCCEEDED")
    assert refusal(unseen) == (404, "PAYMENT_NOT_FOUND")
    assert (payment["status"], payment["scheduleId"]) == ("PAID", schedule_id)
    assert payment["paidAt"] == after["startedAt"] == after["completedAt"] == before["timeToPay"]
    truth = await practice.ask("/truth")
    assert [one["scheduleId"] for one in truth["charges"]] == [schedule_id]
    [told] = truth["schedules"]
    assert (told["paymentId"], told["status"], told["amount"]) == (payment_id, "SUCCEEDED", 9900)
    assert told["fired_at"] == told["timeToPay"] == before["timeToPay"]


async def test_a_jump_over_several_schedules_fires_them_in_order_of_time(practice):
    ids = {days: practice.new_id() for days in (3, 1, 2)}
    for days, payment_id in ids.items():
        await booked(practice, payment_id, seconds=days * DAY)

    await jump(practice, 10 * DAY)

    charges = (await practice.ask("/truth"))["charges"]
    assert [one["paymentId"] for one in charges] == [ids[1], ids[2], ids[3]]
    instants = [datetime.fromisoformat(one["paidAt"]) for one in charges]
    gaps = [later - sooner for sooner, later in itertools.pairwise(instants)]
    assert all(abs(gap - timedelta(days=1)) < timedelta(minutes=1) for gap in gaps)


async def test_a_declined_schedule_has_no_reason_and_its_payment_has(practice):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id, "bk-soft-funds-1")

    await jump(practice, 2 * DAY)

    schedule = (await look(practice, schedule_id)).json()
    payment = (await practice.look(payment_id)).json()
    assert schedule["status"] == "FAILED"
    assert "failure" not in schedule
    assert (payment["status"], payment["failure"]["pgMessage"]) == ("FAILED", "잔액부족")
    assert payment["scheduleId"] == schedule_id


async def test_a_failed_schedule_blocks_neither_a_charge_nor_a_booking(practice):
    charged_id, booked_id = practice.new_id(), practice.new_id()
    for payment_id in (charged_id, booked_id):
        await booked(practice, payment_id, "bk-soft-funds-x1-1")
    await jump(practice, 2 * DAY)

    charged = await practice.charge(charged_id, "bk-soft-funds-x1-1")
    again = await booked(practice, booked_id, "bk-soft-funds-x1-1")
    await jump(practice, 2 * DAY)

    assert charged.status_code == 200
    assert "scheduleId" not in (await practice.look(charged_id)).json()
    assert (await look(practice, again)).json()["status"] == "SUCCEEDED"


async def test_a_late_success_turns_the_payment_and_leaves_the_schedule_failed(practice):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id, "bk-late-success-1")

    await jump(practice, DAY + 60)
    early = (await practice.look(payment_id)).json()["status"]
    await jump(practice, 3600)

    assert early == "FAILED"
    assert (await practice.look(payment_id)).json()["status"] == "PAID"
    assert (await look(practice, schedule_id)).json()["status"] == "FAILED"


async def test_a_slow_schedule_stays_started_and_holds_its_payment_id(practice):
    payment_id = practice.new_id()
    await practice.tell("/scripts", behaviour="stays-started", on="fire", paymentId=payment_id, seconds=600)
    schedule_id = await booked(practice, payment_id)

    await jump(practice, DAY + 60)
    during = (await look(practice, schedule_id)).json()["status"]
    charged = await practice.charge(payment_id)
    taken_back = await revoke(practice, scheduleIds=[schedule_id])
    await jump(practice, 600)

    assert during == "STARTED"
    assert refusal(charged) == (409, "PAYMENT_SCHEDULE_ALREADY_EXISTS")
    assert refusal(taken_back) == (409, "PAYMENT_SCHEDULE_ALREADY_PROCESSED")
    assert (await look(practice, schedule_id)).json()["status"] == "SUCCEEDED"
    assert (await practice.ask("/truth", summary=1))["overlaps_count"] == 0


async def test_a_schedule_can_fire_late(practice):
    schedule_id = await booked(practice, practice.new_id(), "bk-fires-late-1")

    await jump(practice, DAY + 30)
    early = (await look(practice, schedule_id)).json()["status"]
    await jump(practice, 60)

    assert early == "SCHEDULED"
    assert (await look(practice, schedule_id)).json()["status"] == "SUCCEEDED"


async def test_a_schedule_that_never_fires_fires_when_told_and_can_be_revoked(practice):
    told_id = await booked(practice, practice.new_id(), "bk-never-fires-xall-1")
    revoked_id = await booked(practice, practice.new_id(), "bk-never-fires-xall-1")
    await jump(practice, 30 * DAY)

    stuck = [(one["status"], one["awaits_word"]) for one in (await practice.ask("/schedules"))["schedules"]]
    await practice.tell("/schedules/fire", scheduleId=told_id)
    revoked = await revoke(practice, scheduleIds=[revoked_id])

    assert stuck == [("SCHEDULED", True)] * 2
    assert (await look(practice, told_id)).json()["status"] == "SUCCEEDED"
    assert revoked.status_code == 200


@pytest.mark.parametrize(
    "time_to_pay",
    ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00", "2999-01-01 00:00:00+09:00", "2999-13-01T00:00:00Z", "tomorrow", 7],
)
async def test_a_time_to_pay_is_in_the_future_with_an_offset(practice, time_to_pay):
    assert refusal(await book(practice, practice.new_id(), at=time_to_pay)) == (400, "INVALID_REQUEST")


async def test_an_offset_is_minded(practice):
    at = await now_of(practice) + timedelta(hours=1)
    local = (at + timedelta(hours=9)).replace(tzinfo=None).isoformat() + "+09:00"

    schedule_id = await booked(practice, practice.new_id(), at=local)

    shown = (await look(practice, schedule_id)).json()["timeToPay"]
    assert datetime.fromisoformat(shown) == at


async def test_one_schedule_lives_for_a_payment_id(practice):
    payment_id = practice.new_id()
    await booked(practice, payment_id)

    again = await book(practice, payment_id)
    charged = await practice.charge(payment_id)

    assert refusal(again) == refusal(charged) == (409, "PAYMENT_SCHEDULE_ALREADY_EXISTS")


async def test_a_paid_payment_id_is_not_booked(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id)

    assert refusal(await book(practice, payment_id)) == (409, "ALREADY_PAID_OR_WAITING")


@pytest.mark.parametrize(
    ("blocks", "booking", "charge"), [("nothing", 200, 200), ("bookings", 409, 200), ("everything", 409, 409)]
)
async def test_what_a_revoked_schedule_blocks_is_an_option(practice, blocks, booking, charge):
    await practice.reset(revoked_schedules_block=blocks)
    booked_id, charged_id = practice.new_id(), practice.new_id()
    for payment_id in (booked_id, charged_id):
        await revoke(practice, scheduleIds=[await booked(practice, payment_id)])

    assert (await book(practice, booked_id)).status_code == booking
    assert (await practice.charge(charged_id)).status_code == charge


async def test_a_booking_needs_a_key_that_lives(practice):
    missing = await book(practice, practice.new_id(), "no-such-key")
    deleted = await book(practice, practice.new_id(), "bk-deleted-1")

    assert refusal(missing) == (404, "BILLING_KEY_NOT_FOUND")
    assert refusal(deleted) == (409, "BILLING_KEY_ALREADY_DELETED")


async def test_a_key_with_living_schedules_is_not_deleted(practice):
    schedule_id = await booked(practice, practice.new_id(), "bk-ok-deleted-soon")

    refused = await practice.api.delete("/billing-keys/bk-ok-deleted-soon")
    await revoke(practice, scheduleIds=[schedule_id])
    deleted = await practice.api.delete("/billing-keys/bk-ok-deleted-soon")

    assert refusal(refused) == (409, "PAYMENT_SCHEDULE_ALREADY_EXISTS")
    assert deleted.status_code == 200


async def test_a_store_of_others_is_refused_wherever_it_is_named(practice):
    theirs = {"storeId": "store-of-others"}

    answers = [
        await book(practice, practice.new_id(), **theirs),
        await revoke(practice, billingKey="bk-ok-1", **theirs),
        await practice.api.get("/payment-schedules", params={"requestBody": json.dumps({"filter": theirs})}),
        await practice.api.get("/payment-schedules/some", params=theirs),
    ]

    assert [refusal(one) for one in answers] == [(403, "FORBIDDEN")] * 4


async def test_a_schedule_on_a_payment_paid_meanwhile_fails_without_a_try(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id, "bk-late-success-1")
    schedule_id = await booked(practice, payment_id)

    await jump(practice, 2 * DAY)

    assert (await look(practice, schedule_id)).json()["status"] == "FAILED"
    assert len(await practice.tries(payment_id)) == 1
    assert (await practice.ask(f"/truth/{payment_id}"))["successes"] == 1
