"""PortOne's JSON: the bytes of a charge, and what the bytes of an answer mean.

An error is read by the body's type, never by the HTTP status. PortOne may add fields, enum values and cases without
notice: what we do not need is not looked at, and what cannot be read is no verdict. Nothing here raises on an answer.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    LOOK_ERRORS_ABSENT,
    Absent,
    Cancellation,
    Look,
    NoVerdict,
    Outcome,
    Paid,
    Payment,
    Unanswered,
    read_charge_error,
)
from billing_worker.portone.fields import (
    UnreadableError,
    amount_minor,
    billing_key_of,
    identifier,
    instant,
    object_of,
    read_object,
    secrets_in,
    secrets_of,
    text,
)

T = TypeVar("T")

# An hour: a wish for longer is no wish for a pause. The caller has bounds of its own below this one.
RETRY_AFTER_SECONDS_MAX = 3600.0

_ERROR_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

# The statuses after which the same bytes may be sent again within seconds, where the body names no type that we know.
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_PASSING = _BUSY | {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}


def charge_body(
    *,
    store_id: str,
    billing_key: str,
    channel_key: str | None,
    order_name: str,
    customer_id: str,
    customer_name: str,
    phone_number: str | None,
    email: str | None,
    subscription_key: str,
    cycle_number: int,
    amount: Money,
) -> bytes:
    """The request body of one charge: the same bytes for the same arguments, for ever."""
    customer: dict[str, object] = {"id": customer_id, "name": {"full": customer_name}}
    customer |= _present(phoneNumber=phone_number, email=email)
    return _compact(
        {"storeId": store_id, "billingKey": billing_key}
        | _present(channelKey=channel_key)
        | {
            "orderName": order_name,
            "customer": customer,
            # A string in REST, unlike the browser SDK's object. It lets a person at PortOne's console find our row.
            "customData": _compact({"subscription": subscription_key, "cycle": cycle_number}).decode(),
            "amount": {"total": amount.amount_minor},
            "currency": amount.currency,
            # KPN's own example sends it; a subscription is one thing.
            "productCount": 1,
        }
    )


def read_charge(
    status: int, headers: Mapping[str, str], body: bytes, *, sent: bytes = b"", api_secret: str = ""
) -> Outcome:
    """What the answer to a charge means. `sent` is the request's body: its billing key is cut out of every text.

    So is the API secret, which the request's header carried.
    """
    answer = read_object(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _read_paid(status, answer)
    error_type = text(answer, "type")
    if error_type not in CHARGE_ERRORS:
        return read_status(status, error_type, headers)
    secrets = secrets_of(billing_key_of(sent), api_secret)
    outcome = read_charge_error(
        error_type,
        text(answer, "message", secrets),
        pg_code=text(answer, "pgCode", secrets),
        pg_message=text(answer, "pgMessage", secrets),
    )
    return with_pause(outcome, headers)


def read_payment(
    status: int, headers: Mapping[str, str], body: bytes, *, payment_id: str, api_secret: str = ""
) -> Look:
    """What GET /payments/{payment_id} found. The API secret, and the billing key that it names, are in no text."""
    answer = read_object(body)
    if status != HTTPStatus.OK:
        return read_look_error(status, headers, answer)
    try:
        return payment_of(answer, ("id", payment_id), "transactionId", api_secret=api_secret)
    except UnreadableError as error:
        return Unanswered(reason=f"payment without {error}")


def read_transactions(
    status: int, headers: Mapping[str, str], body: bytes, *, payment_id: str, api_secret: str = ""
) -> tuple[Payment, ...] | Absent | Unanswered:
    """What GET /payments/{payment_id}/transactions found, oldest first. One that cannot be read spoils the answer."""
    answer = read_object(body)
    if status != HTTPStatus.OK:
        return read_look_error(status, headers, answer)
    items = answer.get("items")
    if not isinstance(items, list):
        return Unanswered(reason="transactions without items")
    try:
        found = [payment_of(object_of(item), ("paymentId", payment_id), "id", api_secret=api_secret) for item in items]
    except UnreadableError as error:
        return Unanswered(reason=f"transaction without {error}")
    return tuple(sorted(found, key=lambda payment: payment.requested_at))


def read_http_date(text: str | None) -> datetime | None:
    """The instant of an HTTP date header, or None where it is none."""
    try:
        return None if text is None else parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long PortOne asks us to wait, or None where it does not say."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), RETRY_AFTER_SECONDS_MAX)
    # A date is counted from PortOne's own clock, which is in the same answer.
    until, now = read_http_date(text), read_http_date(headers.get("date"))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _read_paid(status: int, answer: Mapping[str, object]) -> Outcome:
    payment = object_of(answer.get("payment"))
    try:
        return Paid(pg_tx_id=identifier(payment, "pgTxId"), paid_at=instant(payment, "paidAt"))
    except UnreadableError as error:
        # The money has probably moved: only a look can tell.
        return NoVerdict(reason=f"HTTP {status} without {error}", look_now=True)


def read_status(status: int, error_type: str, headers: Mapping[str, str]) -> NoVerdict:
    """What is left to read where the body names no type that we know of this call."""
    retry_after = retry_after_seconds(headers) if status in _BUSY else None
    resend = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return NoVerdict(reason=_reason(status, error_type), resend=resend, retry_after_seconds=retry_after)


def with_pause(outcome: T, headers: Mapping[str, str]) -> T:
    """The outcome with PortOne's wish for a pause, where the same bytes may be sent again."""
    if isinstance(outcome, NoVerdict) and outcome.resend:
        return replace(outcome, retry_after_seconds=retry_after_seconds(headers))
    return outcome


def read_look_error(
    status: int,
    headers: Mapping[str, str],
    answer: Mapping[str, object],
    absent: frozenset[str] = LOOK_ERRORS_ABSENT,
) -> Absent | Unanswered:
    """What a look says that found nothing: that there is nothing, by one of these types, or nothing at all."""
    # Status and type must agree: Absent is the one reading that can end in voiding an attempt.
    if status == HTTPStatus.NOT_FOUND and text(answer, "type") in absent:
        return Absent()
    return unanswered(status, headers, answer)


def unanswered(status: int, headers: Mapping[str, str], answer: Mapping[str, object]) -> Unanswered:
    """A look that failed, and what it says of a pause."""
    return Unanswered(reason=_reason(status, text(answer, "type")), retry_after_seconds=retry_after_seconds(headers))


def payment_of(
    item: Mapping[str, object], ours: tuple[str, str], transaction_id_field: str, *, api_secret: str
) -> Payment:
    """The payment, or the try, that the object shows as ours. Raises UnreadableError."""
    payment_id_field, payment_id = ours
    if item.get(payment_id_field) != payment_id:
        # A connection that has got out of step answers the question before ours.
        raise UnreadableError(f"our {payment_id_field}")
    secrets = secrets_in(item, api_secret)
    amount, failure = object_of(item.get("amount")), object_of(item.get("failure"))
    status = identifier(item, "status")
    total_minor = amount_minor(amount, "total")
    # A payment that is cancelled as a whole has given back all that it took, even where the sum is left out.
    refunded_default = total_minor if status == "CANCELLED" else 0
    return Payment(
        status=status,
        transaction_id=identifier(item, transaction_id_field),
        amount_minor=total_minor,
        currency=identifier(item, "currency"),
        store_id=identifier(item, "storeId"),
        is_test={"TEST": True, "LIVE": False}.get(text(object_of(item.get("channel")), "type")),
        requested_at=instant(item, "requestedAt"),
        changed_at=instant(item, "statusChangedAt"),
        pg_tx_id=identifier(item, "pgTxId") if item.get("pgTxId") else None,
        paid_at=instant(item, "paidAt") if item.get("paidAt") else None,
        refunded_minor=refunded_default if amount.get("cancelled") is None else amount_minor(amount, "cancelled"),
        failure_code=text(failure, "pgCode", secrets),
        failure_message=text(failure, "pgMessage", secrets) or text(failure, "reason", secrets),
        cancellations=_cancellations(item.get("cancellations")),
        disputed=_is_disputed(item.get("disputes")),
    )


def cancellation_of(item: Mapping[str, object]) -> Cancellation:
    """Money given back, or asked back. Raises UnreadableError."""
    return Cancellation(
        cancellation_id=identifier(item, "id"),
        status=identifier(item, "status"),
        amount_minor=amount_minor(item, "totalAmount"),
        trigger=text(item, "trigger"),
        cancelled_at=instant(item, "cancelledAt") if item.get("cancelledAt") else None,
    )


def _cancellations(items: object) -> tuple[Cancellation, ...]:
    # The sum that was given back stands in the payment itself. What tells of it in detail must not hide the payment.
    found: list[Cancellation] = []
    for item in items if isinstance(items, list) else ():
        with suppress(UnreadableError):
            found.append(cancellation_of(object_of(item)))
    return tuple(found)


def _is_disputed(disputes: object) -> bool:
    # Whatever is not known to be over is not over.
    return isinstance(disputes, list) and any(text(object_of(each), "status") != "RESOLVED" for each in disputes)


def _reason(status: int, error_type: str) -> str:
    # Only what looks like a type is repeated; anything else in that place may hold a name or a key.
    return f"HTTP {status} {error_type}" if _ERROR_TYPE.fullmatch(error_type) else f"HTTP {status}"


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _present(**fields: str | None) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value}
