"""PortOne's JSON: what a look reads out of it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from billing_worker.billing.outcomes import (
    Absent,
    Payment,
    Unanswered,
)
from billing_worker.portone.wire import (
    read_payment,
    read_transactions,
)
from tests.peers import a_payment, error_body

PAID_AT = datetime(2026, 9, 1, 0, 0, 3, tzinfo=UTC)


def look_at(payment: object, status: int = 200) -> Payment | Absent | Unanswered:
    return read_payment(status, {}, json.dumps(payment).encode(), payment_id="rb1payment")


def a_transaction(**changes: object) -> dict[str, Any]:
    return a_payment(id="tx-1", paymentId="rb1payment", transactionId=..., **changes)


def test_a_look_reads_what_the_rules_compare() -> None:
    found = look_at(a_payment())

    assert found == Payment(
        status="PAID",
        transaction_id="tx-1",
        amount_minor=9900,
        currency="KRW",
        store_id="store-1",
        is_test=False,
        requested_at=datetime(2026, 9, 1, 0, 0, 0, 123456, tzinfo=UTC),
        changed_at=PAID_AT,
        pg_tx_id="kpn-1",
        paid_at=PAID_AT,
    )


@pytest.mark.parametrize(
    ("channel", "is_test"),
    [
        ({"type": "TEST"}, True),
        ({"type": "LIVE"}, False),
        ({"type": "SANDBOX"}, None),
        ({}, None),
        (None, None),
        (..., None),
    ],
)
def test_live_or_test_is_known_only_where_portone_says_it(channel: object, is_test: bool | None) -> None:
    found = look_at(a_payment(channel=channel))

    assert isinstance(found, Payment)
    assert found.is_test is is_test


def test_a_failed_payment_shows_the_pgs_code_and_message() -> None:
    failure = {"reason": "우리 말", "pgCode": "P51", "pgMessage": "한도초과"}

    found = look_at(a_payment(status="FAILED", paidAt=..., pgTxId=..., channel=..., failure=failure))
    without_pg = look_at(a_payment(status="FAILED", failure={"reason": "우리 말"}))

    assert isinstance(found, Payment)
    assert (found.status, found.failure_code, found.failure_message) == ("FAILED", "P51", "한도초과")
    assert isinstance(without_pg, Payment)
    assert without_pg.failure_message == "우리 말"


@pytest.mark.parametrize(
    ("status", "amount", "refunded_minor"),
    [
        ("PAID", {"total": 9900}, 0),
        ("PARTIAL_CANCELLED", {"total": 9900, "cancelled": 900}, 900),
        ("CANCELLED", {"total": 9900, "cancelled": 9900}, 9900),
        ("CANCELLED", {"total": 9900, "cancelled": None}, 9900),
    ],
)
def test_what_was_given_back_is_read(status: str, amount: dict[str, object], refunded_minor: int) -> None:
    found = look_at(a_payment(status=status, amount=amount))

    assert isinstance(found, Payment)
    assert found.refunded_minor == refunded_minor


def test_a_status_of_tomorrow_and_null_options_are_read() -> None:
    found = look_at(a_payment(status="HALF_PAID", paidAt=None, pgTxId=None, failure=None, billingKey=None))

    assert isinstance(found, Payment)
    assert found.status == "HALF_PAID"
    assert found.paid_at is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "rb1another"},
        {"id": ...},
        {"status": ...},
        {"status": None},
        {"transactionId": ...},
        {"storeId": ...},
        {"currency": ...},
        {"amount": ...},
        {"amount": {"total": "9900"}},
        {"amount": {"total": 99.5}},
        {"amount": {"total": True}},
        {"amount": {"total": -1}},
        {"amount": {"total": 2**63}},
        {"amount": {"total": 1, "cancelled": "1"}},
        {"requestedAt": ...},
        {"requestedAt": "2026-09-01"},
        {"statusChangedAt": "soon"},
        {"paidAt": "soon"},
    ],
)
def test_a_payment_without_what_we_need_is_no_answer(changes: dict[str, object]) -> None:
    assert isinstance(look_at(a_payment(**changes)), Unanswered)


def test_only_a_404_that_says_so_is_absent() -> None:
    says_so = {"type": "PAYMENT_NOT_FOUND"}

    assert look_at(says_so, 404) == Absent()
    assert look_at({"type": "STORE_NOT_FOUND"}, 404) == Unanswered("HTTP 404 STORE_NOT_FOUND")
    assert look_at({}, 404) == Unanswered("HTTP 404")
    for status in (200, 400, 500, 502):
        assert isinstance(look_at(says_so, status), Unanswered)


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 403, 429, 500, 502, 503])
def test_a_look_that_fails_is_no_answer(status: int) -> None:
    looked = read_payment(status, {"retry-after": "9"}, json.dumps(a_payment()).encode(), payment_id="rb1payment")

    assert looked == Unanswered(f"HTTP {status}", retry_after_seconds=9)


def test_transactions_come_oldest_first_with_their_own_ids() -> None:
    items = [
        a_transaction(status="PAID", requestedAt="2026-09-04T00:00:00Z") | {"id": "tx-2"},
        a_transaction(status="FAILED", requestedAt="2026-09-01T00:00:00Z") | {"id": "tx-1"},
    ]

    found = read_transactions(200, {}, json.dumps({"items": items}).encode(), payment_id="rb1payment")

    assert isinstance(found, tuple)
    assert [(one.transaction_id, one.status) for one in found] == [("tx-1", "FAILED"), ("tx-2", "PAID")]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"items": None},
        {"items": ["x"]},
        {"items": [a_transaction(), a_transaction(status=...)]},
        {"items": [a_transaction() | {"paymentId": "rb1another"}]},
        [],
    ],
)
def test_one_transaction_that_cannot_be_read_spoils_the_list(answer: object) -> None:
    found = read_transactions(200, {}, json.dumps(answer).encode(), payment_id="rb1payment")

    assert isinstance(found, Unanswered)


def test_transactions_of_an_absent_payment_are_absent() -> None:
    assert read_transactions(404, {}, error_body("PAYMENT_NOT_FOUND"), payment_id="rb1payment") == Absent()


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"id": "rb1another"}, "our id"),
        ({"status": ...}, "status"),
        ({"status": "x" * 257}, "status"),
        ({"status": "PA\x07ID"}, "status"),
        ({"transactionId": ""}, "transactionId"),
        ({"storeId": 5}, "storeId"),
        ({"currency": ...}, "currency"),
        ({"amount": {"total": 1.0}}, "total"),
        ({"amount": {"total": 1, "cancelled": -1}}, "cancelled"),
        ({"requestedAt": ...}, "requestedAt"),
        ({"statusChangedAt": 5}, "statusChangedAt"),
        ({"paidAt": "soon"}, "paidAt"),
        ({"pgTxId": "x" * 257}, "pgTxId"),
    ],
)
def test_a_person_reads_what_a_payment_lacked(changes: dict[str, object], missing: str) -> None:
    assert look_at(a_payment(**changes)) == Unanswered(f"payment without {missing}")


def test_a_person_reads_what_a_list_of_transactions_lacked() -> None:
    def listed(answer: object) -> object:
        return read_transactions(200, {}, json.dumps(answer).encode(), payment_id="rb1payment")

    assert listed({}) == Unanswered("transactions without items")
    assert listed({"items": [a_transaction(status=...)]}) == Unanswered("transaction without status")
    assert listed({"items": [a_transaction() | {"paymentId": "rb1another"}]}) == Unanswered(
        "transaction without our paymentId"
    )
    assert listed({"items": []}) == ()


@pytest.mark.parametrize("total", [0, 1, 2**63 - 1])
def test_an_amount_goes_from_nothing_to_what_a_bigint_holds(total: int) -> None:
    found = look_at(a_payment(amount={"total": total}, status="CANCELLED"))

    assert isinstance(found, Payment)
    assert (found.amount_minor, found.refunded_minor) == (total, total)


def test_a_list_that_cannot_be_had_says_when_to_ask_again() -> None:
    found = read_transactions(503, {"retry-after": "9"}, b"{}", payment_id="rb1payment")

    assert found == Unanswered("HTTP 503", retry_after_seconds=9)


def test_a_failure_shows_no_secret_that_the_pg_repeats() -> None:
    # given
    key, secret = "billing-key-0198c0de", "api-secret-of-the-console"
    failure = {"pgCode": key, "pgMessage": f"no {key}, {secret}"}
    payment = a_payment(status="FAILED", billingKey=key, failure=failure)
    reason_only = a_payment(status="FAILED", billingKey=key, failure={"reason": f"no {key}, {secret}"})

    # when
    found, other = (
        read_payment(200, {}, json.dumps(each).encode(), payment_id="rb1payment", api_secret=secret)
        for each in (payment, reason_only)
    )
    listed = read_transactions(
        200,
        {},
        json.dumps({"items": [a_transaction(status="FAILED", billingKey=key, failure=failure)]}).encode(),
        payment_id="rb1payment",
        api_secret=secret,
    )

    # then
    assert isinstance(found, Payment)
    assert isinstance(other, Payment)
    assert isinstance(listed, tuple)
    assert (found.failure_code, found.failure_message) == ("[billing key]", "no [billing key], [API secret]")
    assert (other.failure_code, other.failure_message) == ("", "no [billing key], [API secret]")
    assert (listed[0].failure_code, listed[0].failure_message) == (found.failure_code, found.failure_message)


def test_nothing_is_cut_out_of_a_failure_where_no_secret_is_known() -> None:
    failure = {"pgCode": "?", "pgMessage": "why?"}

    found = look_at(a_payment(status="FAILED", billingKey=None, failure=failure))
    listed = read_transactions(
        200,
        {},
        json.dumps({"items": [a_transaction(status="FAILED", billingKey=None, failure=failure)]}).encode(),
        payment_id="rb1payment",
    )

    assert isinstance(found, Payment)
    assert (found.failure_code, found.failure_message) == ("?", "why?")
    assert isinstance(listed, tuple)
    assert listed[0].failure_message == "why?"
