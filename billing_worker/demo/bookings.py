"""Bookings beside PortOne's schedules: whether each of either side has its counterpart, and whether they agree.

What was booked, charged or taken back on one side must be so on the other. It decides by PortOne's words and by the
ledger's statuses, and asks nobody.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from billing_worker.demo.practice import Schedule

FIRED = frozenset({"SUCCEEDED", "FAILED"})

# What may stand in the ledger of a schedule that ended so at PortOne. One that failed may be paid after all.
_ENDED = {
    "SUCCEEDED": frozenset({"paid"}),
    "FAILED": frozenset({"declined", "paid", "voided"}),
    "REVOKED": frozenset({"revoked"}),
}


@dataclass(frozen=True, slots=True)
class Booking:
    """One booking as the ledger has it. schedule_id is None where its name was never learnt."""

    schedule_id: str | None
    payment_id: str
    amount: int
    status: str
    revoke_reason: str | None

    def line(self) -> str:
        """The booking, to be printed."""
        return f"{self.schedule_id or 'a booking'} {self.payment_id} {self.amount} {self.status}"


def left_scheduled(schedules: Iterable[Schedule], bookings: Iterable[Booking]) -> tuple[str, ...]:
    """What PortOne is still going to charge by, and we think revoked, ended or never made."""
    waiting = {one.schedule_id for one in bookings if one.status == "open" and one.revoke_reason is None}
    return tuple(sorted(one.line() for one in schedules if one.status not in _ENDED and one.schedule_id not in waiting))


def disagreements(schedules: Sequence[Schedule], bookings: Sequence[Booking]) -> tuple[str, ...]:
    """Every ended schedule without a booking that ended so, and every booking that PortOne has not."""
    by_id = {one.schedule_id: one for one in bookings if one.schedule_id is not None}
    nameless: dict[str, list[Booking]] = defaultdict(list)
    for booking in bookings:
        if booking.schedule_id is None:
            nameless[booking.payment_id].append(booking)
    found = [
        one.line()
        for one in schedules
        if one.status in _ENDED
        and not any(_agree(one, other) for other in _counterparts(one, by_id.get(one.schedule_id), nameless))
    ]
    known = {one.schedule_id for one in schedules}
    found += [one.line() for name, one in by_id.items() if name not in known]
    return tuple(sorted(found))


def _counterparts(schedule: Schedule, named: Booking | None, nameless: dict[str, list[Booking]]) -> Sequence[Booking]:
    """The booking of that name; where its answer was lost and money was found, the name was never asked for."""
    return [named] if named is not None else nameless[schedule.payment_id]


def _agree(schedule: Schedule, booking: Booking) -> bool:
    return (
        booking.payment_id == schedule.payment_id
        and booking.amount == schedule.amount
        and booking.status in _ENDED[schedule.status]
    )
