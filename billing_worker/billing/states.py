"""Every status and every allowed move. A status that is not here does not exist; a move that is not here is refused.

The database's CHECK constraints and docs/states.md are compared with these tables by tests.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

S = TypeVar("S", bound=StrEnum)


class SubscriptionStatus(StrEnum):
    """Whether a subscription opens new cycles."""

    ACTIVE = "active"
    HELD = "held"  # its next period cannot be worked out: a person must look
    CANCELLED = "cancelled"


class Mode(StrEnum):
    """How the periods of a subscription are collected. A cycle takes the mode of its subscription when it is opened."""

    CHARGE = "charge"  # we charge the billing key when a period is due
    SCHEDULE = "schedule"  # PortOne is told days ahead, and charges by itself when the period is due


class CycleStatus(StrEnum):
    """How far the collection of one period has come."""

    DUE = "due"  # owed; claimable_at says when the next attempt may be opened
    COLLECTING = "collecting"  # one attempt is open
    PAID = "paid"
    GIVEN_UP = "given_up"  # the dunning policy has ended
    HELD = "held"  # on the exceptions list: a person decides
    SKIPPED = "skipped"  # not collected, by a named person for a reason


class AttemptStatus(StrEnum):
    """What PortOne said of one try, or open while it has not spoken."""

    OPEN = "open"
    PAID = "paid"
    DECLINED = "declined"  # the PG said no
    REFUSED = "refused"  # PortOne said no before any PG was asked
    VOIDED = "voided"  # PortOne knew nothing of it for a whole day
    REVOKED = "revoked"  # a booking that was taken back before its time


class EntryKind(StrEnum):
    """What a ledger entry states."""

    INTENT = "intent"  # an attempt was opened; a charge may follow
    PAID = "paid"
    DECLINED = "declined"
    REFUSED = "refused"
    VOIDED = "voided"
    SCHEDULED = "scheduled"  # PortOne has the booking
    REVOKED = "revoked"  # the booking was taken back before its time
    GIVEN_UP = "given_up"
    CORRECTED = "corrected"  # what was recorded before turned out otherwise; the entry after it says how
    MISMATCH = "mismatch"  # PortOne's payment differs from what we asked for
    REFUNDED = "refunded"
    DISPUTED = "disputed"  # the card holder contests the payment
    HELD = "held"
    SKIPPED = "skipped"
    OPERATOR = "operator"  # a person did something, for a reason


class Source(StrEnum):
    """What an entry rests on; for a verdict, how it was learnt."""

    RULE = "rule"  # our own decision
    ANSWER = "answer"  # the reply to our own request
    LOOK = "look"  # asked for afterwards
    OPERATOR = "operator"


SUBSCRIPTION_MOVES: Mapping[SubscriptionStatus, frozenset[SubscriptionStatus]] = {
    SubscriptionStatus.ACTIVE: frozenset({SubscriptionStatus.HELD, SubscriptionStatus.CANCELLED}),
    SubscriptionStatus.HELD: frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.CANCELLED}),
    SubscriptionStatus.CANCELLED: frozenset(),
}

CYCLE_MOVES: Mapping[CycleStatus, frozenset[CycleStatus]] = {
    # A due cycle is paid without a new attempt when an attempt believed declined turns out paid.
    CycleStatus.DUE: frozenset({CycleStatus.COLLECTING, CycleStatus.PAID, CycleStatus.HELD, CycleStatus.SKIPPED}),
    CycleStatus.COLLECTING: frozenset({CycleStatus.DUE, CycleStatus.PAID, CycleStatus.GIVEN_UP, CycleStatus.HELD}),
    CycleStatus.PAID: frozenset(),  # absorbing: a refund or a chargeback is a new entry
    CycleStatus.GIVEN_UP: frozenset({CycleStatus.DUE, CycleStatus.PAID, CycleStatus.HELD, CycleStatus.SKIPPED}),
    # A person's retry waits for a booking that is still out to be taken back.
    CycleStatus.HELD: frozenset({CycleStatus.DUE, CycleStatus.COLLECTING, CycleStatus.PAID, CycleStatus.SKIPPED}),
    # Money for a period that is over: ours, or another sum that a person must look at.
    CycleStatus.SKIPPED: frozenset({CycleStatus.PAID, CycleStatus.HELD}),
}

ATTEMPT_MOVES: Mapping[AttemptStatus, frozenset[AttemptStatus]] = {
    AttemptStatus.OPEN: frozenset(
        {
            AttemptStatus.PAID,
            AttemptStatus.DECLINED,
            AttemptStatus.REFUSED,
            AttemptStatus.VOIDED,
            AttemptStatus.REVOKED,
        }
    ),
    AttemptStatus.PAID: frozenset(),
    # A late truth: PortOne has the money of an attempt that was believed dead. It is a named correction.
    AttemptStatus.DECLINED: frozenset({AttemptStatus.PAID}),
    AttemptStatus.REFUSED: frozenset({AttemptStatus.PAID}),
    AttemptStatus.VOIDED: frozenset({AttemptStatus.PAID}),
    AttemptStatus.REVOKED: frozenset({AttemptStatus.PAID}),
}


def may_move(moves: Mapping[S, frozenset[S]], *, old: S, new: S) -> bool:
    """Whether the table allows the move from old to new."""
    return new in moves[old]
