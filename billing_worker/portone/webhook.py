"""PortOne's webhooks: whether PortOne has sent one, and which payment it speaks of.

A webhook is a hint and nothing else: it carries neither an amount nor a verdict that we would believe, so all that is
read is where to look. Nothing is read before its signature is found right. No text of a webhook and no part of a secret
may leave this module in an exception or a repr, and of a billing key not even the fact which one it was.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from pydantic import SecretStr
from standardwebhooks import Webhook

# PortOne signs the time of sending. Older or newer than this is a replay, or a clock that somebody should look at.
TOLERANCE_SECONDS = 300

# PortOne keeps two active secrets for the test environment and two for the live one.
SECRETS_MAX = 4
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
# Standard Webhooks asks for 24 to 64 bytes; PortOne has promised neither, and fewer than 16 could be guessed.
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 16, 256

# PortOne's ids are far below 100 characters, and it signs once or twice: more is nobody's honest webhook.
WEBHOOK_ID_CHARACTERS_MAX = 200
SIGNATURES_MAX = 16
TEXT_CHARACTERS_MAX = 200
FORM_FIELDS_MAX = 32

_SIGNED_HEADERS = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_SECONDS = re.compile(r"[1-9][0-9]{0,11}")
_PAYMENT_EVENTS = frozenset(
    {
        "Ready",
        "Paid",
        "VirtualAccountIssued",
        "PartialCancelled",
        "Cancelled",
        "Failed",
        "PayPending",
        "CancelPending",
        "DisputeCreated",
        "DisputeResolved",
        "Confirm",
    }
)
_FAMILY = "Transaction."


class Rejection(StrEnum):
    """Why a webhook is not taken for PortOne's."""

    UNSIGNED = "unsigned"  # a header is missing, there twice, or of no form that PortOne writes
    STALE = "stale"  # sent too long ago, or in the future
    FORGED = "forged"  # no signature is right under any of the secrets


@dataclass(frozen=True, slots=True)
class Signed:
    """PortOne has sent it, under this id and at this time."""

    webhook_id: str
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """Something has become of a payment. The 2024-01-01 form names no store."""

    event_type: str
    payment_id: str
    transaction_id: str | None
    cancellation_id: str | None
    store_id: str | None


@dataclass(frozen=True, slots=True)
class NoPayment:
    """It speaks of a billing key, or of something that did not exist when this was written."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is PortOne's and says nothing that can be understood."""


@dataclass(frozen=True, slots=True)
class _Headers:
    webhook_id: str
    seconds: str
    signatures: tuple[bytes, ...] = field(repr=False)


class Verifier:
    """Knows the secrets. Any of them will do, so that one can be replaced while the other still signs."""

    def __init__(self, secrets: Sequence[SecretStr]) -> None:
        assert 1 <= len(secrets) <= SECRETS_MAX, "the settings have counted them"
        self._signers = tuple(Webhook(require_secret(secret.get_secret_value())) for secret in secrets)

    def verify(self, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, now: datetime) -> Signed | Rejection:
        """Whether PortOne has sent exactly these bytes within the last five minutes."""
        read = _headers(headers)
        if read is None:
            return Rejection.UNSIGNED
        if abs(now.timestamp() - int(read.seconds)) > TOLERANCE_SECONDS:
            return Rejection.STALE
        sent_at = datetime.fromtimestamp(int(read.seconds), UTC)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return Rejection.FORGED  # both versions are text, and no signature of PortOne's is over anything else
        for signer in self._signers:
            _, _, written = signer.sign(read.webhook_id, sent_at, text).partition(",")
            right = base64.b64decode(written)
            if any(hmac.compare_digest(given, right) for given in read.signatures):
                return Signed(read.webhook_id, sent_at)
        return Rejection.FORGED


def require_secret(text: str) -> str:
    """The secret unchanged, or a ValueError that does not contain it."""
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"must begin with {SECRET_PREFIX}, as PortOne's console shows it")
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError(f"must be base64 after {SECRET_PREFIX}") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(f"must hold {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes after {SECRET_PREFIX}")
    return text


def read(body: bytes, *, content_type: str) -> Notice | NoPayment | Unreadable:
    """What a webhook of either version says. Only for bytes whose signature was found right."""
    form = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    said = _form(body) if form else _json(body)
    if said is None:
        return Unreadable()
    if "type" in said:
        return _of_2024_04_25(said)
    return _of_2024_01_01(said)


def _of_2024_04_25(said: dict[str, Any]) -> Notice | NoPayment | Unreadable:
    event_type, about = said["type"], said.get("data")
    if not isinstance(event_type, str):
        return Unreadable()
    if not event_type.startswith(_FAMILY) or event_type.removeprefix(_FAMILY) not in _PAYMENT_EVENTS:
        return NoPayment()
    payment_id = _text(about, "paymentId")
    if payment_id is None:
        return Unreadable()
    return Notice(
        event_type,
        payment_id,
        _text(about, "transactionId"),
        _text(about, "cancellationId"),
        _text(about, "storeId"),
    )


def _of_2024_01_01(said: dict[str, Any]) -> Notice | NoPayment | Unreadable:
    payment_id, status = _text(said, "payment_id"), _text(said, "status")
    if payment_id is None:
        return NoPayment() if "billing_key" in said else Unreadable()
    if status not in _PAYMENT_EVENTS:
        return NoPayment()
    return Notice(_FAMILY + status, payment_id, _text(said, "tx_id"), _text(said, "cancellation_id"), None)


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _form(body: bytes) -> dict[str, Any] | None:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=FORM_FIELDS_MAX
        )
    except ValueError:
        return None
    said = dict(pairs)
    return said if len(said) == len(pairs) else None


def _text(about: object, name: str) -> str | None:
    """A short printable text, or None: what is longer or stranger names nothing of ours."""
    text = about.get(name) if isinstance(about, dict) else None
    fits = isinstance(text, str) and 0 < len(text) <= TEXT_CHARACTERS_MAX and text.isprintable()
    return text if fits else None


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> _Headers | None:
    """The three headers, or None where one is missing, there twice or not as PortOne writes it."""
    found: dict[bytes, str] = {}
    for name, given in headers:
        lower = name.lower()
        if lower in _SIGNED_HEADERS:
            if lower in found:
                return None
            found[lower] = given.decode("latin-1")
    webhook_id, seconds, signature = (found.get(name, "") for name in _SIGNED_HEADERS)
    signatures = _signatures(signature)
    named = 0 < len(webhook_id) <= WEBHOOK_ID_CHARACTERS_MAX and webhook_id.isascii() and webhook_id.isprintable()
    if not (named and _SECONDS.fullmatch(seconds) and signatures):
        return None
    return _Headers(webhook_id, seconds, signatures)


def _signatures(header: str) -> tuple[bytes, ...]:
    """Every signature of the version that we know; others stand beside them while a version is replaced."""
    written = header.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]
    return tuple(
        decoded
        for version, _, encoded in (one.partition(",") for one in written)
        if version == "v1" and (decoded := _decoded(encoded)) is not None
    )


def _decoded(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
