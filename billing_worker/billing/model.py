"""What the rules speak about: cycles and attempts as the store hands them out, and the identifiers that follow from
them.

Identifiers come from business keys alone, never from a clock, a counter or chance, so that a restored or cloned
database makes the same ones and PortOne refuses the second payment.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.money import Money
from billing_worker.billing.states import AttemptStatus, CycleStatus, Mode, SubscriptionStatus

SHARDS = 64
ATTEMPT_NUMBER_MAX = 9999  # what fits the four digits of an idempotency key

# PortOne takes no shorter one. A payment_id of ours makes a longer key by itself; one that a merchant gave may not.
IDEMPOTENCY_KEY_CHARS_MIN = 16


def shard_of(business_key: str) -> int:
    """The shard, 0–63, of a subscription: stable for ever, the same on every machine."""
    return hashlib.sha256(business_key.encode()).digest()[0] % SHARDS


def payment_id(*, store_id: str, business_key: str, period_start_on: date, correction_number: int = 0) -> str:
    """The one paymentId of a cycle: 30 characters of [0-9a-z].

    KPN takes letters and digits, at most 32, and another PG silently cuts at 40. 27 characters of base32 are 135 bits.
    """
    text = f"v1|{store_id}|{business_key}|{period_start_on.isoformat()}|{correction_number}"
    digest = hashlib.sha256(text.encode()).digest()
    return "rb1" + base64.b32encode(digest).decode().lower()[:27]


def idempotency_key(cycle_payment_id: str, attempt_number: int) -> str:
    """The key of one attempt, without the double quotes that the header wants. PortOne remembers it for three hours."""
    assert 1 <= attempt_number <= ATTEMPT_NUMBER_MAX
    return _numbered(f"{cycle_payment_id}-g", attempt_number)


def booking_key(cycle_payment_id: str, attempt_number: int) -> str:
    """The key of one booking: never a charge's, or a charge that follows a lost row would come under its bytes."""
    assert 1 <= attempt_number <= ATTEMPT_NUMBER_MAX
    return _numbered(f"{cycle_payment_id}-s", attempt_number)


def _numbered(stem: str, number: int) -> str:
    """The number behind the stem, with as many zeros as make the key long enough."""
    return f"{stem}{number:0{max(4, IDEMPOTENCY_KEY_CHARS_MIN - len(stem))}d}"


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays, as far as PortOne is told."""

    customer_id: str
    name: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class ClaimedCycle:
    """A due cycle under our lease, with what a charge needs of its subscription."""

    shard: int
    cycle_id: int
    subscription_id: int
    business_key: str
    subscription_status: SubscriptionStatus
    cycle_number: int
    payment_id: str
    price: Money
    order_name: str
    customer: Customer = field(repr=False)
    billing_key: BillingKey
    due_at: datetime  # when its period was first owed, whenever it is tried again
    claim_epoch: int
    fruitless_claims: int
    attempts_count: int
    mode: Mode = Mode.CHARGE


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to collect one cycle, with what deciding about it needs."""

    shard: int
    attempt_id: int
    cycle_id: int
    subscription_id: int
    business_key: str
    cycle_number: int
    cycle_status: CycleStatus
    attempt_number: int
    store_id: str  # whose payment_id it is
    attempts_count: int  # of the cycle: higher than attempt_number when a newer attempt exists
    payment_id: str
    idempotency_key: str
    price: Money
    status: AttemptStatus
    opened_at: datetime
    last_sent_at: datetime  # the last moment at which a send may have begun
    looks: int
    due_at: datetime  # of the cycle: when its period is first owed
    declines_count: int  # of the cycle, before this attempt
    first_declined_at: datetime | None
    older_transaction_ids: frozenset[str]
    settled_at: datetime | None = None
    pg_tx_id: str | None = None
    request_body: bytes | None = None
    time_to_pay: datetime | None = None  # when PortOne shall charge by itself: then the attempt is a booking
    schedule_id: str | None = None  # PortOne's name of the booking, once it is known
    revoke_reason: str | None = None  # why the booking shall be taken back, when it shall
    contradiction: str | None = None  # in what PortOne's record differs, as a person has been told

    def __repr__(self) -> str:
        # The request body holds the billing key, so it is never shown.
        return f"Attempt({self.attempt_id}, {self.payment_id}, number={self.attempt_number}, {self.status})"
