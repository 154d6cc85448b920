"""Outcomes: what PortOne's answer means for one attempt, decided by the body's type and never by the HTTP status.

A decline is HTTP 502 and six different things are HTTP 409. Whatever is not in the tables is no verdict: the attempt
stays open and PortOne is asked later. Source of the types: the official OpenAPI, operations payWithBillingKey,
createPaymentSchedule, revokePaymentSchedules and cancelPayment, and the REST overview.
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
    """PortOne has the money. A 200 carries only pg_tx_id and paid_at; a look also knows PortOne's transaction.

    given_back: part of it has gone back or is contested already, which is entered by a look of its own.
    """

    pg_tx_id: str
    paid_at: datetime
    transaction_id: str | None = None
    given_back: bool = False


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
class Booked:
    """PortOne will charge by itself when it is time, under this name of the booking."""

    schedule_id: str


BookingOutcome = Booked | Refused | NoVerdict


class Revocation(StrEnum):
    """What became of a booking that was to be taken back. Only a look says whether there is money."""

    DONE = "done"
    ALREADY_PROCESSED = "already_processed"  # too late: PortOne has begun to charge
    ALREADY_REVOKED = "already_revoked"
    NOT_FOUND = "not_found"


RevocationOutcome = Revocation | Refused | NoVerdict


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Money given back of a payment, or asked back. status and trigger are PortOne's, verbatim."""

    cancellation_id: str
    status: str  # SUCCEEDED, REQUESTED or FAILED: a 200 may carry each of them
    amount_minor: int
    trigger: str = ""  # CONSOLE, API, PORTONE_ADMIN or CHARGEBACK, where PortOne says it
    cancelled_at: datetime | None = None


CancelOutcome = Cancellation | Refused | NoVerdict


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
    cancellations: tuple[Cancellation, ...] = ()
    disputed: bool = False  # contested by the card holder, and not resolved

    @property
    def given_back(self) -> bool:
        """Whether any of it has gone back, is going back, or is contested."""
        return self.refunded_minor > 0 or bool(self.cancellations) or self.disputed


@dataclass(frozen=True, slots=True)
class Schedule:
    """A booking as PortOne shows it, reduced to what the rules compare. status is PortOne's, verbatim."""

    schedule_id: str
    payment_id: str
    status: str
    amount_minor: int
    currency: str
    store_id: str
    time_to_pay: datetime
    billing_key_matches: bool | None  # None where it was not compared
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """PortOne says that it has nothing by that name (404 of its own type). Right after a time-out this proves nothing.

    Of a list: nothing in it is the one that was looked for.
    """


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The look itself failed; nothing is known. reason is ours and free of secrets."""

    reason: str
    retry_after_seconds: float | None = None


Look = Payment | Absent | Unanswered
ScheduleLook = Schedule | Absent | Unanswered


class Reading(StrEnum):
    """How an error type of a call is read."""

    DECLINED = "declined"
    REFUSED_CARD = "refused_card"
    REFUSED_CYCLE = "refused_cycle"
    REFUSED_CHANNEL = "refused_channel"
    ASK = "ask"  # a look will tell: something has come before us, or the PG alone knows
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

BOOKING_ERRORS: Mapping[str, Reading] = {
    "BILLING_KEY_NOT_FOUND": Reading.REFUSED_CARD,
    "BILLING_KEY_ALREADY_DELETED": Reading.REFUSED_CARD,
    "INVALID_REQUEST": Reading.REFUSED_CYCLE,
    "SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT": Reading.REFUSED_CYCLE,
    "UNAUTHORIZED": Reading.REFUSED_CHANNEL,
    "FORBIDDEN": Reading.REFUSED_CHANNEL,
    "ALREADY_PAID_OR_WAITING": Reading.ASK,
    "PAYMENT_SCHEDULE_ALREADY_EXISTS": Reading.ASK,
    "IDEMPOTENCY_OUTSTANDING_REQUEST": Reading.RESEND,
}

# Taking a booking back. The types that speak of the booking itself are in REVOCATIONS.
REVOCATION_ERRORS: Mapping[str, Reading] = {
    "BILLING_KEY_NOT_FOUND": Reading.REFUSED_CARD,
    "BILLING_KEY_ALREADY_DELETED": Reading.REFUSED_CARD,
    "INVALID_REQUEST": Reading.REFUSED_CYCLE,
    "UNAUTHORIZED": Reading.REFUSED_CHANNEL,
    "FORBIDDEN": Reading.REFUSED_CHANNEL,
    "IDEMPOTENCY_OUTSTANDING_REQUEST": Reading.RESEND,
}

REVOCATIONS: Mapping[str, Revocation] = {
    "PAYMENT_SCHEDULE_ALREADY_PROCESSED": Revocation.ALREADY_PROCESSED,
    "PAYMENT_SCHEDULE_ALREADY_REVOKED": Revocation.ALREADY_REVOKED,
    "PAYMENT_SCHEDULE_NOT_FOUND": Revocation.NOT_FOUND,
}

# Giving money back: a refusal is of this one request, and says how the payment stands.
CANCEL_ERRORS: Mapping[str, Reading] = {
    "INVALID_REQUEST": Reading.REFUSED_CYCLE,
    "PAYMENT_NOT_FOUND": Reading.REFUSED_CYCLE,
    "PAYMENT_NOT_PAID": Reading.REFUSED_CYCLE,
    "PAYMENT_ALREADY_CANCELLED": Reading.REFUSED_CYCLE,
    "CANCELLABLE_AMOUNT_CONSISTENCY_BROKEN": Reading.REFUSED_CYCLE,
    "CANCEL_AMOUNT_EXCEEDS_CANCELLABLE_AMOUNT": Reading.REFUSED_CYCLE,
    "CANCEL_TAX_AMOUNT_EXCEEDS_CANCELLABLE_TAX_AMOUNT": Reading.REFUSED_CYCLE,
    "CANCEL_TAX_FREE_AMOUNT_EXCEEDS_CANCELLABLE_TAX_FREE_AMOUNT": Reading.REFUSED_CYCLE,
    "SUM_OF_PARTS_EXCEEDS_CANCEL_AMOUNT": Reading.REFUSED_CYCLE,
    "MAX_CANCEL_COUNT_REACHED": Reading.REFUSED_CYCLE,
    "NEGATIVE_PROMOTION_ADJUSTED_CANCEL_AMOUNT": Reading.REFUSED_CYCLE,
    "PROMOTION_DISCOUNT_RETAIN_OPTION_SHOULD_NOT_BE_CHANGED": Reading.REFUSED_CYCLE,
    "UNAUTHORIZED": Reading.REFUSED_CHANNEL,
    "FORBIDDEN": Reading.REFUSED_CHANNEL,
    # A PG that says no may have given the money back all the same: the list of cancellations tells.
    "PG_PROVIDER": Reading.ASK,
    "IDEMPOTENCY_OUTSTANDING_REQUEST": Reading.RESEND,
}

LOOK_ERRORS_ABSENT = frozenset({"PAYMENT_NOT_FOUND"})
SCHEDULE_ERRORS_ABSENT = frozenset({"PAYMENT_SCHEDULE_NOT_FOUND"})

# Statuses of a payment object. A cancelled payment was paid first.
PAYMENT_PAID = frozenset({"PAID", "PARTIAL_CANCELLED", "CANCELLED"})
PAYMENT_FAILED = frozenset({"FAILED"})
PAYMENT_PENDING = frozenset({"READY", "PAY_PENDING", "VIRTUAL_ACCOUNT_ISSUED"})

# Statuses of a schedule under which PortOne may still charge. One that we do not know is none of ours to end either.
SCHEDULE_WAITING = frozenset({"SCHEDULED"})
SCHEDULE_STARTED = frozenset({"STARTED", "PENDING"})
SCHEDULE_FAILED = frozenset({"FAILED"})
SCHEDULE_REVOKED = frozenset({"REVOKED"})
SCHEDULE_SUCCEEDED = frozenset({"SUCCEEDED"})

_REFUSALS = {
    Reading.REFUSED_CARD: RefusalScope.CARD,
    Reading.REFUSED_CYCLE: RefusalScope.CYCLE,
    Reading.REFUSED_CHANNEL: RefusalScope.CHANNEL,
}


def read_charge_error(error_type: str, message: str, *, pg_code: str = "", pg_message: str = "") -> Outcome:
    """The outcome of an error body of the charge call. An unknown type is no verdict."""
    reading = CHARGE_ERRORS.get(error_type)
    if reading is Reading.DECLINED:
        return Declined(code=pg_code, message=pg_message or message)
    return _read_error(reading, error_type, message)


def read_booking_error(error_type: str, message: str) -> Refused | NoVerdict:
    """The outcome of an error body of the booking call. No PG has been asked, so there is no decline."""
    return _read_error(BOOKING_ERRORS.get(error_type), error_type, message)


def read_revocation_error(error_type: str, message: str) -> RevocationOutcome:
    """The outcome of an error body of the call that takes a booking back."""
    revocation = REVOCATIONS.get(error_type)
    return revocation or _read_error(REVOCATION_ERRORS.get(error_type), error_type, message)


def read_cancel_error(error_type: str, message: str) -> Refused | NoVerdict:
    """The outcome of an error body of the call that gives money back."""
    return _read_error(CANCEL_ERRORS.get(error_type), error_type, message)


def _read_error(reading: Reading | None, error_type: str, message: str) -> Refused | NoVerdict:
    match reading:
        case Reading.REFUSED_CARD | Reading.REFUSED_CYCLE | Reading.REFUSED_CHANNEL:
            return Refused(error_type=error_type, message=message, scope=_REFUSALS[reading])
        case Reading.ASK:
            return NoVerdict(reason=error_type, look_now=True)
        case Reading.RESEND:
            return NoVerdict(reason=error_type, resend=True)
        case Reading.DECLINED | None:
            return NoVerdict(reason="unknown error type")
