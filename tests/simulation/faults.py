"""Which faults there are, where each can strike, and why it cannot strike elsewhere.

A crash point is one side of one step: before it (asked, and not at the server yet), at the server (done there, and not
answered yet), after it (the answer is with the worker). A cell is a fault at a crash point. The run counts how often
each cell was hit; one that can be hit and was not is a failure of the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Where a step stands when the fault strikes."""

    BEFORE = "before"
    AT = "at"
    AFTER = "after"


class Point(StrEnum):
    """A step that a worker takes with somebody else."""

    READS = "reads"  # everything that asks Postgres and changes nothing
    RENEW = "open_cycles"
    CLAIM = "claim_due_cycles"
    INTENT = "open_attempts"
    SETTLE = "settle_attempts"
    CLAIM_LOOK = "claim_looks"
    NOTE_RESEND = "note_resend"
    ASK_AGAIN = "ask_again"
    VERIFY = "verify_attempt"
    HAND_OVER = "hand_over_attempts"
    POST = "post"
    RESEND = "post_again"  # a POST whose key has left before
    # the same of bookings
    INTENT_BOOKING = "open_attempts_booking"
    NOTE_BOOKED = "note_booked"
    SETTLE_REVOKED = "settle_attempts_revoked"
    BOOK = "book"
    BOOK_AGAIN = "book_again"
    REVOKE = "revoke"
    FIND_SCHEDULE = "find_schedule"
    LIST_SCHEDULES = "list_schedules"
    LOOK = "look"
    TRIES = "transactions"


class Fault(StrEnum):
    """What can go wrong."""

    # with the worker's machine
    KILL = "kill"
    FREEZE = "freeze_seconds"
    FREEZE_LEASE = "freeze_past_lease"
    FREEZE_KEYS = "freeze_past_3h"
    SLEEP = "machine_sleeps"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_BACK = "clock_back"
    # with Postgres
    LOST = "lost"  # the connection dies before the server has the statement
    STALL = "stall"  # the statement waits past its time-out, and is applied then
    UNACKNOWLEDGED = "unacknowledged"  # applied, and the answer never comes
    STALL_ANSWER = "stall_answer"  # applied, and the answer comes after the time-out
    CANCELLED_WAIT = "replication_wait_cancelled"  # applied here, on no standby: an error to the worker, lost later
    RESTART = "server_restart"
    FAILOVER = "failover"  # to a replica that lacks the last commits
    # with PortOne
    REQUEST_LOST = "request_lost"
    ANSWER_LOST = "answer_lost"
    SLOW_CONNECT = "slow_connect"
    TOO_MANY = "429"
    UNAUTHORISED = "401"
    BROKEN = "5xx_before"  # an unknown 5xx, and nothing was done
    BROKEN_AFTER = "5xx_after"  # an unknown 5xx from a proxy, after it was done
    GARBAGE = "garbage"  # a 2xx that does not parse
    HANG = "hang"  # longer than the read time-out, and done then
    NOT_ATOMIC = "not_atomic"  # the paid-check is not made again when the money is taken
    KEY_EARLY = "key_forgotten_early"
    KEY_LATE = "key_kept_late"
    DECLINE_SOFT = "decline_soft"
    DECLINE_HARD = "decline_hard"
    DECLINE_DUPLICATE = "decline_duplicate"  # the PG says that it has been paid already
    LATE_SUCCESS = "late_success"  # FAILED, and hours later PAID after all
    INVISIBLE = "invisible"  # not shown for a while
    STALE_RECORD = "stale_record"  # charged, and the record says FAILED for hours
    DIFFERS = "payment_differs"  # somebody else's payment under our id, or ours with another amount or channel
    KEY_DELETED = "billing_key_deleted"
    # with a schedule that was booked
    FIRES_LATE = "fires_late"
    FIRES_SLOWLY = "fires_slowly"
    CONSOLE_REVOKES = "console_revokes"
    CONSOLE_MOVES = "console_moves"
    CONSOLE_EDITS = "console_edits"  # its amount


OF_HOST = frozenset(
    {Fault.KILL, Fault.FREEZE, Fault.FREEZE_LEASE, Fault.FREEZE_KEYS, Fault.SLEEP, Fault.CLOCK_AHEAD, Fault.CLOCK_BACK}
)
OF_POSTGRES = frozenset(
    {
        Fault.LOST, Fault.STALL, Fault.UNACKNOWLEDGED, Fault.STALL_ANSWER, Fault.CANCELLED_WAIT, Fault.RESTART,
        Fault.FAILOVER,
    }
)  # fmt: skip
OF_PORTONE = frozenset(Fault) - OF_HOST - OF_POSTGRES

BOOKS = frozenset({Point.BOOK, Point.BOOK_AGAIN})
SENDS = frozenset({Point.POST, Point.RESEND}) | BOOKS
ASKS_PORTONE = SENDS | {Point.LOOK, Point.TRIES, Point.REVOKE, Point.FIND_SCHEDULE, Point.LIST_SCHEDULES}
# A seed whose plan aims at one of these has subscriptions of schedule mode.
OF_BOOKINGS = BOOKS | {
    Point.INTENT_BOOKING, Point.NOTE_BOOKED, Point.SETTLE_REVOKED, Point.REVOKE, Point.FIND_SCHEDULE,
    Point.LIST_SCHEDULES,
}  # fmt: skip

_SIDE_OF = {
    Fault.LOST: frozenset({Side.BEFORE}),
    Fault.STALL: frozenset({Side.BEFORE}),
    Fault.UNACKNOWLEDGED: frozenset({Side.AT}),
    Fault.STALL_ANSWER: frozenset({Side.AT}),
    Fault.CANCELLED_WAIT: frozenset({Side.AT}),
    Fault.RESTART: frozenset({Side.BEFORE, Side.AT}),
    Fault.FAILOVER: frozenset(Side),
    Fault.REQUEST_LOST: frozenset({Side.BEFORE}),
    Fault.SLOW_CONNECT: frozenset({Side.BEFORE}),
    Fault.TOO_MANY: frozenset({Side.BEFORE}),
    Fault.UNAUTHORISED: frozenset({Side.BEFORE}),
    Fault.BROKEN: frozenset({Side.BEFORE}),
}
_ONLY_SENDS = frozenset(
    {
        Fault.HANG, Fault.NOT_ATOMIC, Fault.KEY_EARLY, Fault.KEY_LATE, Fault.DECLINE_SOFT, Fault.DECLINE_HARD,
        Fault.DECLINE_DUPLICATE, Fault.LATE_SUCCESS, Fault.INVISIBLE, Fault.STALE_RECORD, Fault.DIFFERS,
        Fault.KEY_DELETED,
    }
)  # fmt: skip
_ONLY_BOOKINGS = frozenset(
    {Fault.FIRES_LATE, Fault.FIRES_SLOWLY, Fault.CONSOLE_REVOKES, Fault.CONSOLE_MOVES, Fault.CONSOLE_EDITS}
)


_HANGS = (Fault.HANG, Point.REVOKE)


@dataclass(frozen=True, slots=True)
class Cell:
    """A fault at a crash point."""

    point: Point
    side: Side
    fault: Fault

    def __str__(self) -> str:
        return f"{self.point}.{self.side} {self.fault}"


def _not_charged_so(cell: Cell) -> str:
    if cell.fault in _ONLY_BOOKINGS and cell.point not in BOOKS:
        return "nothing else is charged later"
    if cell.fault is Fault.NOT_ATOMIC and cell.point in BOOKS:
        return "while a schedule lives nothing else is executed"
    if cell.fault in _ONLY_SENDS and cell.point not in SENDS and (cell.fault, cell.point) != _HANGS:
        return "a look does not charge"
    return ""


def why_impossible(cell: Cell) -> str:
    """Why the fault cannot strike there; empty where it can."""
    at_portone = cell.point in ASKS_PORTONE
    if cell.fault in OF_POSTGRES and at_portone:
        return "a fault of Postgres strikes a statement, and this step asks PortOne"
    if cell.fault in OF_PORTONE and not at_portone:
        return "a fault of PortOne strikes a request, and this step asks Postgres"
    if reason := _not_charged_so(cell):
        return reason
    sides = frozenset(Side) if cell.fault in OF_HOST else _SIDE_OF.get(cell.fault, frozenset({Side.AT}))
    if cell.side not in sides:
        return f"it is by its nature a fault {' and '.join(sorted(sides))} the step"
    if cell.fault is Fault.CANCELLED_WAIT and cell.point is Point.READS:
        return "what changes nothing waits for no standby"
    return ""


def all_cells() -> Iterator[Cell]:
    """Every cell, whether it can be hit or not."""
    for point in Point:
        for side in Side:
            for fault in Fault:
                yield Cell(point, side, fault)


CELLS: tuple[Cell, ...] = tuple(cell for cell in all_cells() if not why_impossible(cell))
