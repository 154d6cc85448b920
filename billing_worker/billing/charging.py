"""Charging: what to do next about a cycle, what an answer and a look prove, and what a verdict changes.

Nothing here opens a new attempt while an older one is unproven, and no way leads out of PAID. Silence proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing_worker.billing import outcomes
from billing_worker.billing.model import Attempt, ClaimedCycle, booking_key, idempotency_key
from billing_worker.billing.outcomes import (
    Absent,
    Booked,
    BookingOutcome,
    Cancellation,
    Declined,
    Look,
    NoVerdict,
    Outcome,
    Paid,
    Payment,
    Refused,
    Unanswered,
)
from billing_worker.billing.states import AttemptStatus, CycleStatus, Mode, SubscriptionStatus

# Far above any dunning policy. A cycle that PortOne goes on refusing must end before a person, not go on for ever.
ATTEMPTS_MAX = 1000

# A record may lag behind the answer; one look that does not show a payment is no reason to wake a person.
LOOKS_BEFORE_DOUBT = 5


@dataclass(frozen=True, slots=True)
class ChargingRules:
    """The bounds that decisions are made within. Each is a setting."""

    store_id: str
    live: bool  # payments must be of a LIVE channel; else of a TEST channel
    fruitless_claims_max: int
    clock_skew_max: timedelta
    at_work_for: timedelta  # from an intent or a noted resend, how long PortOne may be at work on what was sent for it
    resend_until: timedelta  # from the first send; PortOne forgets a key after three hours
    void_after: timedelta  # of finding nothing, from the last possible send
    ask_first: timedelta
    ask_widest: timedelta
    verify_after: timedelta
    recheck_after: tuple[timedelta, ...]
    book_near: timedelta  # nearer than this to its time a cycle is not booked but charged when it is due
    book_grace: timedelta  # after its time, before PortOne is asked what became of a booking
    book_lost_after: timedelta  # after its time: a booking that PortOne knows nothing of is none


# --- the next step of a due cycle -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """Open this attempt and send it."""

    attempt_number: int
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class BookAttempt:
    """Open this attempt and have PortOne charge by itself at that moment."""

    attempt_number: int
    idempotency_key: str
    time_to_pay: datetime


@dataclass(frozen=True, slots=True)
class NotYet:
    """Give the cycle back: it may be claimed again from that moment on."""

    claimable_at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Put the cycle on the exceptions list."""

    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not collect the cycle any more."""

    reason: str


NextStep = OpenAttempt | BookAttempt | NotYet | Hold | Skip


def next_step(cycle: ClaimedCycle, rules: ChargingRules, now: datetime) -> NextStep:
    """What to do with a due cycle under our lease. A due cycle has no open attempt: the status says so.

    Before its due time a cycle is at most booked. No charge of ours leaves before it, whatever the mode.
    """
    # A held subscription opens no further period; what it owes already is collected.
    if cycle.subscription_status is SubscriptionStatus.CANCELLED:
        return Skip("subscription cancelled")
    if cycle.fruitless_claims > rules.fruitless_claims_max:
        return Hold(f"claimed {cycle.fruitless_claims - 1} times without an attempt")
    number = cycle.attempts_count + 1
    if number > ATTEMPTS_MAX:
        return Hold(f"not collected in {ATTEMPTS_MAX} attempts")
    key = idempotency_key(cycle.payment_id, number)
    if now >= cycle.due_at:
        return OpenAttempt(number, key)
    if cycle.mode is Mode.SCHEDULE and cycle.due_at - now > rules.book_near:
        return BookAttempt(number, booking_key(cycle.payment_id, number), time_to_pay=cycle.due_at)
    return NotYet(cycle.due_at)


# --- what an answer and a look prove --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Voided:
    """PortOne knew nothing of the attempt for a whole day after its last possible send.

    Or it has money that is not what was asked for, of a period that a person has skipped: contradiction is what the
    person must be told of it.
    """

    contradiction: str = ""


@dataclass(frozen=True, slots=True)
class Revoked:
    """The booking was taken back, as we had asked, before PortOne charged by it."""


Verdict = Paid | Declined | Refused | Voided | Revoked


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the same bytes again under the same key."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again at that moment."""

    look_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """PortOne has a payment that is not what we asked for. A person must decide."""

    what: str


Weighed = Paid | Declined | Refused | Voided | Resend | Wait | Contradiction


def verdict_of_answer(outcome: Outcome, *, only_send: bool) -> Paid | Refused | None:
    """The verdict that an answer proves by itself, or None where only a look can tell.

    A 200 is believed at once. A refusal is believed of an attempt that was sent once: an earlier send of the same one
    may have charged before the refusal came. A decline always waits for the look.
    """
    match outcome:
        case Paid():
            return outcome
        case Refused() if only_send:
            return outcome
        case Refused() | Declined() | NoVerdict():
            return None


def worth_a_look(outcome: Outcome | BookingOutcome) -> bool:
    """Whether to look at once. After mere silence the reconciler looks later, when there is more to see."""
    match outcome:
        case Paid() | Refused() | Declined() | Booked():
            return True
        case NoVerdict():
            return outcome.look_now


def weigh(
    attempt: Attempt, answer: Outcome | None, look: Look, *, asked_at: datetime, now: datetime, rules: ChargingRules
) -> Weighed:
    """What a look proves of an open attempt, beside the answer that came before it, if one did.

    That nothing was found is true of the moment it was asked, however late the answer is read: whoever slept between
    the two knows no more than before.
    """
    match look:
        case Unanswered():
            return _wait(attempt, now, rules, look.reason)
        case Absent():
            return _nothing_found(attempt, answer, asked_at=asked_at, now=now, rules=rules)
        case Payment() if look.status in outcomes.PAYMENT_PAID:
            return compared(attempt, look, rules)
        case Payment() if look.status in outcomes.PAYMENT_FAILED:
            if is_of_attempt(attempt, look, rules, answer=answer):
                return _declined(look, answer)
            return _nothing_found(attempt, answer, asked_at=asked_at, now=now, rules=rules)
        case Payment():
            return _wait(attempt, now, rules, f"payment is {look.status}")


def is_of_attempt(attempt: Attempt, payment: Payment, rules: ChargingRules, *, answer: Outcome | None = None) -> bool:
    """Whether a failed payment speaks of this attempt, and not of an older try on the same payment_id."""
    if payment.transaction_id in attempt.older_transaction_ids:
        return False
    if isinstance(answer, Declined):
        # PortOne replays the answer of a try that a failover or a restore has taken from us: it is older than the
        # attempt, and yet it is what became of this key.
        return True
    return payment.changed_at >= attempt.opened_at - rules.clock_skew_max


def needs_transactions(attempt: Attempt, look: Look, rules: ChargingRules, *, answer: Outcome | None = None) -> bool:
    """Whether the payment shows an older try, so that only the list of tries can show ours."""
    match look:
        case Payment(status=status) if status in outcomes.PAYMENT_FAILED:
            return not is_of_attempt(attempt, look, rules, answer=answer)
        case _:
            return False


def newest_of_attempt(
    attempt: Attempt, tries: Sequence[Payment], rules: ChargingRules, *, answer: Outcome | None = None
) -> Look:
    """The try among PortOne's transactions that is this attempt's: a paid one before any other. Absent if none is."""
    paid = [t for t in tries if t.status in outcomes.PAYMENT_PAID]
    ours = paid or [t for t in tries if is_of_attempt(attempt, t, rules, answer=answer)]
    return max(ours, key=lambda t: t.changed_at, default=Absent())


def differences(attempt: Attempt, payment: Payment, rules: ChargingRules) -> tuple[str, ...]:
    """In what PortOne's payment is not the one we asked for. Empty means that it may be believed."""
    wanted_test = not rules.live
    found: list[str] = []
    if payment.amount_minor != attempt.price.amount_minor:
        found.append(f"amount is {payment.amount_minor}, asked for {attempt.price.amount_minor}")
    if payment.currency != attempt.price.currency:
        found.append(f"currency is {payment.currency}, asked for {attempt.price.currency}")
    if payment.store_id != rules.store_id:
        found.append("store is another one")
    if payment.is_test != wanted_test:
        has = {True: "TEST", False: "LIVE", None: "of no known type"}[payment.is_test]
        found.append(f"channel is {has}, wanted {'TEST' if wanted_test else 'LIVE'}")
    if attempt.pg_tx_id and payment.pg_tx_id and attempt.pg_tx_id != payment.pg_tx_id:
        found.append("PG transaction is another one")
    return tuple(found)


def compared(attempt: Attempt, payment: Payment, rules: ChargingRules) -> Paid | Contradiction:
    """What a payment that has been paid proves: the money is ours, or it is not what we asked for."""
    problems = differences(attempt, payment, rules)
    if problems:
        return Contradiction("; ".join(problems))
    return Paid(
        # Every card payment has the PG's id; PortOne's own stands in where a PG gives none.
        pg_tx_id=payment.pg_tx_id or payment.transaction_id,
        paid_at=payment.paid_at or payment.changed_at,
        transaction_id=payment.transaction_id,
        given_back=payment.given_back,
    )


def next_look(attempt: Attempt, *, now: datetime, rules: ChargingRules) -> datetime:
    """When to ask again: twice as long after every look, up to a bound. looks counts the one just made."""
    doublings = min(max(attempt.looks - 1, 0), 32)  # 2**32 times anything is past the bound
    return now + min(rules.ask_first * (1 << doublings), rules.ask_widest)


def _declined(payment: Payment, answer: Outcome | None) -> Declined:
    # The answer's words are the PG's own and always there; of a payment's failure every field is optional.
    if isinstance(answer, Declined):
        return Declined(answer.code, answer.message, payment.transaction_id)
    return Declined(payment.failure_code, payment.failure_message, payment.transaction_id)


def _nothing_found(
    attempt: Attempt, answer: Outcome | None, *, asked_at: datetime, now: datetime, rules: ChargingRules
) -> Refused | Voided | Resend | Wait:
    match answer:
        case Refused() if asked_at >= attempt.opened_at + rules.at_work_for:
            # Two witnesses: PortOne refused the bytes, and a look finds no money, after every earlier send has ended.
            return answer
        case Refused() | Declined() | NoVerdict() | Paid():
            return _wait(attempt, now, rules, "the answer is not confirmed yet")
        case None:
            pass
    if attempt.cycle_status is CycleStatus.HELD:
        return _wait(attempt, now, rules, "a person decides about the cycle")
    if now < attempt.opened_at + rules.resend_until:
        return Resend()
    if asked_at >= attempt.last_sent_at + rules.void_after:
        return Voided()
    return _wait(attempt, now, rules, "nothing found, and the key is forgotten")


def _wait(attempt: Attempt, now: datetime, rules: ChargingRules, reason: str) -> Wait:
    return Wait(next_look(attempt, now=now, rules=rules), reason)


# --- looks at attempts that are closed ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verified:
    """PortOne's record agrees with what we recorded. What has been refunded since is the merchant's doing."""

    transaction_id: str
    refunded_minor: int = 0
    cancellations: tuple[Cancellation, ...] = ()  # what is known of how it was given back
    disputed: bool = False  # the card holder contests it


@dataclass(frozen=True, slots=True)
class NothingMore:
    """There is nothing left to ask about this attempt."""


Reviewed = Paid | Verified | NothingMore | Wait | Contradiction


def review(attempt: Attempt, look: Look, *, now: datetime, rules: ChargingRules) -> Reviewed:
    """What a look proves of an attempt that is closed: a paid one is compared, a dead one may be paid after all."""
    if attempt.status is AttemptStatus.PAID:
        return _review_paid(attempt, look, now=now, rules=rules)
    if attempt.attempts_count > attempt.attempt_number:
        return NothingMore()  # A newer attempt has the same payment_id and finds whatever there is.
    if attempt.cycle_status is CycleStatus.PAID:
        return NothingMore()  # By an older attempt that turned out paid: what a look finds is that one's money.
    match look:
        case Payment() if look.status in outcomes.PAYMENT_PAID:
            return compared(attempt, look, rules)
        case Payment() | Absent():
            return _recheck(attempt, now, rules)
        case Unanswered():
            return _wait(attempt, now, rules, look.reason)


def _review_paid(attempt: Attempt, look: Look, *, now: datetime, rules: ChargingRules) -> Reviewed:
    match look:
        case Unanswered():
            return _wait(attempt, now, rules, look.reason)
        case Payment() if look.status in outcomes.PAYMENT_PAID:
            problems = differences(attempt, look, rules)
            if problems:
                return Contradiction("; ".join(problems))
            return Verified(look.transaction_id, look.refunded_minor, look.cancellations, look.disputed)
        case Payment() | Absent() if attempt.looks < LOOKS_BEFORE_DOUBT:
            return _wait(attempt, now, rules, "the record does not show the payment yet")
        case Payment():
            return Contradiction(f"PortOne answered paid and now says {look.status}")
        case Absent():
            return Contradiction("PortOne answered paid and now knows no such payment")


def _recheck(attempt: Attempt, now: datetime, rules: ChargingRules) -> Wait | NothingMore:
    # Counted from the settlement and not by looks, or looks that nobody answered would use the moments up.
    assert attempt.settled_at is not None, "a closed attempt has its moment"
    moments = (attempt.settled_at + after for after in rules.recheck_after)
    upcoming = next((moment for moment in moments if moment > now), None)
    return Wait(upcoming, "still not paid") if upcoming else NothingMore()
