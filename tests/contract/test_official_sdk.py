"""The official portone-server-sdk can use the simulator, and understands what it says."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from portone_server_sdk import webhook
from portone_server_sdk.common import CardCredential, CustomerInput, CustomerNameInput, PaymentAmountInput
from portone_server_sdk.errors import (
    AlreadyPaidError,
    BillingKeyAlreadyDeletedError,
    InvalidRequestError,
    PaymentAlreadyCancelledError,
    PaymentNotFoundError,
    PaymentScheduleAlreadyExistsError,
    PaymentScheduleAlreadyRevokedError,
    PaymentScheduleNotFoundError,
    PgProviderError,
    UnauthorizedError,
)
from portone_server_sdk.payment import CancelledPayment, FailedPayment, PaidPayment, PaymentClient
from portone_server_sdk.payment.billing_key import (
    DeletedBillingKeyInfo,
    InstantBillingKeyPaymentMethodInput,
    InstantBillingKeyPaymentMethodInputCard,
    IssuedBillingKeyInfo,
)
from portone_server_sdk.payment.payment_schedule import (
    BillingKeyPaymentScheduleInput,
    FailedPaymentSchedule,
    PaymentScheduleFilterInput,
    RevokedPaymentSchedule,
    ScheduledPaymentSchedule,
    SucceededPaymentSchedule,
)

from billing_worker.simulator.options import PRACTICE_WEBHOOK_SECRET
from tests.contract.booking import DAY, jump, now_of
from tests.contract.receiver import listening

Call = Callable[..., Awaitable[Any]]

CARD = InstantBillingKeyPaymentMethodInput(
    card=InstantBillingKeyPaymentMethodInputCard(
        credential=CardCredential(
            number="9409999912345678",
            expiry_year="30",
            expiry_month="12",
            birth_or_business_registration_number="900101",
            password_two_digits="00",
        )
    )
)
CUSTOMER = CustomerInput(id="customer-1", name=CustomerNameInput(full="홍길동"), phone_number="01012345678")


@pytest.fixture
def client(practice):
    return PaymentClient(secret=practice.api_secret, base_url=practice.url, store_id=practice.store_id)


@pytest.fixture(params=["sync", "async"])
def call(request) -> Call:
    """Call a method of the SDK by name, in the twin that the parameter names."""

    async def called(client: Any, name: str, **arguments: Any) -> Any:
        if request.param == "async":
            return await getattr(client, f"{name}_async")(**arguments)
        return getattr(client, name)(**arguments)

    return called


def _order(payment_id, billing_key):
    return {
        "payment_id": payment_id,
        "billing_key": billing_key,
        "order_name": "프로 요금제",
        "customer": CUSTOMER,
        "amount": PaymentAmountInput(total=9900),
        "currency": "KRW",
    }


async def test_a_card_is_registered_charged_refunded_and_deleted(practice, client, call):
    payment_id = practice.new_id()

    issued = await call(
        client.billing_key, "issue_billing_key", method=CARD, channel_key="channel-1", customer=CUSTOMER
    )
    billing_key = issued.billing_key_info.billing_key
    registered = await call(client.billing_key, "get_billing_key_info", billing_key=billing_key)
    charged = await call(client, "pay_with_billing_key", **_order(payment_id, billing_key))
    paid = await call(client, "get_payment", payment_id=payment_id)
    tries = await call(client, "get_payment_transactions", payment_id=payment_id)
    cancelled = await call(client, "cancel_payment", payment_id=payment_id, reason="고객 요청")
    refunded = await call(client, "get_payment", payment_id=payment_id)
    await call(client.billing_key, "delete_billing_key", billing_key=billing_key)
    deleted = await call(client.billing_key, "get_billing_key_info", billing_key=billing_key)

    assert isinstance(registered, IssuedBillingKeyInfo)
    assert isinstance(paid, PaidPayment)
    assert (paid.amount.total, paid.currency, paid.pg_tx_id) == (9900, "KRW", charged.payment.pg_tx_id)
    assert paid.customer.name == "홍길동"
    assert [one.id for one in tries.items] == [paid.transaction_id]
    assert cancelled.cancellation.total_amount == 9900
    assert isinstance(refunded, CancelledPayment)
    assert isinstance(deleted, DeletedBillingKeyInfo)


async def test_a_decline_is_the_sdks_pg_provider_error(practice, client, call):
    payment_id = practice.new_id()

    with pytest.raises(PgProviderError) as declined:
        await call(client, "pay_with_billing_key", **_order(payment_id, "bk-soft-funds-1"))

    assert declined.value.pg_message == "잔액부족"
    failed = await call(client, "get_payment", payment_id=payment_id)
    assert isinstance(failed, FailedPayment)
    assert failed.failure.pg_code == declined.value.pg_code


async def test_refusals_are_the_sdks_own_errors(practice, client, call):
    payment_id = practice.new_id()
    await call(client, "pay_with_billing_key", **_order(payment_id, "bk-ok-1"))
    await call(client, "cancel_payment", payment_id=payment_id, reason="고객 요청")

    with pytest.raises(AlreadyPaidError):
        await call(client, "pay_with_billing_key", **_order(payment_id, "bk-ok-1"))
    with pytest.raises(PaymentAlreadyCancelledError):
        await call(client, "cancel_payment", payment_id=payment_id, reason="고객 요청")
    with pytest.raises(InvalidRequestError):
        await call(client, "pay_with_billing_key", **_order("x" * 33, "bk-ok-1"))
    with pytest.raises(BillingKeyAlreadyDeletedError):
        await call(client, "pay_with_billing_key", **_order(practice.new_id(), "bk-deleted-1"))
    with pytest.raises(PaymentNotFoundError):
        await call(client, "get_payment", payment_id=practice.new_id())


async def test_a_wrong_secret_is_the_sdks_unauthorized_error(practice, call):
    stranger = PaymentClient(secret="another-secret", base_url=practice.url)

    with pytest.raises(UnauthorizedError):
        await call(stranger, "get_payment", payment_id=practice.new_id())


def _booking(practice, billing_key="bk-ok-1"):
    return BillingKeyPaymentScheduleInput(
        store_id=practice.store_id,
        billing_key=billing_key,
        order_name="프로 요금제",
        customer=CUSTOMER,
        amount=PaymentAmountInput(total=9900),
        currency="KRW",
    )


async def test_schedules_are_made_shown_listed_fired_and_revoked(practice, client, call):
    schedules, now = client.payment_schedule, await now_of(practice)
    ids = {}
    for name, billing_key in [("paid", "bk-ok-1"), ("failed", "bk-hard-lost-1"), ("revoked", "bk-ok-1")]:
        booked = await call(
            schedules,
            "create_payment_schedule",
            payment_id=practice.new_id(),
            payment=_booking(practice, billing_key),
            time_to_pay=(now + timedelta(days=1)).isoformat(),
        )
        ids[name] = booked.schedule.id

    before = await call(schedules, "get_payment_schedule", payment_schedule_id=ids["paid"])
    revoked = await call(schedules, "revoke_payment_schedules", schedule_ids=[ids["revoked"]])
    await jump(practice, 2 * DAY)
    after = {
        name: await call(schedules, "get_payment_schedule", payment_schedule_id=schedule_id)
        for name, schedule_id in ids.items()
    }
    window = PaymentScheduleFilterInput(from_=now.isoformat(), until=(now + timedelta(days=9)).isoformat())
    listed = await call(schedules, "get_payment_schedules", filter=window)

    assert isinstance(before, ScheduledPaymentSchedule)
    assert revoked.revoked_schedule_ids == [ids["revoked"]]
    assert isinstance(after["paid"], SucceededPaymentSchedule)
    assert isinstance(after["failed"], FailedPaymentSchedule)
    assert isinstance(after["revoked"], RevokedPaymentSchedule)
    assert {one.id for one in listed.items} == set(ids.values())
    paid = await call(client, "get_payment", payment_id=before.payment_id)
    assert (paid.schedule_id, paid.amount.total) == (ids["paid"], 9900)


async def test_refusals_about_schedules_are_the_sdks_own_errors(practice, client, call):
    schedules, payment_id = client.payment_schedule, practice.new_id()
    at = (await now_of(practice) + timedelta(days=1)).isoformat()
    booking = {"payment_id": payment_id, "payment": _booking(practice), "time_to_pay": at}
    booked = await call(schedules, "create_payment_schedule", **booking)

    with pytest.raises(PaymentScheduleAlreadyExistsError):
        await call(schedules, "create_payment_schedule", **booking)
    with pytest.raises(PaymentScheduleAlreadyExistsError):
        await call(client, "pay_with_billing_key", **_order(payment_id, "bk-ok-1"))
    with pytest.raises(PaymentScheduleNotFoundError):
        await call(schedules, "get_payment_schedule", payment_schedule_id="never-was")
    await call(schedules, "revoke_payment_schedules", schedule_ids=[booked.schedule.id])
    with pytest.raises(PaymentScheduleAlreadyRevokedError):
        await call(schedules, "revoke_payment_schedules", schedule_ids=[booked.schedule.id])


async def test_payments_and_events_are_listed(practice, client, call):
    payment_id = practice.new_id()
    await practice.charge(payment_id)
    await practice.cancel(payment_id, amount=900)
    await practice.cancel(payment_id)

    by_page = await call(client, "get_payments")
    by_cursor = await call(client, "get_all_payments_by_cursor")
    events = await call(client, "get_all_payment_events_by_cursor")

    assert [one.id for one in by_page.items] == [payment_id]
    assert [one.payment.id for one in by_cursor.items] == [payment_id]
    assert [one.payment_event.event_amount for one in events.items] == [9900, -900, -9000]


async def test_the_sdk_verifies_what_is_sent_and_refuses_what_is_forged(practice):
    payment_id = practice.new_id()
    async with listening() as receiver:
        await practice.tell("/webhooks", urls=[receiver.url])
        await practice.charge(payment_id)
        await practice.ask("/webhooks", wait_seconds=10)
        await practice.cancel(payment_id, amount=900)
        await practice.ask("/webhooks", wait_seconds=10)
        await practice.cancel(payment_id)
        await practice.ask("/webhooks", wait_seconds=10)
        true_ones = list(receiver.came)
        for what in ("wrong-secret", "old-timestamp", "unsigned"):
            await practice.tell("/webhooks/forge", what=what, paymentId=payment_id)
        await practice.ask("/webhooks", wait_seconds=10)

    told = [webhook.verify(PRACTICE_WEBHOOK_SECRET, one.body.decode(), one.headers) for one in true_ones]
    assert [type(one) for one in told] == [
        webhook.WebhookTransactionPaid,
        webhook.WebhookTransactionCancelledPartialCancelled,
        webhook.WebhookTransactionCancelledCancelled,
    ]
    assert {one.data.payment_id for one in told} == {payment_id}
    forged = receiver.came[len(true_ones) :]
    assert len(forged) == 3
    for one in forged:
        with pytest.raises(webhook.WebhookVerificationError):
            webhook.verify(PRACTICE_WEBHOOK_SECRET, one.body.decode(), one.headers)
    assert abs(int(true_ones[0].headers["webhook-timestamp"]) - time.time()) < 60
