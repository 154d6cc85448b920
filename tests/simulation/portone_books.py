"""PortOne's truth: every payment, every try on it, every execution with its begin and its end.

Only PortOne's own side writes here. One paymentId is paid once at most, unless a run says that the paid-check is not
atomic.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.simulation.faults import Fault

STORE_ID = "store-simulation"


@dataclass(slots=True)
class Try:
    """One transaction of a payment, as PortOne lists it."""

    transaction_id: str
    key: str | None
    amount_minor: int
    currency: str
    requested_at: datetime
    changed_at: datetime
    visible_from: float
    ended_at: float
    pg_tx_id: str | None = None  # set: the money has moved
    failure: tuple[str, str] | None = None
    failed_until: float = 0.0  # the record says FAILED until then, although the money has moved
    shown_failed: bool = False  # a look has been told that it failed
    store_id: str = STORE_ID
    channel: str = "LIVE"
    differs: str = ""  # in what it is not the payment that we asked for
    schedule_id: str | None = None  # of the booking by which it was made

    def is_paid_in_record(self, now: float) -> bool:
        """Whether a look at this moment is told that it is paid."""
        return self.pg_tx_id is not None and now >= self.failed_until


@dataclass(slots=True)
class Execution:
    """PortOne at work on one request."""

    payment_id: str
    key: str | None
    body_sha256: str
    began_at: float
    ended_at: float | None = None


@dataclass(slots=True)
class Booking:
    """A schedule: what is charged, when, and how it stands."""

    schedule_id: str
    payment_id: str
    key: str | None
    order: dict[str, Any]
    time_to_pay: datetime
    created_at: datetime
    fault: Fault | None
    visible_from: float
    status: str = "SCHEDULED"
    turn: int = 0  # a plan that was overtaken comes to nothing
    ended_by: str = ""
    was_edited: bool = False

    @property
    def lives(self) -> bool:
        """Whether it may still take money."""
        return self.status in {"SCHEDULED", "STARTED"}


@dataclass(slots=True)
class Payment:
    """Everything under one paymentId."""

    payment_id: str
    tries: list[Try] = field(default_factory=list)
    running: list[Execution] = field(default_factory=list)

    def paid(self) -> list[Try]:
        """The tries that have taken money."""
        return [one for one in self.tries if one.pg_tx_id is not None]


class PortOneBooks:
    """All payments of the store."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.executions: list[Execution] = []
        self.keys_left: set[str] = set()
        self.bookings: dict[str, Booking] = {}
        # Keys whose rows went with a server: another request of ours may come under one of them.
        self.keys_lost: set[str] = set()

    def living(self, payment_id: str) -> Booking | None:
        """The schedule by which a payment may still be charged."""
        return next((one for one in self.bookings.values() if one.payment_id == payment_id and one.lives), None)

    def lives(self, key: str) -> bool:
        """Whether the booking of this key may still take money."""
        living = self.living(key.rpartition("-")[0])
        return living is not None and living.key == key

    def payment(self, payment_id: str) -> Payment:
        """The payment, made when it is first asked for."""
        return self.payments.setdefault(payment_id, Payment(payment_id))

    def running_keys(self, payment_id: str) -> set[str]:
        """The keys under which a payment is executed at this moment."""
        payment = self.payments.get(payment_id)
        return {one.key for one in payment.running if one.key} if payment else set()

    def is_running(self, key: str) -> bool:
        """Whether a request under the key is executed at this moment."""
        return key in self.running_keys(key.rpartition("-")[0])

    def paid(self, payment_id: str) -> list[Try]:
        """The tries on a payment that have taken money."""
        payment = self.payments.get(payment_id)
        return payment.paid() if payment else []

    def may_be_believed(self, payment_id: str, *, answered: str = "") -> bool:
        """Whether a payment is there that is what we asked for. An answer to its key says nothing of differences."""
        return any(not one.differs or (one.key and one.key == answered) for one in self.paid(payment_id))

    def has_paid(self, key: str) -> bool:
        """Whether money was taken under the key."""
        return any(one.key == key for one in self.paid(key.rpartition("-")[0]))

    def has_declined(self, key: str) -> bool:
        """Whether the PG has said no under the key, be it that it changed its mind later."""
        payment = self.payments.get(key.rpartition("-")[0])
        return payment is not None and any(one.key == key and one.failure for one in payment.tries)

    def has_shown_decline(self, key: str) -> bool:
        """Whether a look has been told that the PG has said no under the key."""
        payment = self.payments.get(key.rpartition("-")[0])
        return payment is not None and any(one.key == key and one.shown_failed for one in payment.tries)
