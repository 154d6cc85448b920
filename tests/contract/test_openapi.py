"""Every answer of the simulator is one that PortOne's official OpenAPI allows."""

import json
from datetime import timedelta

import pytest

from tests.contract.booking import DAY, book, booked, jump, look, now_of, revoke
from tests.contract.receiver import listening

CHARGE = ("post", "/payments/{paymentId}/billing-key")
LOOK = ("get", "/payments/{paymentId}")
TRANSACTIONS = ("get", "/payments/{paymentId}/transactions")
CANCEL = ("post", "/payments/{paymentId}/cancel")
ISSUE = ("post", "/billing-keys")
KEY = ("get", "/billing-keys/{billingKey}")
DELETE = ("delete", "/billing-keys/{billingKey}")
BOOK = ("post", "/payments/{paymentId}/schedule")
SCHEDULE = ("get", "/payment-schedules/{paymentScheduleId}")
SCHEDULES = ("get", "/payment-schedules")
REVOKE = ("delete", "/payment-schedules")
PAYMENTS = ("get", "/payments")
PAYMENTS_BY_CURSOR = ("get", "/payments-by-cursor")
EVENTS = ("get", "/payment-events-by-cursor")
RESEND = ("post", "/payments/{paymentId}/resend-webhook")

FULL_CUSTOMER = {
    "id": "customer-1",
    "name": {"separated": {"first": "길동", "last": "홍"}},
    "phoneNumber": "01012345678",
    "email": "hong@example.com",
    "gender": "MALE",
}
ISSUE_BODY = {
    "channelKey": "channel-1",
    "method": {
        "card": {
            "credential": {
                "number": "9409999912345678",
                "expiryYear": "30",
                "expiryMonth": "12",
                "birthOrBusinessRegistrationNumber": "900101",
                "passwordTwoDigits": "00",
            }
        }
    },
    "customer": {"id": "customer-1", "name": {"full": "홍길동"}},
}


async def _is_official(practice, official_contract, *, payment_id):
    """Check both ways of looking at a payment."""
    looked = await practice.look(payment_id)
    official_contract.check_response(*LOOK, looked)
    tries = await practice.api.get(f"/payments/{payment_id}/transactions")
    official_contract.check_response(*TRANSACTIONS, tries)
    return looked.json(), tries.json()["items"]


async def test_a_paid_charge_answers_as_documented_with_nothing_more(practice, official_contract):
    payment_id = practice.new_id()
    body = practice.body(customer=FULL_CUSTOMER, customData='{"a":1}', productCount=1, storeId=practice.store_id)
    official_contract.check_request(*CHARGE, body)

    paid = await practice.charge(payment_id, **{k: v for k, v in body.items() if k not in ("billingKey", "amount")})

    official_contract.check_response(*CHARGE, paid)
    assert paid.json().keys() == {"payment"}
    assert paid.json()["payment"].keys() == {"pgTxId", "paidAt"}
    payment, [transaction] = await _is_official(practice, official_contract, payment_id=payment_id)
    assert (payment["status"], payment["pgTxId"]) == ("PAID", paid.json()["payment"]["pgTxId"])
    assert transaction["id"] == payment["transactionId"]
    assert payment["customer"]["name"] == "홍길동"
    assert set(payment) - official_contract.fields_of("PaidPayment") == {"simulated"}
    assert set(transaction) <= official_contract.fields_of("PaidPaymentTransaction")


async def test_a_decline_answers_as_documented(practice, official_contract):
    payment_id = practice.new_id()

    declined = await practice.charge(payment_id, "bk-hard-lost-1")

    official_contract.check_response(*CHARGE, declined)
    payment, [transaction] = await _is_official(practice, official_contract, payment_id=payment_id)
    assert payment["status"] == "FAILED"
    assert set(payment) - official_contract.fields_of("FailedPayment") == {"simulated"}
    assert set(transaction) <= official_contract.fields_of("FailedPaymentTransaction")


async def test_cancellations_answer_as_documented(practice, official_contract):
    payment_id = practice.new_id()
    await practice.charge(payment_id)

    part = await practice.cancel(payment_id, amount=900)
    partly, _ = await _is_official(practice, official_contract, payment_id=payment_id)
    rest = await practice.cancel(payment_id)
    wholly, [transaction] = await _is_official(practice, official_contract, payment_id=payment_id)
    again = await practice.cancel(payment_id)

    for response in (part, rest, again):
        official_contract.check_response(*CANCEL, response)
    assert (partly["status"], wholly["status"]) == ("PARTIAL_CANCELLED", "CANCELLED")
    assert set(wholly) - official_contract.fields_of("CancelledPayment") == {"simulated"}
    assert set(transaction) <= official_contract.fields_of("CancelledPaymentTransaction")
    assert again.json()["type"] == "PAYMENT_ALREADY_CANCELLED"


async def test_billing_keys_answer_as_documented_from_issue_to_deletion(practice, official_contract):
    official_contract.check_request(*ISSUE, ISSUE_BODY)

    issued = await practice.api.post("/billing-keys", json=ISSUE_BODY)
    official_contract.check_response(*ISSUE, issued)
    billing_key = issued.json()["billingKeyInfo"]["billingKey"]
    alive = await practice.api.get(f"/billing-keys/{billing_key}")
    deleted = await practice.api.delete(f"/billing-keys/{billing_key}")
    dead = await practice.api.get(f"/billing-keys/{billing_key}")
    twice = await practice.api.delete(f"/billing-keys/{billing_key}")

    for response in (alive, dead):
        official_contract.check_response(*KEY, response)
    for response in (deleted, twice):
        official_contract.check_response(*DELETE, response)
    assert (alive.json()["status"], dead.json()["status"]) == ("ISSUED", "DELETED")
    assert set(dead.json()) <= official_contract.fields_of("DeletedBillingKeyInfo")


@pytest.mark.parametrize(
    ("billing_key", "fields", "refusal"),
    [
        ("bk-ok-1", {"orderName": ""}, (400, "INVALID_REQUEST")),
        ("bk-ok-1", {"storeId": "store-of-others"}, (403, "FORBIDDEN")),
        ("no-such-key", {}, (404, "BILLING_KEY_NOT_FOUND")),
        ("bk-ok-1", {"channelKey": "channel-other"}, (404, "CHANNEL_NOT_FOUND")),
        ("bk-deleted-1", {}, (409, "BILLING_KEY_ALREADY_DELETED")),
        ("bk-401-1", {}, (401, "UNAUTHORIZED")),
        ("bk-soft-funds-1", {}, (502, "PG_PROVIDER")),
    ],
)
async def test_an_error_of_the_charge_is_one_the_contract_lists(
    practice, official_contract, billing_key, fields, refusal
):
    await practice.reset(channel_keys=["channel-1"])

    response = await practice.charge(practice.new_id(), billing_key, **fields)

    official_contract.check_response(*CHARGE, response)
    assert (response.status_code, response.json()["type"]) == refusal
    assert response.json()["simulated"] is True


async def test_the_errors_of_too_many_tries_and_of_parts_are_documented(practice, official_contract):
    await practice.reset(attempt_cap=1)
    payment_id = practice.new_id()
    await practice.charge(payment_id, "bk-hard-lost-1")

    capped = await practice.charge(payment_id)
    parts = await practice.api.post(
        f"/payments/{practice.new_id()}/billing-key",
        json=practice.body() | {"amount": {"total": 100, "taxFree": 60, "vat": 50}},
    )
    paid_id = practice.new_id()
    await practice.charge(paid_id)
    paid_already = await practice.charge(paid_id)

    for response, error_type in [
        (capped, "MAX_TRANSACTION_COUNT_REACHED"),
        (parts, "SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT"),
        (paid_already, "ALREADY_PAID"),
    ]:
        official_contract.check_response(*CHARGE, response)
        assert response.json()["type"] == error_type


async def test_what_is_not_there_is_refused_as_documented(practice, official_contract):
    payment_id = practice.new_id()

    official_contract.check_response(*LOOK, await practice.look(payment_id))
    official_contract.check_response(*TRANSACTIONS, await practice.api.get(f"/payments/{payment_id}/transactions"))
    official_contract.check_response(*CANCEL, await practice.cancel(payment_id))
    official_contract.check_response(*KEY, await practice.api.get("/billing-keys/no-such-key"))
    official_contract.check_response(*DELETE, await practice.api.delete("/billing-keys/no-such-key"))


async def _listed(practice, path, **asked):
    return await practice.api.get(path, params={"requestBody": json.dumps(asked)})


async def test_schedules_answer_as_documented_in_every_status(practice, official_contract):
    started_id = practice.new_id()
    await practice.tell("/scripts", behaviour="stays-started", on="fire", paymentId=started_id, seconds=10 * DAY)
    fields = {"customer": FULL_CUSTOMER, "customData": "{}", "noticeUrls": [], "installmentMonth": 0}
    body = {"payment": practice.body(**fields), "timeToPay": (await now_of(practice) + timedelta(days=1)).isoformat()}
    official_contract.check_request(*BOOK, body)
    ids = {
        "SCHEDULED": await booked(practice, practice.new_id(), seconds=9 * DAY, **fields),
        "STARTED": await booked(practice, started_id, **fields),
        "SUCCEEDED": await booked(practice, practice.new_id(), **fields),
        "FAILED": await booked(practice, practice.new_id(), "bk-hard-lost-1", **fields),
        "REVOKED": await booked(practice, practice.new_id(), **fields),
    }
    revoked = await revoke(practice, scheduleIds=[ids["REVOKED"]])
    await jump(practice, 2 * DAY)

    for status, schedule_id in ids.items():
        shown = await look(practice, schedule_id)
        official_contract.check_response(*SCHEDULE, shown)
        assert shown.json()["status"] == status
        known = official_contract.fields_of(f"{status.capitalize()}PaymentSchedule")
        assert set(shown.json()) - known == {"simulated"}
    official_contract.check_response(*REVOKE, revoked)
    now = await now_of(practice)
    asked = {
        "filter": {"from": (now - timedelta(days=9)).isoformat(), "until": (now + timedelta(days=9)).isoformat()},
        "sort": {"by": "TIME_TO_PAY", "order": "ASC"},
        "page": {"number": 0, "size": 10},
    }
    official_contract.check_request(*SCHEDULES, asked)
    listed = await _listed(practice, "/payment-schedules", **asked)
    official_contract.check_response(*SCHEDULES, listed)
    assert len(listed.json()["items"]) == 5


async def test_the_errors_about_schedules_are_documented(practice, official_contract):
    payment_id, paid_id = practice.new_id(), practice.new_id()
    living, fired, revoked = await booked(practice, payment_id), await booked(practice, paid_id, seconds=1), ""
    await jump(practice, 2)
    revoked = await booked(practice, practice.new_id())
    await revoke(practice, scheduleIds=[revoked])

    bookings = [
        (await book(practice, payment_id), "PAYMENT_SCHEDULE_ALREADY_EXISTS"),
        (await book(practice, paid_id), "ALREADY_PAID_OR_WAITING"),
        (await book(practice, practice.new_id(), "no-such-key"), "BILLING_KEY_NOT_FOUND"),
        (await book(practice, practice.new_id(), "bk-deleted-1"), "BILLING_KEY_ALREADY_DELETED"),
        (await book(practice, practice.new_id(), seconds=-1), "INVALID_REQUEST"),
        (await book(practice, practice.new_id(), storeId="store-of-others"), "FORBIDDEN"),
    ]
    revocations = [
        (await revoke(practice, scheduleIds=[living, fired]), "PAYMENT_SCHEDULE_ALREADY_PROCESSED"),
        (await revoke(practice, scheduleIds=[revoked]), "PAYMENT_SCHEDULE_ALREADY_REVOKED"),
        (await revoke(practice, scheduleIds=["never-was"]), "PAYMENT_SCHEDULE_NOT_FOUND"),
        (await revoke(practice, billingKey="bk-deleted-1"), "BILLING_KEY_ALREADY_DELETED"),
        (await revoke(practice), "INVALID_REQUEST"),
    ]

    for operation, answers in ((BOOK, bookings), (REVOKE, revocations)):
        for response, error_type in answers:
            official_contract.check_response(*operation, response)
            assert response.json()["type"] == error_type
    official_contract.check_response(*CHARGE, await practice.charge(payment_id))
    official_contract.check_response(*DELETE, await practice.api.delete("/billing-keys/bk-ok-1"))
    official_contract.check_response(*SCHEDULE, await look(practice, "never-was"))


async def test_lists_of_payments_and_events_answer_as_documented(practice, official_contract):
    paid_id, part_id, whole_id, scheduled_id = [practice.new_id() for _ in range(4)]
    for payment_id in (paid_id, part_id, whole_id):
        await practice.charge(payment_id, customer=FULL_CUSTOMER, customData="{}", productCount=1)
    await practice.charge(practice.new_id(), "bk-hard-lost-1")
    await booked(practice, scheduled_id, seconds=1)
    await jump(practice, 2)
    await practice.tell("/payments/dispute", paymentId=paid_id)
    await practice.tell("/payments/resolve", paymentId=paid_id)
    await practice.tell("/payments/dispute", paymentId=paid_id)
    await practice.cancel(part_id, amount=900)
    await practice.tell("/payments/chargeback", paymentId=whole_id)

    asked = {"filter": {"isTest": True, "timestampType": "CREATED_AT", "status": ["PAID"]}, "page": {"size": 100}}
    official_contract.check_request(*PAYMENTS, asked)
    answers = {
        PAYMENTS: await _listed(practice, "/payments"),
        PAYMENTS_BY_CURSOR: await _listed(practice, "/payments-by-cursor"),
        EVENTS: await _listed(practice, "/payment-events-by-cursor"),
    }

    for operation, response in answers.items():
        official_contract.check_response(*operation, response)
    assert [len(response.json()["items"]) for response in answers.values()] == [5, 5, 6]
    for item in answers[EVENTS].json()["items"]:
        event = item["paymentEvent"]
        name = {"PAID": "Paid", "CANCELLED": "Cancelled", "PARTIAL_CANCELLED": "PartialCancelled"}[event["type"]]
        assert set(event) - official_contract.fields_of(f"{name}PaymentEvent") == {"simulated"}
    for operation, path in ((PAYMENTS, "/payments"), (EVENTS, "/payment-events-by-cursor")):
        refused = await _listed(practice, path, **{"from": "then", "filter": {"from": "then"}})
        official_contract.check_response(*operation, refused)
        assert refused.status_code == 400


async def test_a_payment_lists_its_webhooks_as_documented(practice, official_contract):
    payment_id = practice.new_id()
    async with listening() as receiver:
        await practice.tell("/webhooks", urls=[receiver.url, "http://127.0.0.1:9/hook"])
        await practice.charge(payment_id)
        await practice.ask("/webhooks", wait_seconds=10)
        await practice.tell("/payments/dispute", paymentId=payment_id)
        await practice.ask("/webhooks", wait_seconds=10)
        resent = await practice.api.post(f"/payments/{payment_id}/resend-webhook", json={})
        unknown = await practice.api.post(f"/payments/{payment_id}/resend-webhook", json={"webhookId": "x"})

    looked = await practice.look(payment_id)
    official_contract.check_response(*LOOK, looked)
    statuses = {one["status"] for one in looked.json()["webhooks"]}
    assert statuses == {"SUCCEEDED", "FAILED_UNEXPECTED_ERROR"}
    for response in (resent, unknown, await practice.api.post("/payments/nobody/resend-webhook", json={})):
        official_contract.check_response(*RESEND, response)
