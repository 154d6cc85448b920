"""The bank: every try and every won that moved. It is the truth the reports tell, and it knows nothing of HTTP.

One success per paymentId, for ever; any number of failures up to the cap. What is written here happened, whether or not
anybody was told.
"""

import heapq
import itertools
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from billing_worker.simulator.declines import Decline


@dataclass(frozen=True, slots=True)
class Order:
    """What one request wants charged. `raw` is its body, read again when somebody looks."""

    billing_key: str = field(repr=False)
    total: int
    tax_free: int
    currency: str
    channel_key: str | None
    idempotency_key: str | None
    raw: bytes = field(repr=False)


class Status(StrEnum):
    """PortOne's words for how a payment or a transaction stands."""

    PAID = "PAID"
    FAILED = "FAILED"
    PARTIAL_CANCELLED = "PARTIAL_CANCELLED"
    CANCELLED = "CANCELLED"


@dataclass(slots=True)
class Transaction:
    """One try at the PG."""

    transaction_id: str
    order: Order
    requested_at: datetime
    status: Status
    changed_at: datetime
    pg_tx_id: str | None = None
    decline: Decline | None = None
    paid_late: bool = False


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Money given back."""

    cancellation_id: str
    total: int
    tax_free: int
    vat: int
    reason: str
    cancelled_at: datetime


@dataclass(slots=True)
class Payment:
    """One paymentId with everything that was tried on it."""

    payment_id: str
    transactions: list[Transaction] = field(default_factory=list)
    cancellations: list[Cancellation] = field(default_factory=list)
    paid: Transaction | None = None
    successes: int = 0
    executing: int = 0
    visible_at: datetime | None = None

    @property
    def shown(self) -> Transaction:
        """The try that speaks for the payment: the paid one, else the last."""
        return self.paid or self.transactions[-1]

    @property
    def status(self) -> Status:
        """How the payment stands."""
        if self.paid is None or not self.cancellations:
            return self.shown.status
        return Status.CANCELLED if self.cancellable_total == 0 else Status.PARTIAL_CANCELLED

    @property
    def cancelled_total(self) -> int:
        """What has been given back."""
        return sum(cancellation.total for cancellation in self.cancellations)

    @property
    def cancelled_tax_free(self) -> int:
        """The tax-free part of what has been given back."""
        return sum(cancellation.tax_free for cancellation in self.cancellations)

    @property
    def cancellable_total(self) -> int:
        """What is left to give back."""
        return 0 if self.paid is None else self.paid.order.total - self.cancelled_total

    @property
    def cancellable_tax_free(self) -> int:
        """The tax-free part of what is left to give back."""
        return 0 if self.paid is None else self.paid.order.tax_free - self.cancelled_tax_free


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two executions of one paymentId at the same time: a client's mistake, whatever came of it."""

    payment_id: str
    at: datetime
    executing: int


class Bank:
    """Payments, charges and overlaps."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.charges: list[tuple[Payment, Transaction]] = []
        self.overlaps: list[Overlap] = []
        self.executions = 0
        self.declines = 0
        self._late: list[tuple[datetime, int, Payment, Transaction]] = []
        self._serial = itertools.count(1)
        # A restarted or reset simulator must not give the same transaction twice: a ledger would take them for one.
        self._run = secrets.token_hex(5)

    def find(self, payment_id: str, now: datetime) -> Payment | None:
        """The payment as a look sees it: none before its first try has ended, nor while it is kept invisible."""
        payment = self.payments.get(payment_id)
        if payment is None or not payment.transactions:
            return None
        if payment.visible_at is not None and now < payment.visible_at:
            return None
        return payment

    def begin(self, payment_id: str, now: datetime) -> Payment:
        """Start one execution at the PG."""
        payment = self.payments.get(payment_id)
        if payment is None:
            payment = self.payments[payment_id] = Payment(payment_id)
        payment.executing += 1
        self.executions += 1
        if payment.executing > 1:
            self.overlaps.append(Overlap(payment_id, now, payment.executing))
        return payment

    def approve(self, payment: Payment, order: Order, *, requested_at: datetime, now: datetime) -> Transaction:
        """Take the money."""
        transaction = Transaction(self._id("tx-"), order, requested_at, Status.PAID, now, pg_tx_id=self._id("pg"))
        payment.transactions.append(transaction)
        self._record_charge(payment, transaction)
        return transaction

    def decline(
        self, payment: Payment, order: Order, reason: Decline, *, requested_at: datetime, now: datetime
    ) -> Transaction:
        """Say no."""
        transaction = Transaction(self._id("tx-"), order, requested_at, Status.FAILED, now, decline=reason)
        payment.transactions.append(transaction)
        self.declines += 1
        return transaction

    def pay_later(self, payment: Payment, transaction: Transaction, *, due_at: datetime) -> None:
        """Let a declined try turn out paid at a later instant."""
        heapq.heappush(self._late, (due_at, next(self._serial), payment, transaction))

    def turn_late_ones(self, now: datetime) -> None:
        """Turn the declined tries whose time has come. A payment that was paid meanwhile stays paid once."""
        while self._late and self._late[0][0] <= now:
            due_at, _, payment, transaction = heapq.heappop(self._late)
            if payment.paid is not None:
                continue
            transaction.status, transaction.changed_at, transaction.paid_late = Status.PAID, due_at, True
            transaction.pg_tx_id, transaction.decline = self._id("pg"), None
            self._record_charge(payment, transaction)

    def give_back(
        self, payment: Payment, *, total: int, tax_free: int, vat: int, reason: str, now: datetime
    ) -> Cancellation:
        """Return money of a paid payment."""
        cancellation = Cancellation(self._id("cancel-"), total, tax_free, vat, reason, now)
        payment.cancellations.append(cancellation)
        return cancellation

    def _record_charge(self, payment: Payment, transaction: Transaction) -> None:
        if payment.paid is None:
            payment.paid = transaction
        payment.successes += 1
        self.charges.append((payment, transaction))

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._run}{next(self._serial):010d}"


def later(instant: datetime, seconds: float) -> datetime:
    """So many seconds after."""
    return instant + timedelta(seconds=seconds)
