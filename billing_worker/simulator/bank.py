"""The bank: every try and every won that moved. It is the truth the reports tell, and it knows nothing of HTTP.

One success per paymentId, for ever; any number of failures up to the cap. What is written here happened, whether or not
anybody was told.
"""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from billing_worker.simulator.agenda import Agenda
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
    notice_urls: tuple[str, ...] = ()
    skips_webhook: bool = False  # of a success, PortOne says


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
    schedule_id: str | None = None


class Trigger(StrEnum):
    """PortOne's words for who gave money back."""

    API = "API"
    CONSOLE = "CONSOLE"
    CHARGEBACK = "CHARGEBACK"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Money given back."""

    cancellation_id: str
    total: int
    tax_free: int
    vat: int
    reason: str
    cancelled_at: datetime
    trigger: Trigger = Trigger.API


@dataclass(slots=True)
class Dispute:
    """A customer who contests a payment."""

    dispute_id: str
    reason: str
    created_at: datetime
    resolved_at: datetime | None = None


@dataclass(slots=True)
class Payment:
    """One paymentId with everything that was tried on it."""

    payment_id: str
    transactions: list[Transaction] = field(default_factory=list)
    cancellations: list[Cancellation] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
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
    def created_at(self) -> datetime:
        """When it was first asked for."""
        return self.transactions[0].requested_at

    @property
    def changed_at(self) -> datetime:
        """When its status last changed."""
        shown = self.shown
        cancelled = bool(self.cancellations) and shown is self.paid
        return self.cancellations[-1].cancelled_at if cancelled else shown.changed_at

    def is_visible(self, now: datetime) -> bool:
        """Whether a look sees it: not before its first try has ended, nor while it is kept invisible."""
        return bool(self.transactions) and (self.visible_at is None or now >= self.visible_at)

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


class What(StrEnum):
    """What can happen to a payment, as the webhooks' `Transaction.…` call it."""

    PAID = "Paid"
    FAILED = "Failed"
    PARTIAL_CANCELLED = "PartialCancelled"
    CANCELLED = "Cancelled"
    DISPUTE_CREATED = "DisputeCreated"
    DISPUTE_RESOLVED = "DisputeResolved"


@dataclass(slots=True)
class Happening:
    """One thing that happened to a payment, told to whoever passes the news on."""

    what: What
    payment: Payment
    transaction: Transaction
    at: datetime
    cancellation: Cancellation | None = None
    silent: bool = False  # the client asked for no webhook
    serial: int = 0  # in the event feed, with what had been given back of the payment by then
    cancelled: int = 0
    cancelled_tax_free: int = 0


def _nobody_listens(_happening: Happening) -> None:
    """The usual listener."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two executions of one paymentId at the same time: a client's mistake, whatever came of it."""

    payment_id: str
    at: datetime
    executing: int


class Bank:
    """Payments, charges and overlaps."""

    def __init__(self, agenda: Agenda, tell: Callable[[Happening], None] = _nobody_listens) -> None:
        self.payments: dict[str, Payment] = {}
        self.charges: list[tuple[Payment, Transaction]] = []
        self.overlaps: list[Overlap] = []
        self.executions = 0
        self.declines = 0
        self.version = 0  # counts everything that happened, for those who keep a list of it
        self._agenda, self._tell = agenda, tell
        self._serial = itertools.count(1)
        # A restarted or reset simulator must not give the same transaction twice: a ledger would take them for one.
        self._run = secrets.token_hex(5)

    def find(self, payment_id: str, now: datetime) -> Payment | None:
        """The payment as a look sees it."""
        payment = self.payments.get(payment_id)
        return payment if payment is not None and payment.is_visible(now) else None

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

    def approve(
        self, payment: Payment, order: Order, *, requested_at: datetime, now: datetime, schedule_id: str | None = None
    ) -> Transaction:
        """Take the money."""
        transaction = Transaction(self._id("tx-"), order, requested_at, Status.PAID, now, pg_tx_id=self._id("pg"))
        transaction.schedule_id = schedule_id
        payment.transactions.append(transaction)
        self._record_charge(payment, transaction, now)
        return transaction

    def decline(
        self,
        payment: Payment,
        order: Order,
        reason: Decline,
        *,
        requested_at: datetime,
        now: datetime,
        schedule_id: str | None = None,
    ) -> Transaction:
        """Say no."""
        transaction = Transaction(self._id("tx-"), order, requested_at, Status.FAILED, now, decline=reason)
        transaction.schedule_id = schedule_id
        payment.transactions.append(transaction)
        self.declines += 1
        self._happened(Happening(What.FAILED, payment, transaction, now))
        return transaction

    def pay_later(self, payment: Payment, transaction: Transaction, *, due_at: datetime) -> None:
        """Let a declined try turn out paid at a later instant, unless the payment is paid by then."""

        def turn(at: datetime) -> None:
            if payment.paid is not None:
                return
            transaction.status, transaction.changed_at, transaction.paid_late = Status.PAID, at, True
            transaction.pg_tx_id, transaction.decline = self._id("pg"), None
            self._record_charge(payment, transaction, at)

        self._agenda.put(due_at, turn)

    def hide(self, payment: Payment, until: datetime) -> None:
        """Let no look see a payment before an instant."""
        payment.visible_at = until
        self._agenda.put(until, self._is_seen)

    def give_back(
        self,
        payment: Payment,
        *,
        total: int,
        tax_free: int,
        vat: int,
        reason: str,
        now: datetime,
        trigger: Trigger = Trigger.API,
        silent: bool = False,
    ) -> Cancellation:
        """Return money of a paid payment."""
        assert payment.paid is not None, "there is nothing to give back"
        cancellation = Cancellation(self._id("cancel-"), total, tax_free, vat, reason, now, trigger)
        payment.cancellations.append(cancellation)
        what = What.CANCELLED if payment.cancellable_total == 0 else What.PARTIAL_CANCELLED
        self._happened(Happening(what, payment, payment.paid, now, cancellation, silent))
        return cancellation

    def dispute(self, payment: Payment, *, reason: str, now: datetime) -> Dispute:
        """Let the customer contest a paid payment."""
        assert payment.paid is not None, "there is nothing to contest"
        dispute = Dispute(self._id("dispute-"), reason, now)
        payment.disputes.append(dispute)
        self._happened(Happening(What.DISPUTE_CREATED, payment, payment.paid, now))
        return dispute

    def resolve(self, payment: Payment, dispute: Dispute, now: datetime) -> None:
        """Let the customer be content."""
        assert payment.paid is not None, "there was nothing to contest"
        dispute.resolved_at = now
        self._happened(Happening(What.DISPUTE_RESOLVED, payment, payment.paid, now))

    def _record_charge(self, payment: Payment, transaction: Transaction, now: datetime) -> None:
        if payment.paid is None:
            payment.paid = transaction
        payment.successes += 1
        self.charges.append((payment, transaction))
        silent = transaction.order.skips_webhook
        self._happened(Happening(What.PAID, payment, transaction, now, silent=silent))

    def _is_seen(self, _at: datetime) -> None:
        self.version += 1

    def _happened(self, happening: Happening) -> None:
        self.version += 1
        self._tell(happening)

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._run}{next(self._serial):010d}"


def later(instant: datetime, seconds: float) -> datetime:
    """So many seconds after."""
    return instant + timedelta(seconds=seconds)
