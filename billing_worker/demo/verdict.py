"""The verdict: PortOne's truth beside the ledger, payment by payment and period by period.

A difference of one row is a failure. It decides by what the simulator kept, what SQL counts and what the file said, and
never by what a worker claims.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing_worker.demo.books import Books
from billing_worker.demo.practice import Payment, Truth
from billing_worker.demo.sample import Sample

FINGERPRINT_CHARS = 16

_ENDS = frozenset({"paid", "given_up", "held", "skipped"})


@dataclass(frozen=True, slots=True)
class Side:
    """One side's payments in figures."""

    payments: int
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

    @property
    def are_none(self) -> bool:
        """Whether every row agrees."""
        return not (self.paid_twice or self.lost or self.invented or self.missed or self.too_early)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that the end of the demo shows."""

    portone: Side
    ledger: Side
    due: int
    differences: Differences
    outcomes: Mapping[str, int]
    attempts: Mapping[str, int]
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
    by_status = {row["status"]: row["cycles"] for row in books.outcomes()}
    figures = books.payments_figures()
    entries, faults = books.verify()
    found = compare(truth, books.payments(), cycle_ends, due_keys=sample.due_keys)
    return Verdict(
        portone=side_of(truth.payments),
        ledger=Side(figures["payments"], figures["won"], figures["fingerprint"] or ""),
        due=len(sample.due_keys),
        differences=Differences(
            # What SQL finds counts beside what is found here: neither may hide a fault from the other.
            paid_twice=_all_of(found.paid_twice, books.paid_twice()),
            lost=found.lost,
            invented=found.invented,
            missed=_all_of(found.missed, books.missed(due_by)),
            too_early=found.too_early,
        ),
        outcomes={status: by_status.get(status, 0) for status in sorted(_ENDS | by_status.keys())},
        attempts=books.attempt_figures(),
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
    )


def side_of(payments: Sequence[Payment]) -> Side:
    """PortOne's side in the figures that demo_payments counts of the ledger."""
    lines = sorted(payment.line() for payment in payments)
    fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:FINGERPRINT_CHARS] if lines else ""
    return Side(len(payments), sum(payment.amount for payment in payments), fingerprint)


def _all_of(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
