"""Which database we are on: what the server says, what is written down, and which connections are let in.

A connection leads to a server that nobody has looked at until it is asked. None runs a statement of ours before.
"""

from collections.abc import Callable

from billing_worker.billing import deployment
from billing_worker.billing.deployment import LOOK_FIRST_MARGIN, Foreign, Ours, Recorded, Replica, Seen
from billing_worker.store.db import DatabaseMovedError, Executor, RowRefusedError

# What is asked of a server that refuses to say more: a cloud's may keep its WAL, or its control file, to itself.
_WAYS_TO_SEE = ("see_database", "see_database_without_wal", "see_database_alone")


# The pools' connections may go on speaking to a server that is no longer the primary while no new one can be made to
# see it. A judgement is made every five seconds and takes one connection and three questions: this is a dozen missed.
JUDGED_SECONDS_MAX = 60.0


class Acceptance:
    """The database that was judged, as one worker knows it. Whatever else a connection leads to is refused."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """`seconds` counts while the machine sleeps: a judgement is old after that."""
        self.seconds = seconds
        self.known: Seen | None = None  # what was accepted last, also while it is refused
        self._judged_at = 0.0
        self._accepted: Seen | None = None
        self._refusal = "nobody has judged the database yet"
        self.wal_seen: int | None = None

    @property
    def accepted(self) -> Seen | None:
        """What was accepted last; None while connections are refused."""
        return self._accepted

    def refusal(self) -> str:
        """Why nothing is sent from here; empty while the database is accepted and that is not long ago.

        Verdicts are still written where it is long ago, and new connections let in that lead to the same place.
        """
        if self._refusal:
            return self._refusal
        age_seconds = self.seconds() - self._judged_at
        return f"nobody could judge the database for {age_seconds:.0f} s" if age_seconds > JUDGED_SECONDS_MAX else ""

    def accept(self, seen: Seen, *, asked_at: float) -> None:
        """From now on this is the database; asked_at is when it began to be asked, by `seconds`."""
        self._accepted, self.wal_seen, self._refusal = seen, seen.wal_position, ""
        self.known, self._judged_at = seen, asked_at

    def confirm(self, seen: Seen, *, asked_at: float) -> None:
        """It is still the database."""
        self._judged_at = asked_at
        self.note(seen)

    def refuse(self, why: str) -> None:
        """Let no new connection in until another database is accepted."""
        self._accepted, self._refusal = None, why

    async def admit(self, db: Executor) -> None:
        """Look where a new connection has led. Raises DatabaseMovedError where that was not accepted."""
        accepted, reached = self._accepted, self.wal_seen  # what was so before asking; others may learn more meanwhile
        if accepted is None:
            raise DatabaseMovedError(self._refusal)
        seen = await see(db, like=accepted)
        why = deployment.moved(accepted, seen, wal_seen=reached)
        if why:
            # A newer judgement than ours may stand by now.
            if self._accepted is accepted:
                self.refuse(why)
            raise DatabaseMovedError(why)
        self.note(seen)

    def note(self, seen: Seen) -> None:
        """Remember how far the WAL has come."""
        if seen.wal_position is not None:
            self.wal_seen = max(self.wal_seen or 0, seen.wal_position)


async def admit_original(db: Executor) -> None:
    """Let a connection in unless it leads to a replica or a copy. Raises DatabaseMovedError."""
    seen = await see(db)
    recorded = await read_deployment(db)
    wanted = Ours(recorded.deployment, recorded.live) if recorded else Ours("", live=False)
    match deployment.judge(recorded, seen, wanted):
        case Replica():
            raise DatabaseMovedError("the server is a replica")
        case Foreign(reason=reason, remedy=remedy):
            raise DatabaseMovedError(f"{reason}: {remedy}")


async def see(db: Executor, *, like: Seen | None = None) -> Seen:
    """What the server says of itself, as much of it as it does; the first question is what it answered before."""
    ways = _WAYS_TO_SEE if like is None else _WAYS_TO_SEE[_way_of(like) :]
    for way in ways[:-1]:
        try:
            return await _see(db, way)
        except RowRefusedError:
            continue  # a right or a function that is missing here
    return await _see(db, ways[-1])


async def read_deployment(db: Executor) -> Recorded | None:
    """What is written down; None where nobody bills from here yet."""
    rows = await db.fetch("read_deployment")
    return Recorded(**dict(rows[0])) if rows else None


async def record_deployment(
    db: Executor, seen: Seen, ours: Ours, *, after: Recorded | None, look_first: bool, actor: str, reason: str
) -> bool:
    """Write down that the database is this one. False where somebody else has written first.

    look_first says that commits may be lost: what was due before now is looked at before it is sent.
    """
    rows = await db.fetch(
        "record_deployment",
        after.version + 1 if after else 1,
        ours.deployment,
        ours.live,
        seen.system_identifier,
        seen.database_oid,
        seen.timeline,
        LOOK_FIRST_MARGIN if look_first else None,
        actor,
        reason,
    )
    return bool(rows)


async def has_cycles(db: Executor) -> bool:
    """Whether any period was ever opened here."""
    return bool((await db.fetch("has_cycles"))[0]["has_cycles"])


def _way_of(seen: Seen) -> int:
    if seen.system_identifier is None:
        return 2
    return 1 if seen.timeline is None and not seen.in_recovery else 0


async def _see(db: Executor, way: str) -> Seen:
    return Seen(**dict((await db.fetch(way))[0]))
