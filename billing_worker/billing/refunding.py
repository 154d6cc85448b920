"""Refunding: whether a sum of a payment may be given back, and under which key, so that one refund is never made twice.

A refund is told from another by its payment, its sum and its reason. Given twice it is the same one: it goes by the sum
that had been given back when it was first meant, and by the key that follows from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from billing_worker.billing import outcomes
from billing_worker.billing.model import IDEMPOTENCY_KEY_CHARS_MIN
from billing_worker.billing.outcomes import Absent, Cancellation, Look, Payment, Unanswered

_DONE = "SUCCEEDED"
_UNDER_WAY = "REQUESTED"


# By PortOne's word for what set a refund going: the code of its ledger entry.
_CODES = {"CHARGEBACK": "chargeback", "API": "refund"}
_EXTERNAL = "external"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GivenBack:
    """One sum that was given back: the card company's doing (chargeback), by our API's secret (refund), or external."""

    amount_minor: int
    code: str
    cancellation_id: str


@dataclass(frozen=True, slots=True)
class RefundIntent:
    """A refund that somebody has meant before: how much, and what had been given back by then."""

    amount_minor: int
    refunded_before_minor: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A refund that may be asked for. `repeated`: it was meant before, and nothing was given back since."""

    payment_id: str
    amount_minor: int
    currency: str
    paid_minor: int
    refunded_minor: int
    idempotency_key: str
    repeated: bool

    @property
    def left_minor(self) -> int:
        """What may be given back at most; PortOne gives nothing back where it is another sum by then."""
        return self.paid_minor - self.refunded_minor


@dataclass(frozen=True, slots=True)
class NoRefund:
    """Why nothing is to be given back. `done`: it has been."""

    why: str
    done: bool = False


def propose(
    payment_id: str, look: Look, amount_minor: int | None, intents: Sequence[RefundIntent], *, store_id: str
) -> Proposal | NoRefund:
    """The refund of that sum, or of all that is left. The intents are those of the same payment and reason."""
    match look:
        case Unanswered():
            return NoRefund(f"PortOne does not answer ({look.reason})")
        case Absent():
            return NoRefund("PortOne knows no such payment")
        case Payment() if look.store_id != store_id:
            return NoRefund("the payment is another store's")
        case Payment() if look.status not in outcomes.PAYMENT_PAID:
            return NoRefund(f"PortOne has it {look.status}")
        case Payment():
            return _of_paid(payment_id, look, amount_minor, intents)


def idempotency_key(payment_id: str, *, refunded_minor: int, amount_minor: int) -> str:
    """The key of one refund: the same for the same sum on the same rest."""
    stem = f"{payment_id}-r{refunded_minor}x"
    # A payment_id that a merchant gave may be so short that the key would be.
    return f"{stem}{amount_minor:0{max(1, IDEMPOTENCY_KEY_CHARS_MIN - len(stem))}d}"


def _of_paid(
    payment_id: str, payment: Payment, amount_minor: int | None, intents: Sequence[RefundIntent]
) -> Proposal | NoRefund:
    refunded, left = payment.refunded_minor, payment.amount_minor - payment.refunded_minor
    wanted = left if amount_minor is None else amount_minor
    again = [each for each in intents if each.amount_minor == amount_minor or amount_minor is None]
    for each in again:
        if each.refunded_before_minor + each.amount_minor <= refunded:
            return NoRefund(
                f"{each.amount_minor} were asked back for this reason before, and {refunded} have been given back; "
                "another refund needs another reason",
                done=True,
            )
    if any(each.refunded_before_minor != refunded for each in again):
        return NoRefund(f"this refund was asked for before, and {refunded} have been given back since by another")
    if left <= 0:
        return NoRefund("all of it has been given back", done=True)
    if any(each.status == _UNDER_WAY for each in payment.cancellations):
        return NoRefund("a refund of it is under way; wait until PortOne says how it ended")
    if not 0 < wanted <= left:
        return NoRefund(f"{wanted} cannot be given back: {left} are left")
    key = idempotency_key(payment_id, refunded_minor=refunded, amount_minor=wanted)
    return Proposal(payment_id, wanted, payment.currency, payment.amount_minor, refunded, key, repeated=bool(again))


def given_back(refunded_minor: int, cancellations: Sequence[Cancellation]) -> tuple[GivenBack, ...]:
    """The sums that make up what was given back, the newest first.

    What PortOne does not tell of in detail is the oldest: a part of it may be entered already.
    """
    done = [each for each in cancellations if is_done(each.status)]
    newest_first = sorted(done, key=lambda each: each.cancelled_at or _LONG_AGO, reverse=True)
    parts: list[GivenBack] = []
    left = refunded_minor
    for each in newest_first:
        amount_minor = min(each.amount_minor, left)
        if amount_minor > 0:
            parts.append(GivenBack(amount_minor, _CODES.get(each.trigger, _EXTERNAL), each.cancellation_id))
            left -= amount_minor
    return (*parts, GivenBack(left, _EXTERNAL, "")) if left > 0 else tuple(parts)


def is_done(status: str) -> bool:
    """Whether a cancellation of that status has given the money back."""
    return status == _DONE


def is_under_way(status: str) -> bool:
    """Whether the PG has been asked, and has not said how it ended."""
    return status == _UNDER_WAY
