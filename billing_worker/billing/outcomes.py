"""Outcomes: what PortOne's answer means for one attempt, decided by the body's type and never by the HTTP status.

A decline is HTTP 502 and six different things are HTTP 409. Whatever is not in the table is no verdict: the attempt
stays open and PortOne is asked later. Source of the types: the official OpenAPI, operation payWithBillingKey, and the
REST overview.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RefusalScope(StrEnum):
    """What a refusal says is wrong, and so how far it reaches."""

    CARD = "card"  # this billing key
    CYCLE = "cycle"  # this request; a person must look at it
    CHANNEL = "channel"  # our credentials or channel: every charge would fail alike


@dataclass(frozen=True, slots=True)
class Paid:
    """PortOne has the money. A 200 carries only pg_tx_id and paid_at; a look also knows PortOne's transaction."""

    pg_tx_id: str
    paid_at: datetime
    transaction_id: str | None = None
    refunded_minor: int = 0


@dataclass(frozen=True, slots=True)
class Declined:
    """The PG said no. Code and message are the PG's, verbatim."""

    code: str
    message: str
    transaction_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """PortOne said no before it asked a PG. error_type is PortOne's, verbatim."""

    error_type: str
    message: str
    scope: RefusalScope


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """Nothing is known: the attempt stays open. reason is ours, short, and free of secrets.

    resend: the same bytes under the same key may be sent again within seconds. retry_after_seconds: PortOne's own wish.
    look_now: PortOne's answer says that a look will tell more (ALREADY_PAID).
    """

    reason: str
    resend: bool = False
    retry_after_seconds: float | None = None
    look_now: bool = False


Outcome = Paid | Declined | Refused | NoVerdict


@dataclass(frozen=True, slots=True)
class Payment:
    """What a look found at GET /payments/{id}, reduced to what the rules compare. status is PortOne's, verbatim."""

    status: str
    transaction_id: str
    amount_minor: int
    currency: str
    store_id: str
    is_test: bool | None
    requested_at: datetime
    changed_at: datetime
    pg_tx_id: str | None = None
    paid_at: datetime | None = None
    refunded_minor: int = 0
    failure_code: str = ""
    failure_message: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """PortOne says that it has no such payment (404 PAYMENT_NOT_FOUND). Right after a time-out this proves nothing."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The look itself failed; nothing is known. reason is ours and free of secrets."""

    reason: str
    retry_after_seconds: float | None = None


Look = Payment | Absent | Unanswered


class Reading(StrEnum):
    """How an error type of the charge call is read."""

    DECLINED = "declined"
    REFUSED_CARD = "refused_card"
    REFUSED_CYCLE = "refused_cycle"
    REFUSED_CHANNEL = "refused_channel"
    ASK = "ask"  # a look will tell: the payment_id is paid or PortOne is about to pay it
    RESEND = "resend"  # in flight: the same bytes under the same key, a little later


CHARGE_ERRORS: Mapping[str, Reading] = {
    "PG_PROVIDER": Reading.DECLINED,
    "BILLING_KEY_NOT_FOUND": Reading.REFUSED_CARD,
    "BILLING_KEY_ALREADY_DELETED": Reading.REFUSED_CARD,
    "INVALID_REQUEST": Reading.REFUSED_CYCLE,
    "DISCOUNT_AMOUNT_EXCEEDS_TOTAL_AMOUNT": Reading.REFUSED_CYCLE,
    "PROMOTION_PAY_METHOD_DOES_NOT_MATCH": Reading.REFUSED_CYCLE,
    "SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT": Reading.REFUSED_CYCLE,
    # No try is left on this payment_id, and another id needs a person: see docs/adr.
    "MAX_TRANSACTION_COUNT_REACHED": Reading.REFUSED_CYCLE,
    "UNAUTHORIZED": Reading.REFUSED_CHANNEL,
    "FORBIDDEN": Reading.REFUSED_CHANNEL,
    "CHANNEL_NOT_FOUND": Reading.REFUSED_CHANNEL,
    "ALREADY_PAID": Reading.ASK,
    "PAYMENT_SCHEDULE_ALREADY_EXISTS": Reading.ASK,
    # On the overview page only, in neither the OpenAPI nor the SDK.
    "IDEMPOTENCY_OUTSTANDING_REQUEST": Reading.RESEND,
}

LOOK_ERRORS_ABSENT = frozenset({"PAYMENT_NOT_FOUND"})

# Statuses of a payment object. A cancelled payment was paid first.
PAYMENT_PAID = frozenset({"PAID", "PARTIAL_CANCELLED", "CANCELLED"})
PAYMENT_FAILED = frozenset({"FAILED"})
PAYMENT_PENDING = frozenset({"READY", "PAY_PENDING", "VIRTUAL_ACCOUNT_ISSUED"})

_REFUSALS = {
    Reading.REFUSED_CARD: RefusalScope.CARD,
    Reading.REFUSED_CYCLE: RefusalScope.CYCLE,
    Reading.REFUSED_CHANNEL: RefusalScope.CHANNEL,
}


def read_charge_error(error_type: str, message: str, *, pg_code: str = "", pg_message: str = "") -> Outcome:
    """The outcome of an error body of the charge call. An unknown type is no verdict."""
    reading = CHARGE_ERRORS.get(error_type)
    match reading:
        case Reading.DECLINED:
            return Declined(code=pg_code, message=pg_message or message)
        case Reading.REFUSED_CARD | Reading.REFUSED_CYCLE | Reading.REFUSED_CHANNEL:
            return Refused(error_type=error_type, message=message, scope=_REFUSALS[reading])
        case Reading.ASK:
            return NoVerdict(reason=error_type, look_now=True)
        case Reading.RESEND:
            return NoVerdict(reason=error_type, resend=True)
        case None:
            return NoVerdict(reason="unknown error type")
