"""The table of error types holds every type that PortOne documents for the calls we make."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from portone_server_sdk._generated.payment import pay_with_billing_key_error as sdk

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    LOOK_ERRORS_ABSENT,
    PAYMENT_FAILED,
    PAYMENT_PAID,
    PAYMENT_PENDING,
    Declined,
    NoVerdict,
    Paid,
    Payment,
    Unanswered,
    read_charge_error,
)
from billing_worker.portone.wire import charge_body
from tests.builders import NOON

_BESIDE_THE_CLONE = Path(__file__).parents[3] / "shared/reference/portone-v2.openapi.json"


@pytest.fixture(scope="module")
def openapi() -> Any:
    path = Path(os.environ.get("BILLING_TEST_OPENAPI", _BESIDE_THE_CLONE))
    if not path.exists():
        pytest.skip("the OpenAPI is not at hand: BILLING_TEST_OPENAPI names it")
    return json.loads(path.read_text(encoding="utf-8"))


def error_types(openapi: Any, path: str, method: str) -> set[str]:
    responses = openapi["paths"][path][method]["responses"]
    errors = [answer for status, answer in responses.items() if not status.startswith("2")]
    references = {answer["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1] for answer in errors}
    schemas = openapi["components"]["schemas"]
    return {error_type for name in references for error_type in schemas[name]["discriminator"]["mapping"]}


def test_every_error_of_the_official_sdk_is_in_the_table() -> None:
    error_classes = [one for one in get_args(sdk.PayWithBillingKeyError) if one is not dict]
    errors = [one(**{field.name: "" for field in dataclasses.fields(one)}) for one in error_classes]

    types = {sdk._serialize_pay_with_billing_key_error(error)["type"] for error in errors}

    assert len(types) >= 13
    assert types <= set(CHARGE_ERRORS)


def test_every_error_of_the_openapis_charge_is_in_the_table(openapi: Any) -> None:
    types = error_types(openapi, "/payments/{paymentId}/billing-key", "post")

    assert len(types) >= 13
    assert types <= set(CHARGE_ERRORS)


def test_the_table_invents_no_type(openapi: Any) -> None:
    documented = error_types(openapi, "/payments/{paymentId}/billing-key", "post")

    # The REST overview page alone has this one.
    assert set(CHARGE_ERRORS) - documented == {"IDEMPOTENCY_OUTSTANDING_REQUEST"}


@pytest.mark.parametrize("path", ["/payments/{paymentId}", "/payments/{paymentId}/transactions"])
def test_a_look_knows_every_error_that_says_the_payment_is_absent(openapi: Any, path: str) -> None:
    about_the_request = {"INVALID_REQUEST", "UNAUTHORIZED", "FORBIDDEN"}

    assert error_types(openapi, path, "get") - about_the_request == LOOK_ERRORS_ABSENT


@pytest.mark.parametrize("schema", ["Payment", "PaymentTransaction"])
def test_every_documented_status_of_a_payment_is_paid_failed_or_pending(openapi: Any, schema: str) -> None:
    statuses = set(openapi["components"]["schemas"][schema]["discriminator"]["mapping"])

    assert statuses == PAYMENT_PAID | PAYMENT_FAILED | PAYMENT_PENDING


def test_what_we_send_has_only_documented_fields_and_all_required_ones(openapi: Any) -> None:
    schemas = openapi["components"]["schemas"]
    sent = charge_body(
        store_id="store-1",
        billing_key="billing-key-1",
        channel_key="channel-key-1",
        order_name="Pro plan",
        customer_id="customer-1",
        customer_name="홍길동",
        phone_number="01012345678",
        email="hong@example.com",
        subscription_key="subscription-1",
        cycle_number=1,
        amount=Money(9900, "KRW"),
    )
    body = json.loads(sent)

    for schema, item in (
        ("BillingKeyPaymentInput", body),
        ("CustomerInput", body["customer"]),
        ("PaymentAmountInput", body["amount"]),
    ):
        assert set(item) <= set(schemas[schema]["properties"])
        assert set(schemas[schema].get("required", ())) <= set(item)


def test_a_type_that_nobody_has_documented_is_no_verdict() -> None:
    assert read_charge_error("SOMETHING_NEW", "왜") == NoVerdict("unknown error type")


def test_what_an_outcome_leaves_out_is_nothing() -> None:
    assert Declined("51", "왜").transaction_id is None
    assert NoVerdict("silence").resend is False
    assert NoVerdict("silence").look_now is False
    assert NoVerdict("silence").retry_after_seconds is None
    assert Unanswered("silence").retry_after_seconds is None
    assert (Paid("pg-1", NOON).transaction_id, Paid("pg-1", NOON).refunded_minor) == (None, 0)


def test_what_a_look_does_not_show_is_nothing() -> None:
    found = Payment(
        status="READY",
        transaction_id="tx-1",
        amount_minor=1,
        currency="KRW",
        store_id="store-1",
        is_test=None,
        requested_at=NOON,
        changed_at=NOON,
    )

    assert (found.pg_tx_id, found.paid_at, found.refunded_minor) == (None, None, 0)
    assert (found.failure_code, found.failure_message) == ("", "")


def test_a_decline_without_a_word_of_the_pg_has_portone_s_message_and_no_code() -> None:
    assert read_charge_error("PG_PROVIDER", "왜") == Declined(code="", message="왜")
