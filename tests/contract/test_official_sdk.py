"""The official portone-server-sdk can use the simulator, and understands what it says."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from portone_server_sdk.common import CardCredential, CustomerInput, CustomerNameInput, PaymentAmountInput
from portone_server_sdk.errors import (
    AlreadyPaidError,
    BillingKeyAlreadyDeletedError,
    InvalidRequestError,
    PaymentAlreadyCancelledError,
    PaymentNotFoundError,
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
