"""Answers: the bodies and statuses of the contract, ready to be sent, stored and replayed byte for byte.

The success body of a charge is bare, as PortOne's is. Error bodies carry one field more than documented, because
outputs may be extended without notice and a client must not break on it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Headers = tuple[tuple[bytes, bytes], ...]

_JSON_TYPE = b"application/json; charset=utf-8"
_HTML_502 = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"  # noqa: E501 - one page, as a gateway sends it

STATUSES: Mapping[str, int] = {
    "INVALID_REQUEST": 400,
    "MAX_TRANSACTION_COUNT_REACHED": 400,
    "MAX_WEBHOOK_RETRY_COUNT_REACHED": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "BILLING_KEY_NOT_FOUND": 404,
    "CHANNEL_NOT_FOUND": 404,
    "PAYMENT_NOT_FOUND": 404,
    "ROUTE_NOT_FOUND": 404,
    "PAYMENT_SCHEDULE_NOT_FOUND": 404,
    "WEBHOOK_NOT_FOUND": 404,
    "ALREADY_PAID": 409,
    "ALREADY_PAID_OR_WAITING": 409,
    "BILLING_KEY_ALREADY_DELETED": 409,
    "CANCELLABLE_AMOUNT_CONSISTENCY_BROKEN": 409,
    "CANCEL_AMOUNT_EXCEEDS_CANCELLABLE_AMOUNT": 409,
    "CANCEL_TAX_AMOUNT_EXCEEDS_CANCELLABLE_TAX_AMOUNT": 409,
    "CANCEL_TAX_FREE_AMOUNT_EXCEEDS_CANCELLABLE_TAX_FREE_AMOUNT": 409,
    "IDEMPOTENCY_OUTSTANDING_REQUEST": 409,
    "PAYMENT_ALREADY_CANCELLED": 409,
    "PAYMENT_NOT_PAID": 409,
    "PAYMENT_SCHEDULE_ALREADY_EXISTS": 409,
    "PAYMENT_SCHEDULE_ALREADY_PROCESSED": 409,
    "PAYMENT_SCHEDULE_ALREADY_REVOKED": 409,
    "SUM_OF_PARTS_EXCEEDS_CANCEL_AMOUNT": 409,
    "SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT": 409,
    "PAYMENT_UNDER_REVIEW": 409,  # made up, and in no document: a client must take it for no verdict
    "RESOURCE_EXHAUSTED": 429,
    "PG_PROVIDER": 502,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over the wire. `kind` is what the counters call it: OK, or the error's type."""

    status: int
    body: bytes
    kind: str
    headers: Headers = ()
    content_type: bytes = _JSON_TYPE


def encoded(content: object) -> bytes:
    """Compact JSON with Korean letters left as they are, and a question mark for what no encoding can hold."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def success(content: Mapping[str, Any]) -> Answer:
    """A 200."""
    return Answer(200, encoded(content), "OK")


def refusal(error_type: str, message: str | None = None, **fields: str) -> Answer:
    """An error of the contract. PortOne's message is optional, so it is sometimes missing here too."""
    content: dict[str, Any] = {"type": error_type, **fields, "simulated": True}
    if message is not None:
        content["message"] = message
    return Answer(STATUSES[error_type], encoded(content), error_type)


def invalid(message: str) -> Answer:
    """A 400 INVALID_REQUEST."""
    return refusal("INVALID_REQUEST", message)


def declined(pg_code: str, pg_message: str) -> Answer:
    """A decline: HTTP 502, which is PortOne's way of saying that the PG said no."""
    return refusal("PG_PROVIDER", "PG사에서 오류를 전달했습니다.", pgCode=pg_code, pgMessage=pg_message)


UNAUTHORIZED = refusal("UNAUTHORIZED", "인증 정보가 올바르지 않습니다.")
FORBIDDEN = refusal("FORBIDDEN", "접근 권한이 없는 상점 아이디입니다.")
OUTSTANDING = refusal("IDEMPOTENCY_OUTSTANDING_REQUEST")
ROUTE_NOT_FOUND = refusal("ROUTE_NOT_FOUND", "The simulator does not speak this call.")
GATEWAY_PAGE = Answer(502, _HTML_502, "HTML_502", content_type=b"text/html")
HALF_A_BODY = Answer(200, b'{"payment":{"pgTxId":"', "UNPARSABLE")
UNAVAILABLE = Answer(503, b"upstream connect error", "HTTP_503", content_type=b"text/plain")
NEW_TYPE = refusal("PAYMENT_UNDER_REVIEW", "결제 심사 중입니다.")


def rate_limited(retry_after_seconds: float) -> Answer:
    """A 429. PortOne documents none, so its body is a guess and its Retry-After is what counts."""
    plain = refusal("RESOURCE_EXHAUSTED", "요청이 너무 많습니다.")
    wish = str(max(0, round(retry_after_seconds))).encode()
    return Answer(plain.status, plain.body, plain.kind, headers=((b"retry-after", wish),))
