"""PortOne's JSON of bookings: what is sent, and what each answer about a schedule means."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from billing_worker.billing.outcomes import (
    BOOKING_ERRORS,
    REVOCATION_ERRORS,
    REVOCATIONS,
    Absent,
    Booked,
    NoVerdict,
    Reading,
    RefusalScope,
    Refused,
    Revocation,
    Schedule,
    Unanswered,
)
from billing_worker.portone.fields import billing_key_of
from billing_worker.portone.wire_lists import Listed
from billing_worker.portone.wire_schedules import (
    read_booking,
    read_revocation,
    read_schedule,
    read_schedules,
    schedule_body,
)
from tests.peers import error_body

KEY, SECRET = "billing-key-0198c0de", "api-secret-of-the-console"
CHARGE = json.dumps({"billingKey": KEY, "orderName": "프로 %d"}, ensure_ascii=False, separators=(",", ":")).encode()
TIME = datetime(2026, 10, 1, 1, 0, tzinfo=UTC)
SENT = schedule_body(payment=CHARGE, time_to_pay=TIME)
BOOKED_BODY = b'{"schedule":{"id":"schedule-1"}}'
SCOPES = {
    Reading.REFUSED_CARD: RefusalScope.CARD,
    Reading.REFUSED_CYCLE: RefusalScope.CYCLE,
    Reading.REFUSED_CHANNEL: RefusalScope.CHANNEL,
}
REVOKED_BODY = b'{"revokedScheduleIds":["schedule-1"],"revokedAt":"2026-09-01T00:00:00Z"}'


def shown(**changes: object) -> dict[str, Any]:
    schedule = {
        "status": "SCHEDULED",
        "id": "schedule-1",
        "merchantId": "merchant-1",
        "storeId": "store-1",
        "paymentId": "rb1payment",
        "billingKey": KEY,
        "orderName": "프로",
        "customer": {"name": "홍길동"},
        "totalAmount": 9900,
        "currency": "KRW",
        "createdAt": "2026-09-01T09:00:00+09:00",
        "timeToPay": "2026-10-01T01:00:00Z",
        "somethingNew": [],
    }
    return {name: value for name, value in (schedule | changes).items() if value is not ...}


READ = Schedule(
    schedule_id="schedule-1",
    payment_id="rb1payment",
    status="SCHEDULED",
    amount_minor=9900,
    currency="KRW",
    store_id="store-1",
    time_to_pay=TIME,
    billing_key_matches=True,
    created_at=datetime(2026, 9, 1, tzinfo=UTC),
)


def look_at(schedule: object, status: int = 200, sent: bytes = SENT) -> object:
    return read_schedule(
        status, {"retry-after": "9"}, json.dumps(schedule).encode(), schedule_id="schedule-1", sent=sent
    )


# --- the request ----------------------------------------------------------------------------------------------------


def test_a_booking_is_the_charge_s_bytes_and_its_time_with_the_offset() -> None:
    assert SENT == b'{"payment":' + CHARGE + b',"timeToPay":"2026-10-01T01:00:00+00:00"}'
    assert json.loads(SENT)["payment"] == json.loads(CHARGE)


def test_one_instant_is_always_the_same_bytes() -> None:
    seoul = timezone(timedelta(hours=9))

    assert schedule_body(payment=CHARGE, time_to_pay=TIME.astimezone(seoul)) == SENT
    assert b"01:00:00.000001+00:00" in schedule_body(payment=b"{}", time_to_pay=TIME + timedelta(microseconds=1))


def test_a_time_of_no_known_zone_is_not_booked() -> None:
    with pytest.raises(AssertionError):
        schedule_body(payment=CHARGE, time_to_pay=datetime(2026, 10, 1))  # noqa: DTZ001


def test_the_billing_key_is_found_in_either_request() -> None:
    assert billing_key_of(CHARGE) == billing_key_of(SENT) == KEY
    for without in (b"", b"{}", b"no JSON", b'{"billingKey":5}', b'{"payment":{"billingKey":null}}', b'{"payment":5}'):
        assert billing_key_of(without) == ""


# --- the answer to a booking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 299])
def test_a_schedule_in_a_2xx_is_booked(status: int) -> None:
    assert read_booking(status, {}, BOOKED_BODY) == Booked("schedule-1")


@pytest.mark.parametrize("status", [199, 300])
def test_only_a_2xx_can_say_booked(status: int) -> None:
    assert isinstance(read_booking(status, {}, BOOKED_BODY), NoVerdict)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"schedule":null}',
        b'{"schedule":{}}',
        b'{"schedule":{"id":""}}',
        b'{"schedule":{"id":5}}',
        b'{"id":"schedule-1"}',
        BOOKED_BODY[:-1],
        b'{"type":"INVALID_REQUEST"}',
    ],
)
def test_a_2xx_without_a_name_asks_for_a_look_and_is_never_sent_again_at_once(body: bytes) -> None:
    assert read_booking(200, {}, body) == NoVerdict("HTTP 200 without a schedule's id", look_now=True)


@pytest.mark.parametrize("error_type", BOOKING_ERRORS)
@pytest.mark.parametrize("status", [400, 409, 429, 500, 502, 503])
def test_a_known_type_is_read_alike_under_every_status(error_type: str, status: int) -> None:
    outcome = read_booking(status, {"retry-after": "7"}, error_body(error_type, message="왜"))

    match BOOKING_ERRORS[error_type]:
        case Reading.ASK:
            assert outcome == NoVerdict(error_type, look_now=True)
        case Reading.RESEND:
            assert outcome == NoVerdict(error_type, resend=True, retry_after_seconds=7)
        case reading:
            assert outcome == Refused(error_type, "왜", SCOPES[reading])


@pytest.mark.parametrize(
    ("status", "error_type", "outcome"),
    [
        (502, "PG_PROVIDER", NoVerdict("HTTP 502 PG_PROVIDER", resend=True)),
        (409, "ALREADY_PAID", NoVerdict("HTTP 409 ALREADY_PAID")),
        (404, "NEW", NoVerdict("HTTP 404 NEW")),
        (503, "NEW", NoVerdict("HTTP 503 NEW", resend=True, retry_after_seconds=7)),
        (429, "", NoVerdict("HTTP 429", resend=True, retry_after_seconds=7)),
        (302, "", NoVerdict("HTTP 302")),
    ],
)
def test_a_type_that_a_booking_does_not_have_is_no_verdict(status: int, error_type: str, outcome: NoVerdict) -> None:
    assert read_booking(status, {"retry-after": "7"}, error_body(error_type)) == outcome


def test_a_secret_that_portone_repeats_is_cut_out() -> None:
    body = error_body("BILLING_KEY_NOT_FOUND", message=f"no {KEY} for {SECRET}")

    outcome = read_booking(404, {}, body, sent=SENT, api_secret=SECRET)

    assert outcome == Refused("BILLING_KEY_NOT_FOUND", "no [billing key] for [API secret]", RefusalScope.CARD)


# --- a look at one schedule -----------------------------------------------------------------------------------------


def test_a_look_reads_what_the_rules_compare() -> None:
    assert look_at(shown()) == READ
    assert KEY not in repr(look_at(shown()))


@pytest.mark.parametrize("status", ["STARTED", "SUCCEEDED", "FAILED", "REVOKED", "PENDING", "HALF_PAID"])
def test_every_status_is_kept_as_it_is(status: str) -> None:
    found = look_at(shown(status=status))

    assert isinstance(found, Schedule)
    assert found.status == status


@pytest.mark.parametrize(
    ("key", "sent", "matches"),
    [
        (KEY, SENT, True),
        (KEY, CHARGE, True),
        ("billing-key-other", SENT, False),
        (5, SENT, False),
        (..., SENT, None),
        (None, SENT, None),
        ("", SENT, None),
        (KEY, b"", None),
    ],
)
def test_the_billing_key_is_compared_and_not_kept(key: object, sent: bytes, matches: bool | None) -> None:
    found = look_at(shown(billingKey=key), sent=sent)

    assert isinstance(found, Schedule)
    assert found.billing_key_matches is matches


@pytest.mark.parametrize("created", [..., None, ""])
def test_a_schedule_need_not_say_when_it_was_made(created: object) -> None:
    found = look_at(shown(createdAt=created))

    assert isinstance(found, Schedule)
    assert found.created_at is None


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"id": ...}, "our id"),
        ({"id": "schedule-2"}, "our id"),
        ({"paymentId": ...}, "paymentId"),
        ({"status": 5}, "status"),
        ({"totalAmount": "9900"}, "totalAmount"),
        ({"currency": ""}, "currency"),
        ({"storeId": ...}, "storeId"),
        ({"timeToPay": "2026-10-01 01:00:00"}, "timeToPay"),
        ({"createdAt": "soon"}, "createdAt"),
    ],
)
def test_a_person_reads_what_a_schedule_lacked(changes: dict[str, object], missing: str) -> None:
    assert look_at(shown(**changes)) == Unanswered(f"schedule without {missing}")


def test_only_a_404_that_says_so_is_absent() -> None:
    says_so = {"type": "PAYMENT_SCHEDULE_NOT_FOUND"}

    assert look_at(says_so, 404) == Absent()
    assert look_at({"type": "PAYMENT_NOT_FOUND"}, 404) == Unanswered("HTTP 404 PAYMENT_NOT_FOUND", 9)
    for status in (400, 500, 502):
        assert look_at(says_so, status) == Unanswered(f"HTTP {status} PAYMENT_SCHEDULE_NOT_FOUND", 9)
    assert look_at(says_so) == Unanswered("schedule without our id")


@pytest.mark.parametrize("status", [201, 204, 302, 401, 429, 503])
def test_a_look_that_fails_is_no_answer(status: int) -> None:
    assert look_at(shown(), status) == Unanswered(f"HTTP {status}", retry_after_seconds=9)


# --- the list -------------------------------------------------------------------------------------------------------


def listed(answer: object, status: int = 200, **given: str) -> object:
    return read_schedules(status, {"retry-after": "9"}, json.dumps(answer).encode(), **given)


def test_one_schedule_that_cannot_be_read_is_named_and_spoils_no_other() -> None:
    # given
    items = [shown(), shown(id="schedule-2", status=...), "no object", shown(id=...)]

    # when
    found = listed({"items": items, "page": {}}, billing_key=KEY)

    # then
    assert found == Listed(
        (READ,),
        ("schedule schedule-2 without status", "schedule of no name without id", "schedule of no name without id"),
    )
    assert isinstance(found, Listed)
    assert (found.count, found.cursor) == (4, None)


def test_without_a_billing_key_a_list_compares_none() -> None:
    found = listed({"items": [shown()]})

    assert isinstance(found, Listed)
    assert found.items[0].billing_key_matches is None


def test_an_empty_list_is_empty_and_a_failed_one_is_no_answer() -> None:
    assert listed({"items": []}) == Listed(())
    assert listed({}) == Unanswered("schedules without items")
    assert listed({"items": {}}) == Unanswered("schedules without items")
    assert listed({"items": [shown()]}, 206) == Unanswered("HTTP 206", retry_after_seconds=9)
    assert listed({"type": "FORBIDDEN"}, 403) == Unanswered("HTTP 403 FORBIDDEN", retry_after_seconds=9)


# --- taking one back ------------------------------------------------------------------------------------------------


def revoked(body: bytes, status: int = 200, **headers: str) -> object:
    return read_revocation(status, headers, body, schedule_id="schedule-1", api_secret=SECRET)


@pytest.mark.parametrize("status", [200, 202, 299])
def test_what_portone_names_as_revoked_is_revoked(status: int) -> None:
    assert revoked(REVOKED_BODY, status) is Revocation.DONE


@pytest.mark.parametrize("status", [199, 300, 302])
def test_only_a_2xx_can_say_revoked(status: int) -> None:
    assert revoked(REVOKED_BODY, status) == NoVerdict(f"HTTP {status}")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"revokedScheduleIds":[]}', b'{"revokedScheduleIds":["x"]}', b'{"revokedScheduleIds":"schedule-1"}'],
)
def test_a_2xx_without_our_schedule_asks_for_a_look(body: bytes) -> None:
    assert revoked(body) == NoVerdict("HTTP 200 without our schedule", look_now=True)


@pytest.mark.parametrize(("error_type", "outcome"), REVOCATIONS.items())
@pytest.mark.parametrize("status", [404, 409, 500])
def test_what_is_no_longer_there_to_be_revoked_says_why(error_type: str, outcome: Revocation, status: int) -> None:
    assert revoked(error_body(error_type), status) is outcome


def test_a_refused_revocation_tells_no_secret() -> None:
    refused = revoked(error_body("UNAUTHORIZED", message=f"who is {SECRET}?"), 401)

    assert refused == Refused("UNAUTHORIZED", "who is [API secret]?", RefusalScope.CHANNEL)


@pytest.mark.parametrize(
    "error_type", [name for name in REVOCATION_ERRORS if name != "IDEMPOTENCY_OUTSTANDING_REQUEST"]
)
def test_every_other_type_is_a_refusal(error_type: str) -> None:
    assert isinstance(revoked(error_body(error_type), 409), Refused)


def test_a_revocation_in_flight_or_of_no_known_type_is_no_verdict() -> None:
    in_flight = error_body("IDEMPOTENCY_OUTSTANDING_REQUEST")
    wished = {"retry-after": "7"}

    assert revoked(in_flight, 409, **wished) == NoVerdict("IDEMPOTENCY_OUTSTANDING_REQUEST", True, 7)
    assert revoked(error_body("NEW"), 503, **wished) == NoVerdict("HTTP 503 NEW", True, 7)
    assert revoked(error_body("NEW"), 400) == NoVerdict("HTTP 400 NEW")
