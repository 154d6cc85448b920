"""Giving money back: whole, in parts, and every way in which it is refused."""

import pytest


@pytest.fixture
async def paid_id(practice):
    payment_id = practice.new_id()
    body = practice.body() | {"amount": {"total": 1000, "taxFree": 200}}
    assert (await practice.api.post(f"/payments/{payment_id}/billing-key", json=body)).status_code == 200
    return payment_id


async def test_without_an_amount_everything_goes_back(practice, paid_id):
    cancelled = (await practice.cancel(paid_id)).json()["cancellation"]

    assert cancelled["status"] == "SUCCEEDED"
    assert (cancelled["totalAmount"], cancelled["taxFreeAmount"]) == (1000, 200)
    payment = (await practice.look(paid_id)).json()
    assert (payment["status"], payment["amount"]["cancelled"]) == ("CANCELLED", 1000)
    assert (await practice.ask("/truth", summary=1))["cancelled"] == {"KRW": 1000}


async def test_parts_add_up_until_nothing_is_left(practice, paid_id):
    first = await practice.cancel(paid_id, amount=300, currentCancellableAmount=1000)
    partly = (await practice.look(paid_id)).json()
    second = await practice.cancel(paid_id, currentCancellableAmount=700)

    assert (first.status_code, second.status_code) == (200, 200)
    assert (partly["status"], partly["amount"]["cancelled"]) == ("PARTIAL_CANCELLED", 300)
    payment = (await practice.look(paid_id)).json()
    assert payment["status"] == "CANCELLED"
    assert [one["totalAmount"] for one in payment["cancellations"]] == [300, 700]


@pytest.mark.parametrize(
    ("fields", "error_type"),
    [
        ({"amount": 1001}, "CANCEL_AMOUNT_EXCEEDS_CANCELLABLE_AMOUNT"),
        ({"amount": 500, "currentCancellableAmount": 999}, "CANCELLABLE_AMOUNT_CONSISTENCY_BROKEN"),
        ({"amount": 900}, "CANCEL_TAX_AMOUNT_EXCEEDS_CANCELLABLE_TAX_AMOUNT"),
        ({"amount": 500, "taxFreeAmount": 201}, "CANCEL_TAX_FREE_AMOUNT_EXCEEDS_CANCELLABLE_TAX_FREE_AMOUNT"),
        ({"amount": 500, "taxFreeAmount": 100, "vatAmount": 401}, "SUM_OF_PARTS_EXCEEDS_CANCEL_AMOUNT"),
        ({"amount": 0}, "INVALID_REQUEST"),
        ({"amount": "100"}, "INVALID_REQUEST"),
        ({"currentCancellableAmount": -1}, "INVALID_REQUEST"),
        ({"reason": ""}, "INVALID_REQUEST"),
    ],
)
async def test_a_cancellation_that_does_not_fit_is_refused_and_moves_nothing(practice, paid_id, fields, error_type):
    refused = await practice.cancel(paid_id, **fields)

    assert refused.json()["type"] == error_type
    assert (await practice.look(paid_id)).json()["status"] == "PAID"


async def test_what_was_never_paid_cannot_be_given_back(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id, "bk-hard-lost-1")

    assert (await practice.cancel(payment_id)).json()["type"] == "PAYMENT_NOT_PAID"
    assert (await practice.cancel(practice.new_id())).json()["type"] == "PAYMENT_NOT_FOUND"


async def test_a_cancellation_is_declined_by_script(practice, paid_id):
    await practice.tell("/scripts", behaviour="transient", on="cancel")

    declined = await practice.cancel(paid_id)

    assert (declined.status_code, declined.json()["type"]) == (502, "PG_PROVIDER")
    assert (await practice.cancel(paid_id)).status_code == 200
