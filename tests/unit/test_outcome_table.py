"""The table of error types holds every type that PortOne documents for the calls we make."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from portone_server_sdk._generated.payment import pay_with_billing_key_error as sdk

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    BOOKING_ERRORS,
    CANCEL_ERRORS,
    CHARGE_ERRORS,
    LOOK_ERRORS_ABSENT,
    PAYMENT_FAILED,
    PAYMENT_PAID,
    PAYMENT_PENDING,
    REVOCATION_ERRORS,
    REVOCATIONS,
    SCHEDULE_ERRORS_ABSENT,
    SCHEDULE_FAILED,
    SCHEDULE_REVOKED,
    SCHEDULE_STARTED,
    SCHEDULE_SUCCEEDED,
    SCHEDULE_WAITING,
    Cancellation,
    Declined,
    NoVerdict,
    Paid,
    Payment,
    Reading,
    RefusalScope,
    Refused,
    Revocation,
    Schedule,
    Unanswered,
    read_booking_error,
    read_cancel_error,
    read_charge_error,
    read_revocation_error,
)
from billing_worker.portone.wire import charge_body
from billing_worker.portone.wire_refunds import cancel_body
from billing_worker.portone.wire_schedules import schedule_body
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


@pytest.mark.parametrize(
    ("path", "method", "table"),
    [
        ("/payments/{paymentId}/billing-key", "post", CHARGE_ERRORS),
        ("/payments/{paymentId}/schedule", "post", BOOKING_ERRORS),
        ("/payment-schedules", "delete", REVOCATION_ERRORS | REVOCATIONS),
        ("/payments/{paymentId}/cancel", "post", CANCEL_ERRORS),
    ],
)
def test_a_table_has_every_type_that_is_documented_and_invents_none(
    openapi: Any, path: str, method: str, table: Mapping[str, object]
) -> None:
    # The REST overview page alone has this one.
    assert set(table) == error_types(openapi, path, method) | {"IDEMPOTENCY_OUTSTANDING_REQUEST"}


def test_a_look_at_a_schedule_knows_the_error_that_says_that_there_is_none(openapi: Any) -> None:
    about_the_request = {"INVALID_REQUEST", "UNAUTHORIZED", "FORBIDDEN"}

    types = error_types(openapi, "/payment-schedules/{paymentScheduleId}", "get")

    assert types - about_the_request == SCHEDULE_ERRORS_ABSENT


def test_every_documented_status_of_a_schedule_has_its_meaning(openapi: Any) -> None:
    statuses = set(openapi["components"]["schemas"]["PaymentSchedule"]["discriminator"]["mapping"])
    ours = [SCHEDULE_WAITING, SCHEDULE_STARTED, SCHEDULE_SUCCEEDED, SCHEDULE_FAILED, SCHEDULE_REVOKED]

    assert statuses == set().union(*ours)
    assert len(statuses) == sum(map(len, ours))


READINGS = {
    "BILLING_KEY_NOT_FOUND": Reading.REFUSED_CARD,
    "BILLING_KEY_ALREADY_DELETED": Reading.REFUSED_CARD,
    "INVALID_REQUEST": Reading.REFUSED_CYCLE,
    "UNAUTHORIZED": Reading.REFUSED_CHANNEL,
    "FORBIDDEN": Reading.REFUSED_CHANNEL,
    "IDEMPOTENCY_OUTSTANDING_REQUEST": Reading.RESEND,
}


def test_a_booking_that_has_come_before_us_is_looked_for() -> None:
    assert BOOKING_ERRORS == READINGS | {
        "SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT": Reading.REFUSED_CYCLE,
        "ALREADY_PAID_OR_WAITING": Reading.ASK,
        "PAYMENT_SCHEDULE_ALREADY_EXISTS": Reading.ASK,
    }


def test_what_is_not_taken_back_is_refused_or_no_longer_there_to_be() -> None:
    assert REVOCATION_ERRORS == READINGS


def test_only_what_the_pg_says_of_a_refund_needs_a_look() -> None:
    assert {name for name, reading in CANCEL_ERRORS.items() if reading is Reading.ASK} == {"PG_PROVIDER"}
    assert {name for name, reading in CANCEL_ERRORS.items() if reading is Reading.REFUSED_CHANNEL} == {
        "UNAUTHORIZED",
        "FORBIDDEN",
    }


@pytest.mark.parametrize(
    ("read", "error_type", "outcome"),
    [
        (read_booking_error, "INVALID_REQUEST", Refused("INVALID_REQUEST", "왜", RefusalScope.CYCLE)),
        (read_booking_error, "BILLING_KEY_NOT_FOUND", Refused("BILLING_KEY_NOT_FOUND", "왜", RefusalScope.CARD)),
        (read_booking_error, "FORBIDDEN", Refused("FORBIDDEN", "왜", RefusalScope.CHANNEL)),
        (read_booking_error, "ALREADY_PAID_OR_WAITING", NoVerdict("ALREADY_PAID_OR_WAITING", look_now=True)),
        (
            read_booking_error,
            "IDEMPOTENCY_OUTSTANDING_REQUEST",
            NoVerdict("IDEMPOTENCY_OUTSTANDING_REQUEST", resend=True),
        ),
        (read_booking_error, "PG_PROVIDER", NoVerdict("unknown error type")),
        (read_revocation_error, "PAYMENT_SCHEDULE_ALREADY_PROCESSED", Revocation.ALREADY_PROCESSED),
        (read_revocation_error, "PAYMENT_SCHEDULE_ALREADY_REVOKED", Revocation.ALREADY_REVOKED),
        (read_revocation_error, "PAYMENT_SCHEDULE_NOT_FOUND", Revocation.NOT_FOUND),
        (read_revocation_error, "UNAUTHORIZED", Refused("UNAUTHORIZED", "왜", RefusalScope.CHANNEL)),
        (read_revocation_error, "SOMETHING_NEW", NoVerdict("unknown error type")),
        (read_cancel_error, "PAYMENT_NOT_PAID", Refused("PAYMENT_NOT_PAID", "왜", RefusalScope.CYCLE)),
        (read_cancel_error, "PG_PROVIDER", NoVerdict("PG_PROVIDER", look_now=True)),
        (read_cancel_error, "SOMETHING_NEW", NoVerdict("unknown error type")),
    ],
)
def test_each_call_reads_the_types_of_its_own_table(read: Any, error_type: str, outcome: object) -> None:
    assert read(error_type, "왜") == outcome


@pytest.mark.parametrize("path", ["/payments/{paymentId}", "/payments/{paymentId}/transactions"])
def test_a_look_knows_every_error_that_says_the_payment_is_absent(openapi: Any, path: str) -> None:
    about_the_request = {"INVALID_REQUEST", "UNAUTHORIZED", "FORBIDDEN"}

    assert error_types(openapi, path, "get") - about_the_request == LOOK_ERRORS_ABSENT


@pytest.mark.parametrize("schema", ["Payment", "PaymentTransaction"])
def test_every_documented_status_of_a_payment_is_paid_failed_or_pending(openapi: Any, schema: str) -> None:
    statuses = set(openapi["components"]["schemas"][schema]["discriminator"]["mapping"])

    assert statuses == PAYMENT_PAID | PAYMENT_FAILED | PAYMENT_PENDING


SENT = charge_body(
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


def assert_documented(openapi: Any, schema: str, item: Mapping[str, object]) -> None:
    described = openapi["components"]["schemas"][schema]
    assert set(item) <= set(described["properties"])
    assert set(described.get("required", ())) <= set(item)


def test_what_we_send_has_only_documented_fields_and_all_required_ones(openapi: Any) -> None:
    body = json.loads(SENT)

    assert_documented(openapi, "BillingKeyPaymentInput", body)
    assert_documented(openapi, "CustomerInput", body["customer"])
    assert_documented(openapi, "PaymentAmountInput", body["amount"])


def test_what_we_book_has_only_documented_fields_and_all_required_ones(openapi: Any) -> None:
    body = json.loads(schedule_body(payment=SENT, time_to_pay=NOON))

    assert_documented(openapi, "CreatePaymentScheduleBody", body)
    assert_documented(openapi, "BillingKeyPaymentScheduleInput", body["payment"])


def test_what_we_ask_back_has_only_documented_fields_and_all_required_ones(openapi: Any) -> None:
    sent = cancel_body(
        store_id="store-1", amount_minor=1, current_cancellable_minor=2, reason="왜", requester="CUSTOMER"
    )

    assert_documented(openapi, "CancelPaymentBody", json.loads(sent))


def test_a_type_that_nobody_has_documented_is_no_verdict() -> None:
    assert read_charge_error("SOMETHING_NEW", "왜") == NoVerdict("unknown error type")


def test_what_an_outcome_leaves_out_is_nothing() -> None:
    assert Declined("51", "왜").transaction_id is None
    assert NoVerdict("silence").resend is False
    assert NoVerdict("silence").look_now is False
    assert NoVerdict("silence").retry_after_seconds is None
    assert Unanswered("silence").retry_after_seconds is None
    assert (Paid("pg-1", NOON).transaction_id, Paid("pg-1", NOON).given_back) == (None, False)


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
    assert (found.cancellations, found.disputed) == ((), False)


def test_a_decline_without_a_word_of_the_pg_has_portone_s_message_and_no_code() -> None:
    assert read_charge_error("PG_PROVIDER", "왜") == Declined(code="", message="왜")


def test_what_a_list_does_not_show_of_a_booking_or_a_refund_is_nothing() -> None:
    cancellation = Cancellation("c-1", "SUCCEEDED", 1)
    schedule = Schedule("s-1", "p-1", "SCHEDULED", 1, "KRW", "store-1", NOON, billing_key_matches=None)

    assert (cancellation.trigger, cancellation.cancelled_at, schedule.created_at) == ("", None, None)
