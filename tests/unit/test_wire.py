"""PortOne's JSON: what is sent, and what each answer means."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    Absent,
    Declined,
    NoVerdict,
    Paid,
    Payment,
    Reading,
    RefusalScope,
    Refused,
    Unanswered,
)
from billing_worker.portone.wire import (
    MESSAGE_CHARACTERS_MAX,
    RETRY_AFTER_SECONDS_MAX,
    charge_body,
    read_charge,
    read_payment,
    read_transactions,
)

PAID_BODY = b'{"payment":{"pgTxId":"kpn-1","paidAt":"2026-09-01T00:00:03Z"}}'
PAID_AT = datetime(2026, 9, 1, 0, 0, 3, tzinfo=UTC)
SCOPES = {
    Reading.REFUSED_CARD: RefusalScope.CARD,
    Reading.REFUSED_CYCLE: RefusalScope.CYCLE,
    Reading.REFUSED_CHANNEL: RefusalScope.CHANNEL,
}


def error(error_type: str, **fields: object) -> bytes:
    return json.dumps({"type": error_type, **fields}).encode()


def a_payment(**changes: object) -> dict[str, Any]:
    payment = {
        "status": "PAID",
        "id": "rb1payment",
        "transactionId": "tx-1",
        "merchantId": "merchant-1",
        "storeId": "store-1",
        "channel": {"type": "LIVE", "pgProvider": "KPN", "pgMerchantId": "m"},
        "version": "V2",
        "billingKey": "billing-key-1",
        "requestedAt": "2026-09-01T09:00:00.123456789+09:00",
        "statusChangedAt": "2026-09-01T00:00:03Z",
        "amount": {"total": 9900, "taxFree": 0, "discount": 0, "paid": 9900, "cancelled": 0, "cancelledTaxFree": 0},
        "currency": "KRW",
        "paidAt": "2026-09-01T00:00:03Z",
        "pgTxId": "kpn-1",
        "somethingNew": {"of": ["tomorrow"]},
    }
    return {name: value for name, value in (payment | changes).items() if value is not ...}


def look_at(payment: object, status: int = 200) -> Payment | Absent | Unanswered:
    return read_payment(status, {}, json.dumps(payment).encode(), payment_id="rb1payment")


def a_transaction(**changes: object) -> dict[str, Any]:
    return a_payment(id="tx-1", paymentId="rb1payment", transactionId=..., **changes)


def test_a_charge_is_always_the_same_bytes() -> None:
    sent = charge_body(
        store_id="store-1",
        billing_key="billing-key-1",
        channel_key="channel-key-1",
        order_name="프로 요금제",
        customer_id="customer-1",
        customer_name="홍길동",
        phone_number="01012345678",
        email="hong@example.com",
        subscription_key="sub/1",
        cycle_number=7,
        amount=Money(9900, "KRW"),
    )

    assert sent.decode() == (
        '{"storeId":"store-1","billingKey":"billing-key-1","channelKey":"channel-key-1","orderName":"프로 요금제",'
        '"customer":{"id":"customer-1","name":{"full":"홍길동"},"phoneNumber":"01012345678",'
        '"email":"hong@example.com"},"customData":"{\\"subscription\\":\\"sub/1\\",\\"cycle\\":7}",'
        '"amount":{"total":9900},"currency":"KRW","productCount":1}'
    )


def test_what_is_not_known_of_a_customer_is_left_out() -> None:
    sent = charge_body(
        store_id="store-1",
        billing_key="billing-key-1",
        channel_key=None,
        order_name="Pro",
        customer_id="customer-1",
        customer_name="홍길동",
        phone_number=None,
        email="",
        subscription_key="sub",
        cycle_number=1,
        amount=Money(1, "KRW"),
    )

    assert json.loads(sent)["customer"] == {"id": "customer-1", "name": {"full": "홍길동"}}
    assert "channelKey" not in json.loads(sent)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_a_payment_in_a_2xx_is_paid(status: int) -> None:
    assert read_charge(status, {}, PAID_BODY) == Paid(pg_tx_id="kpn-1", paid_at=PAID_AT)


def test_new_fields_beside_a_payment_change_nothing() -> None:
    body = b'{"payment":{"pgTxId":"kpn-1","paidAt":"2026-09-01t09:00:03.000+09:00","new":1},"type":null,"more":[]}'

    assert read_charge(200, {}, body) == Paid(pg_tx_id="kpn-1", paid_at=PAID_AT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"null",
        b"[]",
        b"{}",
        b'{"payment":null}',
        b'{"payment":{"pgTxId":"kpn-1"}}',
        b'{"payment":{"paidAt":"2026-09-01T00:00:03Z"}}',
        b'{"payment":{"pgTxId":"","paidAt":"2026-09-01T00:00:03Z"}}',
        b'{"payment":{"pgTxId":"kpn\\u0000","paidAt":"2026-09-01T00:00:03Z"}}',
        b'{"payment":{"pgTxId":"kpn-1","paidAt":"2026-09-01T00:00:03"}}',
        b'{"payment":{"pgTxId":"kpn-1","paidAt":"0001-01-01T00:00:00+23:59"}}',
        b'{"payment":{"pgTxId":"kpn-1","paidAt":1788220803}}',
        b'{"payment":{"status":"PAID"}}',
        b'{"type":"PG_PROVIDER","pgCode":"1","pgMessage":"no"}',
        PAID_BODY[:-1],
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"<html>OK</html>",
    ],
)
def test_a_2xx_that_cannot_be_read_asks_for_a_look_and_is_never_sent_again_at_once(body: bytes) -> None:
    outcome = read_charge(200, {}, body)

    assert isinstance(outcome, NoVerdict)
    assert outcome.look_now
    assert not outcome.resend


@pytest.mark.parametrize("error_type", CHARGE_ERRORS)
@pytest.mark.parametrize("status", [400, 409, 429, 500, 502, 503])
def test_a_known_type_is_read_alike_under_every_status(error_type: str, status: int) -> None:
    body = error(error_type, message="왜", pgCode="P1", pgMessage="한도초과")

    outcome = read_charge(status, {"retry-after": "7"}, body)

    match CHARGE_ERRORS[error_type]:
        case Reading.DECLINED:
            assert outcome == Declined(code="P1", message="한도초과")
        case Reading.ASK:
            assert outcome == NoVerdict(reason=error_type, look_now=True)
        case Reading.RESEND:
            assert outcome == NoVerdict(reason=error_type, resend=True, retry_after_seconds=7)
        case reading:
            assert outcome == Refused(error_type=error_type, message="왜", scope=SCOPES[reading])


@pytest.mark.parametrize("fields", [{}, {"message": None, "pgCode": None, "pgMessage": None}, {"pgMessage": ["x"]}])
def test_a_decline_without_code_or_message_is_still_a_decline(fields: dict[str, object]) -> None:
    assert read_charge(502, {}, error("PG_PROVIDER", **fields)) == Declined(code="", message="")


def test_a_code_that_comes_as_a_number_is_taken_as_it_is_written() -> None:
    assert read_charge(502, {}, error("PG_PROVIDER", pgCode=51)) == Declined(code="51", message="")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"", b"{}", b'{"type":"NEW_TYPE"}', b'{"type":5}'])
def test_a_passing_failure_may_be_sent_again(status: int, body: bytes) -> None:
    outcome = read_charge(status, {}, body)

    assert isinstance(outcome, NoVerdict)
    assert outcome.resend
    assert not outcome.look_now


@pytest.mark.parametrize("status", [100, 101, 301, 302, 307, 400, 401, 403, 404, 409, 413, 451])
@pytest.mark.parametrize("body", [b"<html>no</html>", b'{"type":"NEW_TYPE"}', PAID_BODY])
def test_any_other_answer_of_no_known_type_is_no_verdict_and_not_sent_again_at_once(status: int, body: bytes) -> None:
    outcome = read_charge(status, {}, body)

    assert isinstance(outcome, NoVerdict)
    assert not outcome.resend


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "999999999"}, RETRY_AFTER_SECONDS_MAX),
        ({"retry-after": "Tue, 01 Sep 2026 00:01:00 GMT", "date": "Tue, 01 Sep 2026 00:00:00 GMT"}, 60),
        ({"retry-after": "Tue, 01 Sep 2026 00:00:00 GMT", "date": "Tue, 01 Sep 2026 00:01:00 GMT"}, 0),
        ({"retry-after": "Tue, 01 Sep 2026 00:01:00 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_portones_wish_is_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    for status in (429, 503):
        outcome = read_charge(status, headers, b"")

        assert isinstance(outcome, NoVerdict)
        assert outcome.retry_after_seconds == seconds


def test_a_billing_key_that_portone_repeats_is_cut_out() -> None:
    key = "billing-key-0198c0de"
    sent = error("unused", billingKey=key)

    refused = read_charge(404, {}, error("BILLING_KEY_NOT_FOUND", message=f"no {key} here"), sent=sent)
    declined = read_charge(502, {}, error("PG_PROVIDER", pgCode=key, pgMessage=f"{key}{key}"), sent=sent)
    unknown = read_charge(400, {}, error(key, message=key), sent=sent)

    assert key not in f"{refused}{declined}{unknown}"
    assert isinstance(refused, Refused)
    assert refused.message == "no [billing key] here"


def test_a_text_that_postgres_or_a_terminal_would_choke_on_is_made_harmless() -> None:
    body = b'{"type":"PG_PROVIDER","pgCode":"a\\u0000b","pgMessage":"\\ud800\\u001b[31m' + b"x" * 5000 + b'"}'

    outcome = read_charge(502, {}, body)

    assert isinstance(outcome, Declined)
    assert outcome.code == "a b"
    assert outcome.message.startswith("  [31mxxx")
    assert len(outcome.message) == MESSAGE_CHARACTERS_MAX


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
    assert read_transactions(404, {}, error("PAYMENT_NOT_FOUND"), payment_id="rb1payment") == Absent()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*CHARGE_ERRORS, "PAID"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("type", "message", "pgCode", "pgMessage", "payment", "pgTxId", "paidAt", "items", "id", *a_payment())
ANSWERS = JSON | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
SPOILT_PAYMENTS = st.dictionaries(st.sampled_from(sorted(a_payment())), JSON, max_size=3).map(
    lambda changes: a_payment(**changes)
)
BODIES = st.binary(max_size=200) | (ANSWERS | SPOILT_PAYMENTS).map(lambda answer: json.dumps(answer).encode())
STATUSES = st.integers(100, 999) | st.sampled_from([200, 404, 409, 429, 500, 502, 503])
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=40))


def is_storable(text: str) -> bool:
    return "\x00" not in text and text.encode() is not None


@given(status=STATUSES, headers=HEADERS, body=BODIES, sent=BODIES)
@example(
    status=200, headers={}, body=b'{"payment":{"pgTxId":"\\ud800","paidAt":"9999-12-31T23:59:59-23:59"}}', sent=b""
)
def test_every_answer_to_a_charge_is_an_outcome(status: int, headers: dict[str, str], body: bytes, sent: bytes) -> None:
    outcome = read_charge(status, headers, body, sent=sent)

    match outcome:
        case Paid():
            assert 200 <= status < 300
            assert is_storable(outcome.pg_tx_id)
        case Declined():
            assert is_storable(outcome.code + outcome.message)
        case Refused():
            assert is_storable(outcome.message)
        case NoVerdict():
            assert is_storable(outcome.reason)
            assert not (outcome.resend and outcome.look_now)


@given(status=STATUSES, headers=HEADERS, body=BODIES)
def test_every_answer_to_a_look_is_a_look(status: int, headers: dict[str, str], body: bytes) -> None:
    looked = read_payment(status, headers, body, payment_id="rb1payment")
    listed = read_transactions(status, headers, body, payment_id="rb1payment")

    assert isinstance(looked, Payment | Absent | Unanswered)
    assert isinstance(listed, tuple | Absent | Unanswered)
    if isinstance(looked, Payment):
        assert is_storable(looked.transaction_id + looked.failure_code + looked.failure_message)
