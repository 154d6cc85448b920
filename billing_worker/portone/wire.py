"""PortOne's JSON: the bytes of a charge, and what the bytes of an answer mean.

An error is read by the body's type, never by the HTTP status. PortOne may add fields, enum values and cases without
notice: what we do not need is not looked at, and what cannot be read is no verdict. Nothing here raises on an answer.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    LOOK_ERRORS_ABSENT,
    Absent,
    Look,
    NoVerdict,
    Outcome,
    Paid,
    Payment,
    Unanswered,
    read_charge_error,
)

# An hour: a wish for longer is no wish for a pause. The caller has bounds of its own below this one.
RETRY_AFTER_SECONDS_MAX = 3600.0

# PortOne states no lengths. A message is cut here; an identifier that is longer is not an identifier.
MESSAGE_CHARACTERS_MAX = 1000
IDENTIFIER_CHARACTERS_MAX = 256

# A bigint's, in Postgres and in PortOne's int64 alike.
_AMOUNT_MINOR_MAX = 2**63 - 1

# Postgres stores no NUL, UTF-8 knows no lone surrogate, and a terminal would obey the rest.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ERROR_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

# The statuses after which the same bytes may be sent again within seconds, where the body names no type that we know.
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_PASSING = _BUSY | {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}

_NO_SECRETS: Mapping[str, str] = {}


class _UnreadableError(ValueError):
    """The answer lacks something that we need. Never leaves this module."""


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
    answer = _read_object(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _read_paid(status, answer)
    error_type = _text(answer, "type")
    if error_type not in CHARGE_ERRORS:
        return _read_status(status, error_type, headers)
    secrets = _secrets(_read_object(sent), api_secret)
    outcome = read_charge_error(
        error_type,
        _text(answer, "message", secrets),
        pg_code=_text(answer, "pgCode", secrets),
        pg_message=_text(answer, "pgMessage", secrets),
    )
    if isinstance(outcome, NoVerdict) and outcome.resend:
        return replace(outcome, retry_after_seconds=retry_after_seconds(headers))
    return outcome


def read_payment(
    status: int, headers: Mapping[str, str], body: bytes, *, payment_id: str, api_secret: str = ""
) -> Look:
    """What GET /payments/{payment_id} found. The API secret, and the billing key that it names, are in no text."""
    answer = _read_object(body)
    if status != HTTPStatus.OK:
        return _read_look_error(status, headers, answer)
    try:
        return _payment(answer, ("id", payment_id), "transactionId", api_secret=api_secret)
    except _UnreadableError as error:
        return Unanswered(reason=f"payment without {error}")


def read_transactions(
    status: int, headers: Mapping[str, str], body: bytes, *, payment_id: str, api_secret: str = ""
) -> tuple[Payment, ...] | Absent | Unanswered:
    """What GET /payments/{payment_id}/transactions found, oldest first. One that cannot be read spoils the answer."""
    answer = _read_object(body)
    if status != HTTPStatus.OK:
        return _read_look_error(status, headers, answer)
    items = answer.get("items")
    if not isinstance(items, list):
        return Unanswered(reason="transactions without items")
    try:
        found = [_payment(_object(item), ("paymentId", payment_id), "id", api_secret=api_secret) for item in items]
    except _UnreadableError as error:
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
    payment = _object(answer.get("payment"))
    try:
        return Paid(pg_tx_id=_identifier(payment, "pgTxId"), paid_at=_instant(payment, "paidAt"))
    except _UnreadableError as error:
        # The money has probably moved: only a look can tell.
        return NoVerdict(reason=f"HTTP {status} without {error}", look_now=True)


def _read_status(status: int, error_type: str, headers: Mapping[str, str]) -> NoVerdict:
    retry_after = retry_after_seconds(headers) if status in _BUSY else None
    resend = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return NoVerdict(reason=_reason(status, error_type), resend=resend, retry_after_seconds=retry_after)


def _read_look_error(status: int, headers: Mapping[str, str], answer: Mapping[str, object]) -> Absent | Unanswered:
    error_type = _text(answer, "type")
    # Status and type must agree: Absent is the one reading that can end in voiding an attempt.
    if status == HTTPStatus.NOT_FOUND and error_type in LOOK_ERRORS_ABSENT:
        return Absent()
    return Unanswered(reason=_reason(status, error_type), retry_after_seconds=retry_after_seconds(headers))


def _payment(
    item: Mapping[str, object], ours: tuple[str, str], transaction_id_field: str, *, api_secret: str
) -> Payment:
    payment_id_field, payment_id = ours
    if item.get(payment_id_field) != payment_id:
        # A connection that has got out of step answers the question before ours.
        raise _UnreadableError(f"our {payment_id_field}")
    secrets = _secrets(item, api_secret)
    amount, failure = _object(item.get("amount")), _object(item.get("failure"))
    status = _identifier(item, "status")
    total_minor = _amount_minor(amount, "total")
    # A payment that is cancelled as a whole has given back all that it took, even where the sum is left out.
    refunded_default = total_minor if status == "CANCELLED" else 0
    return Payment(
        status=status,
        transaction_id=_identifier(item, transaction_id_field),
        amount_minor=total_minor,
        currency=_identifier(item, "currency"),
        store_id=_identifier(item, "storeId"),
        is_test={"TEST": True, "LIVE": False}.get(_text(_object(item.get("channel")), "type")),
        requested_at=_instant(item, "requestedAt"),
        changed_at=_instant(item, "statusChangedAt"),
        pg_tx_id=_identifier(item, "pgTxId") if item.get("pgTxId") else None,
        paid_at=_instant(item, "paidAt") if item.get("paidAt") else None,
        refunded_minor=refunded_default if amount.get("cancelled") is None else _amount_minor(amount, "cancelled"),
        failure_code=_text(failure, "pgCode", secrets),
        failure_message=_text(failure, "pgMessage", secrets) or _text(failure, "reason", secrets),
    )


def _secrets(named: Mapping[str, object], api_secret: str) -> Mapping[str, str]:
    """What stands in a text for each secret that an answer might quote."""
    billing_key = named.get("billingKey")
    by_name = {"[billing key]": billing_key if isinstance(billing_key, str) else "", "[API secret]": api_secret}
    return {secret: name for name, secret in by_name.items() if secret}


def _reason(status: int, error_type: str) -> str:
    # Only what looks like a type is repeated; anything else in that place may hold a name or a key.
    return f"HTTP {status} {error_type}" if _ERROR_TYPE.fullmatch(error_type) else f"HTTP {status}"


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _present(**fields: str | None) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value}


def _read_object(body: bytes) -> Mapping[str, object]:
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(item: Mapping[str, object], field: str, secrets: Mapping[str, str] = _NO_SECRETS) -> str:
    value = item.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    # Before it is cut to length, or all but the last letter of a secret could be left at the cut.
    for secret, name in secrets.items():
        value = value.replace(secret, name)
    return _UNPRINTABLE.sub(" ", value[:MESSAGE_CHARACTERS_MAX])


def _identifier(item: Mapping[str, object], field: str) -> str:
    value = item.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= IDENTIFIER_CHARACTERS_MAX or _UNPRINTABLE.search(value):
        raise _UnreadableError(field)
    return value


def _amount_minor(item: Mapping[str, object], field: str) -> int:
    value = item.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _AMOUNT_MINOR_MAX:
        raise _UnreadableError(field)
    return value


def _instant(item: Mapping[str, object], field: str) -> datetime:
    value = item.get(field)
    if not isinstance(value, str):
        raise _UnreadableError(field)
    try:
        instant = datetime.fromisoformat(value.upper())
        if instant.tzinfo is None:
            raise _UnreadableError(field)
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _UnreadableError(field) from None
