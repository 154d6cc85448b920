"""The verdict: PortOne's truth beside the ledger, payment by payment, booking by booking and period by period.

A difference of one row is a failure. It decides by what the simulator kept, what SQL counts and what the file said, and
never by what a worker claims.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from billing_worker.demo import bookings
from billing_worker.demo.bookings import Booking
from billing_worker.demo.books import LEARNT, Books
from billing_worker.demo.pace import GRACE_SECONDS
from billing_worker.demo.practice import Payment, Truth
from billing_worker.demo.sample import Sample

FINGERPRINT_CHARS = 16

_ENDS = frozenset({"paid", "given_up", "held", "skipped"})

# What the simulator counted of the webhooks that it told.
_WEBHOOK_FIGURES = ("told", "lost", "duplicated", "sends", "succeeded")


@dataclass(frozen=True, slots=True)
class Side:
    """One side's payments in figures. by_schedule are those that PortOne charged by itself, of the schedules fired."""

    payments: int
    by_schedule: int
    fired: int
    won: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Differences:
    """In what the two sides differ, row by row; all empty is what is wanted."""

    paid_twice: tuple[str, ...]
    lost: tuple[Payment, ...]
    invented: tuple[Payment, ...]
    missed: tuple[str, ...]
    too_early: tuple[str, ...]
    booked_otherwise: tuple[str, ...]
    left_scheduled: tuple[str, ...]

    @property
    def are_none(self) -> bool:
        """Whether every row agrees."""
        return not any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that the end of the demo shows."""

    portone: Side
    ledger: Side
    due: int
    differences: Differences
    outcomes: Mapping[str, int]
    attempts: Mapping[str, int]
    bookings: Mapping[str, int]
    learnt: Mapping[str, Mapping[str, int]]
    webhooks: Mapping[str, int]
    cycle_ends: Sequence[tuple[str, str, int]]
    violations: int
    ledger_entries: int
    chain_faults: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs, nobody broke PortOne's contract and every chain is whole."""
        return (
            self.differences.are_none and self.portone == self.ledger and not self.violations and not self.chain_faults
        )


def reach(books: Books, truth: Truth, sample: Sample, *, due_by: datetime) -> Verdict:
    """Compare both sides, once nobody writes any more."""
    cycle_ends = books.cycle_ends()
    by_status: Counter[str] = Counter()
    for row in books.outcomes():
        by_status[row["status"]] += row["cycles"]
    figures, booked = books.payments_figures(), books.booking_figures()
    entries, faults = books.verify()
    learnt = books.learnt(timedelta(seconds=GRACE_SECONDS))
    found = compare(truth, books.payments(), cycle_ends, due_keys=sample.due_keys, booked=books.bookings())
    return Verdict(
        portone=side_of(truth),
        ledger=Side(
            payments=figures["payments"],
            by_schedule=figures["by_schedule"],
            fired=booked["paid"] + booked["declined"],
            won=figures["won"],
            fingerprint=figures["fingerprint"] or "",
        ),
        due=len(sample.due_keys),
        differences=replace(
            found,
            # What SQL finds counts beside what is found here: neither may hide a fault from the other.
            paid_twice=_all_of(found.paid_twice, books.paid_twice()),
            missed=_all_of(found.missed, books.missed(due_by)),
            too_early=_all_of(found.too_early, books.too_early()),
        ),
        outcomes={status: by_status.get(status, 0) for status in sorted(_ENDS | by_status.keys())},
        attempts=books.attempt_figures(),
        bookings=booked,
        learnt={by: learnt.get(by, dict.fromkeys(LEARNT, 0)) for by in ("charges", "bookings")},
        webhooks={**{what: truth.webhooks.get(what, 0) for what in _WEBHOOK_FIGURES}, **books.hints()},
        cycle_ends=cycle_ends,
        violations=truth.violations,
        ledger_entries=entries,
        chain_faults=tuple(faults),
    )


def compare(
    truth: Truth,
    recorded: Sequence[Payment],
    cycle_ends: Iterable[tuple[str, str, int]],
    *,
    due_keys: frozenset[str],
    booked: Sequence[Booking] = (),
) -> Differences:
    """The rows that one side has and the other has not or has otherwise."""
    charged, entered = Counter(truth.payments), Counter(recorded)
    entered_ids = Counter(payment.payment_id for payment in recorded)
    status_by_key = {key: status for key, status, _ in cycle_ends}
    return Differences(
        paid_twice=_all_of(truth.charged_twice, [one for one, times in entered_ids.items() if times > 1]),
        lost=tuple(sorted((charged - entered).elements())),
        invented=tuple(sorted((entered - charged).elements())),
        missed=tuple(sorted(key for key in due_keys if status_by_key.get(key) not in _ENDS)),
        too_early=tuple(sorted(status_by_key.keys() - due_keys)),
        booked_otherwise=bookings.disagreements(truth.schedules, booked),
        left_scheduled=bookings.left_scheduled(truth.schedules, booked),
    )


def side_of(truth: Truth) -> Side:
    """PortOne's side in the figures that SQL counts of the ledger."""
    payments = truth.payments
    lines = sorted(payment.line() for payment in payments)
    return Side(
        payments=len(payments),
        by_schedule=sum(payment.payment_id in truth.scheduled for payment in payments),
        fired=sum(schedule.status in bookings.FIRED for schedule in truth.schedules),
        won=sum(payment.amount for payment in payments),
        fingerprint=hashlib.sha256("\n".join(lines).encode()).hexdigest()[:FINGERPRINT_CHARS] if lines else "",
    )


def _all_of(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
