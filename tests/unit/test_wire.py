"""PortOne's JSON: what is sent to charge, and what each answer to it means."""

import json
from datetime import UTC, datetime

import pytest

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    Declined,
    NoVerdict,
    Paid,
    Reading,
    RefusalScope,
    Refused,
)
from billing_worker.portone.fields import MESSAGE_CHARACTERS_MAX
from billing_worker.portone.wire import (
    RETRY_AFTER_SECONDS_MAX,
    charge_body,
    read_charge,
    read_http_date,
    retry_after_seconds,
)
from tests.peers import error_body

PAID_BODY = b'{"payment":{"pgTxId":"kpn-1","paidAt":"2026-09-01T00:00:03Z"}}'
PAID_AT = datetime(2026, 9, 1, 0, 0, 3, tzinfo=UTC)
SCOPES = {
    Reading.REFUSED_CARD: RefusalScope.CARD,
    Reading.REFUSED_CYCLE: RefusalScope.CYCLE,
    Reading.REFUSED_CHANNEL: RefusalScope.CHANNEL,
}


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
    body = error_body(error_type, message="왜", pgCode="P1", pgMessage="한도초과")

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
    assert read_charge(502, {}, error_body("PG_PROVIDER", **fields)) == Declined(code="", message="")


def test_a_code_that_comes_as_a_number_is_taken_as_it_is_written() -> None:
    assert read_charge(502, {}, error_body("PG_PROVIDER", pgCode=51)) == Declined(code="51", message="")


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
    sent = error_body("unused", billingKey=key)

    refused = read_charge(404, {}, error_body("BILLING_KEY_NOT_FOUND", message=f"no {key} here"), sent=sent)
    declined = read_charge(502, {}, error_body("PG_PROVIDER", pgCode=key, pgMessage=f"{key}{key}"), sent=sent)
    unknown = read_charge(400, {}, error_body(key, message=key), sent=sent)

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


def test_an_api_secret_that_portone_repeats_is_cut_out_even_where_a_text_is_cut_short() -> None:
    secret, sent = "api-secret-of-the-console", error_body("unused", billingKey="billing-key-0198c0de")
    long = "x" * (MESSAGE_CHARACTERS_MAX - 5)

    short = read_charge(401, {}, error_body("UNAUTHORIZED", message=f"no {secret}"), sent=sent, api_secret=secret)
    cut = read_charge(502, {}, error_body("PG_PROVIDER", pgMessage=f"{long}{secret}"), sent=sent, api_secret=secret)
    key_cut = read_charge(502, {}, error_body("PG_PROVIDER", message=f"{long}billing-key-0198c0de"), sent=sent)

    assert isinstance(short, Refused)
    assert short.message == "no [API secret]"
    assert cut == Declined(code="", message=f"{long}[API ")
    assert key_cut == Declined(code="", message=f"{long}[bill")


@pytest.mark.parametrize("sent", [b"", b"{}", b'{"billingKey":""}', b'{"billingKey":5}', b"no JSON"])
def test_a_request_without_a_billing_key_has_none_to_cut_out(sent: bytes) -> None:
    outcome = read_charge(502, {}, error_body("PG_PROVIDER", pgMessage="5 won short"), sent=sent)

    assert outcome == Declined(code="", message="5 won short")


@pytest.mark.parametrize("status", [199, 300])
def test_only_a_2xx_can_say_paid(status: int) -> None:
    assert isinstance(read_charge(status, {}, PAID_BODY), NoVerdict)


@pytest.mark.parametrize(
    ("payment", "missing"),
    [
        ({"paidAt": "2026-09-01T00:00:03Z"}, "pgTxId"),
        ({"pgTxId": "x" * 257, "paidAt": "2026-09-01T00:00:03Z"}, "pgTxId"),
        ({"pgTxId": "x" * 256}, "paidAt"),
        ({"pgTxId": "x", "paidAt": 5}, "paidAt"),
        ({"pgTxId": "x", "paidAt": "2026-09-01"}, "paidAt"),
        ({"pgTxId": "x", "paidAt": "yesterday"}, "paidAt"),
    ],
)
def test_a_person_reads_what_a_2xx_lacked(payment: dict[str, object], missing: str) -> None:
    outcome = read_charge(201, {}, json.dumps({"payment": payment}).encode())

    assert outcome == NoVerdict(reason=f"HTTP 201 without {missing}", look_now=True)


def test_only_what_looks_like_a_type_is_repeated() -> None:
    def reason(error_type: object) -> str:
        outcome = read_charge(400, {}, error_body("unused", type=error_type) if error_type else b"{}")
        assert isinstance(outcome, NoVerdict)
        return outcome.reason

    assert reason("NEW_TYPE_2") == "HTTP 400 NEW_TYPE_2"
    assert reason("A" * 64) == f"HTTP 400 {'A' * 64}"
    assert reason("A" * 65) == "HTTP 400"
    assert reason("홍길동") == "HTTP 400"
    assert reason("new_type") == "HTTP 400"
    assert reason("2FAST") == "HTTP 400"
    assert reason(None) == "HTTP 400"


@pytest.mark.parametrize(
    ("status", "seconds"), [(429, 7), (503, 7), (408, None), (425, None), (500, None), (502, None)]
)
def test_a_pause_is_read_where_portone_says_that_it_is_busy(status: int, seconds: float | None) -> None:
    outcome = read_charge(status, {"retry-after": "7"}, b"")

    assert outcome == NoVerdict(reason=f"HTTP {status}", resend=True, retry_after_seconds=seconds)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1000000000", None), ("3600", 3600), ("3601", 3600), ("3599", 3599), ("0000000009", None)]
)
def test_no_pause_is_longer_than_an_hour(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}) == seconds


def test_a_date_to_wait_for_is_bounded_like_a_number() -> None:
    headers = {"retry-after": "Tue, 01 Sep 2026 02:00:00 GMT", "date": "Tue, 01 Sep 2026 00:00:00 GMT"}

    assert retry_after_seconds(headers) == 3600
    assert retry_after_seconds(headers | {"date": "no date"}) is None


def test_a_code_that_is_no_code_is_none() -> None:
    assert read_charge(502, {}, error_body("PG_PROVIDER", pgCode=True)) == Declined(code="", message="")
    assert read_charge(502, {}, error_body("PG_PROVIDER", pgCode=5.5)) == Declined(code="", message="")


def test_a_message_is_kept_to_its_bound_and_stands_in_for_the_pg_s() -> None:
    body = error_body("PG_PROVIDER", message="m" * (MESSAGE_CHARACTERS_MAX + 1))

    assert read_charge(502, {}, body) == Declined(code="", message="m" * 1000)


def test_an_http_date_is_an_instant_or_none() -> None:
    assert read_http_date("Tue, 01 Sep 2026 09:00:00 +0900") == datetime(2026, 9, 1, tzinfo=UTC)
    assert read_http_date(None) is None
    assert read_http_date("Tue, 99 Sep 2026 09:00:00 GMT") is None
    assert read_http_date("") is None


def test_a_wish_that_is_no_date_is_none_however_good_portone_s_own_clock_is() -> None:
    date = "Tue, 01 Sep 2026 00:00:00 GMT"

    assert retry_after_seconds({"retry-after": "soon", "date": date}) is None
    assert retry_after_seconds({"date": date}) is None


def test_no_date_that_a_calendar_has_is_too_late_to_be_read() -> None:
    assert read_http_date("Fri, 31 Dec 9999 23:59:59 -2359") is None


def test_instants_are_read_as_utc_whatever_zone_they_are_written_in() -> None:
    paid = read_charge(200, {}, b'{"payment":{"pgTxId":"kpn-1","paidAt":"2026-09-01T09:00:03+09:00"}}')
    date = read_http_date("Tue, 01 Sep 2026 09:00:00 +0900")

    assert isinstance(paid, Paid)
    assert paid.paid_at.tzinfo is UTC
    assert date is not None
    assert date.tzinfo is UTC


def test_nothing_is_cut_out_of_a_message_where_no_secret_is_known() -> None:
    message = error_body("PG_PROVIDER", pgMessage="why? because?")

    assert read_charge(502, {}, message) == Declined(code="", message="why? because?")
    assert read_charge(502, {}, message, sent=b'{"billingKey":5}') == Declined(code="", message="why? because?")
