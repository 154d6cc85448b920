"""What people do in PortOne's console: schedules revoked, edited and retried, payments given back and contested."""

from datetime import datetime, timedelta

import pytest

from tests.contract.booking import DAY, booked, jump, look, now_of


async def hours_from_now(practice, hours):
    return (await now_of(practice) + timedelta(hours=hours)).isoformat()


async def test_a_schedule_revoked_in_the_console_does_not_fire(practice):
    schedule_id = await booked(practice, practice.new_id())

    await practice.tell("/schedules/revoke", scheduleId=schedule_id)
    await jump(practice, 2 * DAY)

    assert (await look(practice, schedule_id)).json()["status"] == "REVOKED"


async def test_an_edited_schedule_fires_once_at_its_new_time_for_its_new_amount(practice):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id, seconds=2 * DAY)
    at = await hours_from_now(practice, 1)

    edited = await practice.tell("/schedules/edit", scheduleId=schedule_id, timeToPay=at, amount=12_000)
    shown = (await look(practice, schedule_id)).json()
    await jump(practice, 3 * DAY)

    payment = (await practice.look(payment_id)).json()
    assert (edited["amount"], shown["totalAmount"], payment["amount"]["total"]) == (12_000, 12_000, 12_000)
    assert datetime.fromisoformat(payment["paidAt"]) == datetime.fromisoformat(at)
    truth = await practice.ask("/truth")
    assert (truth["charges_count"], truth["violations_count"]) == (1, 0)


async def test_an_edit_to_a_later_time_leaves_the_earlier_one_empty(practice):
    schedule_id = await booked(practice, practice.new_id(), seconds=3600)
    await practice.tell("/schedules/edit", scheduleId=schedule_id, timeToPay=await hours_from_now(practice, 48))

    await jump(practice, DAY)

    assert (await look(practice, schedule_id)).json()["status"] == "SCHEDULED"


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_failed_or_revoked_schedule_is_retried_at_once(practice, revoked):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id, "bk-soft-funds-x1-1")
    if revoked:
        await practice.tell("/schedules/revoke", scheduleId=schedule_id)
        await practice.charge(payment_id, "bk-soft-funds-x1-1")
    await jump(practice, 2 * DAY)

    retried = await practice.tell("/schedules/retry", scheduleId=schedule_id)

    assert retried["status"] == "SUCCEEDED"
    assert (await practice.look(payment_id)).json()["scheduleId"] == schedule_id


async def test_a_failed_schedule_is_retried_at_a_new_time(practice):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id, "bk-soft-funds-x1-1")
    await jump(practice, 2 * DAY)

    at = await hours_from_now(practice, 1)
    retried = await practice.tell("/schedules/retry", scheduleId=schedule_id, timeToPay=at)
    await jump(practice, 2 * 3600)

    assert retried["status"] == "SCHEDULED"
    assert (await look(practice, schedule_id)).json()["status"] == "SUCCEEDED"
    assert (await practice.ask(f"/truth/{payment_id}"))["successes"] == 1


async def test_the_console_pays_nothing_twice(practice):
    payment_id = practice.new_id()
    failed = await booked(practice, payment_id, "bk-soft-funds-x1-1")
    await jump(practice, 2 * DAY)
    await practice.charge(payment_id)

    response = await practice.control.post("/schedules/retry", json={"scheduleId": failed})

    assert response.status_code == 400
    assert "ALREADY_PAID_OR_WAITING" in response.json()["error"]
    assert (await practice.ask(f"/truth/{payment_id}"))["successes"] == 1


async def test_a_retry_beside_another_living_schedule_is_refused(practice):
    payment_id = practice.new_id()
    failed = await booked(practice, payment_id, "bk-soft-funds-1")
    await jump(practice, 2 * DAY)
    await booked(practice, payment_id)

    response = await practice.control.post("/schedules/retry", json={"scheduleId": failed})

    assert response.status_code == 400


@pytest.mark.parametrize(("path", "trigger"), [("refund", "CONSOLE"), ("chargeback", "CHARGEBACK")])
async def test_money_goes_back_without_the_clients_doing(practice, path, trigger):
    payment_id = practice.new_id()
    await practice.charge(payment_id)

    await practice.tell(f"/payments/{path}", paymentId=payment_id, amount=900)
    partly = (await practice.look(payment_id)).json()
    await practice.tell(f"/payments/{path}", paymentId=payment_id)
    wholly = (await practice.look(payment_id)).json()

    assert (partly["status"], wholly["status"]) == ("PARTIAL_CANCELLED", "CANCELLED")
    assert [(one["trigger"], one["totalAmount"]) for one in wholly["cancellations"]] == [
        (trigger, 900),
        (trigger, 9000),
    ]


async def test_a_dispute_is_made_and_resolved(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id)

    made = await practice.tell("/payments/dispute", paymentId=payment_id, reason="모르는 결제")
    during = (await practice.look(payment_id)).json()
    await practice.tell("/payments/resolve", paymentId=payment_id)
    after = (await practice.look(payment_id)).json()

    [dispute] = during["disputes"]
    assert (dispute["status"], dispute["reason"], dispute["pgDisputeId"]) == (
        "UNRESOLVED",
        "모르는 결제",
        made["pgDisputeId"],
    )
    assert [(one["status"], "resolvedAt" in one) for one in after["disputes"]] == [("RESOLVED", True)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/schedules/revoke", {"scheduleId": "schedule-never-was"}),
        ("/schedules/revoke", {}),
        ("/schedules/edit", {"scheduleId": "SCHEDULED"}),
        ("/schedules/edit", {"scheduleId": "SCHEDULED", "timeToPay": "2020-01-01T00:00:00Z"}),
        ("/schedules/edit", {"scheduleId": "SCHEDULED", "amount": 0}),
        ("/schedules/edit", {"scheduleId": "SUCCEEDED", "amount": 1}),
        ("/schedules/fire", {"scheduleId": "SUCCEEDED"}),
        ("/schedules/retry", {"scheduleId": "SCHEDULED"}),
        ("/schedules/retry", {"scheduleId": "SUCCEEDED"}),
        ("/payments/refund", {"paymentId": "never-was"}),
        ("/payments/refund", {"paymentId": "PAID", "amount": 9901}),
        ("/payments/refund", {"paymentId": "PAID", "amount": True}),
        ("/payments/resolve", {"paymentId": "PAID"}),
        ("/payments/dispute", {"paymentId": "PAID", "no_such": 1}),
    ],
)
async def test_the_console_refuses_what_cannot_be(practice, path, body):
    paid_id = practice.new_id()
    names = {"SUCCEEDED": await booked(practice, paid_id, seconds=60), "PAID": paid_id}
    await jump(practice, 120)
    names["SCHEDULED"] = await booked(practice, practice.new_id())

    response = await practice.control.post(path, json={name: names.get(it, it) for name, it in body.items()})

    assert response.status_code == 400
    assert response.json()["error"]
