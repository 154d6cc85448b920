"""PortOne's JSON of refunds: what is sent, and what each answer means."""

import json
from datetime import UTC, datetime

import pytest

from billing_worker.billing.outcomes import (
    CANCEL_ERRORS,
    Cancellation,
    CancelOutcome,
    NoVerdict,
    Reading,
    RefusalScope,
    Refused,
)
from billing_worker.portone.wire_refunds import cancel_body, read_cancel
from tests.peers import error_body

SECRET = "api-secret-of-the-console"


def a_cancellation(**changes: object) -> bytes:
    cancellation = {
        "status": "SUCCEEDED",
        "id": "c-1",
        "totalAmount": 900,
        "trigger": "API",
        "cancelledAt": "2026-09-02T09:00:00+09:00",
    }
    shown = {name: value for name, value in (cancellation | changes).items() if value is not ...}
    return json.dumps({"cancellation": shown}).encode()


def read(body: bytes, status: int = 200, **headers: str) -> CancelOutcome:
    return read_cancel(status, headers, body, api_secret=SECRET)


def test_a_refund_is_always_the_same_bytes() -> None:
    sent = cancel_body(
        store_id="store-1", amount_minor=900, current_cancellable_minor=9900, reason="고객 요청", requester="ADMIN"
    )

    assert sent.decode() == (
        '{"storeId":"store-1","amount":900,"reason":"고객 요청","requester":"ADMIN","currentCancellableAmount":9900}'
    )


@pytest.mark.parametrize("http", [200, 202, 299])
@pytest.mark.parametrize("status", ["SUCCEEDED", "REQUESTED", "FAILED", "NEW"])
def test_a_2xx_says_how_the_refund_stands(status: str, http: int) -> None:
    moment = datetime(2026, 9, 2, tzinfo=UTC)

    assert read(a_cancellation(status=status), http) == Cancellation("c-1", status, 900, "API", moment)
    assert read(a_cancellation(status=status, cancelledAt=..., trigger=None), http) == Cancellation("c-1", status, 900)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"status": ...}, "status"),
        ({"id": ""}, "id"),
        ({"totalAmount": -1}, "totalAmount"),
        ({"cancelledAt": "x"}, "cancelledAt"),
    ],
)
def test_a_2xx_that_cannot_be_read_asks_for_a_look(changes: dict[str, object], missing: str) -> None:
    assert read(a_cancellation(**changes)) == NoVerdict(f"HTTP 200 without {missing}", look_now=True)
    assert read(b"no JSON", 204) == NoVerdict("HTTP 204 without id", look_now=True)


@pytest.mark.parametrize("status", [199, 300])
def test_only_a_2xx_can_say_refunded(status: int) -> None:
    assert read(a_cancellation(), status) == NoVerdict(f"HTTP {status}")


@pytest.mark.parametrize("error_type", CANCEL_ERRORS)
@pytest.mark.parametrize("status", [400, 409, 502])
def test_a_known_type_is_read_alike_under_every_status(error_type: str, status: int) -> None:
    outcome = read(error_body(error_type, message="왜"), status, **{"retry-after": "7"})

    match CANCEL_ERRORS[error_type]:
        case Reading.ASK:
            assert outcome == NoVerdict(f"{error_type}: 왜", look_now=True)
        case Reading.RESEND:
            assert outcome == NoVerdict(error_type, resend=True, retry_after_seconds=7)
        case Reading.REFUSED_CHANNEL:
            assert outcome == Refused(error_type, "왜", RefusalScope.CHANNEL)
        case _:
            assert outcome == Refused(error_type, "왜", RefusalScope.CYCLE)


def test_what_the_pg_says_is_told_without_secrets() -> None:
    told = error_body("PG_PROVIDER", message="우리 말", pgCode="P1", pgMessage=f"기간 경과 {SECRET}")

    assert read(told, 502) == NoVerdict("PG_PROVIDER: 기간 경과 [API secret]", look_now=True)
    assert read(error_body("PG_PROVIDER"), 502) == NoVerdict("PG_PROVIDER", look_now=True)


def test_a_refusal_tells_no_secret() -> None:
    assert read(error_body("UNAUTHORIZED", message=SECRET), 401) == Refused(
        "UNAUTHORIZED", "[API secret]", RefusalScope.CHANNEL
    )


def test_a_type_that_nobody_has_documented_is_no_verdict() -> None:
    assert read(error_body("NEW"), 503, **{"retry-after": "7"}) == NoVerdict("HTTP 503 NEW", True, 7)
    assert read(error_body("NEW"), 400) == NoVerdict("HTTP 400 NEW")
