"""Which database a worker has been led to, and whether it may bill from it.

A copy of a database makes the same payment ids as its original, and a server that was promoted may lack the last
commits. What is written down of the database is compared here with what the server says of itself; nothing is believed
of a server that was not compared.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

# The server before this one may have worked with a clock that was ahead, and have collected what is not due here yet.
LOOK_FIRST_MARGIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Ours:
    """Whose database this worker wants: the deployment's name, and whether its payments are real."""

    deployment: str
    live: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server says of itself; None where it does not say. wal_position goes back only where some is lost."""

    in_recovery: bool
    database_oid: int
    system_identifier: int | None
    timeline: int | None
    wal_position: int | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The newest row of billing.deployment."""

    version: int
    deployment: str
    live: bool
    system_identifier: int | None
    database_oid: int
    timeline: int | None
    look_first_before: datetime | None
    changed_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Same:
    """The database that is written down."""


@dataclass(frozen=True, slots=True)
class New:
    """A database that nobody bills from yet."""


@dataclass(frozen=True, slots=True)
class FailedOver:
    """The same database, from which the last commits may be missing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replica:
    """A server that follows another one."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another database than the one that is written down, or one of another deployment."""

    reason: str
    remedy: str


Judgement = Same | New | FailedOver | Replica | Foreign

ADOPT = "if this is where billing goes on, run `billing-worker adopt`; see docs/failover.md"


def judge(
    recorded: Recorded | None, seen: Seen, ours: Ours, *, wal_seen: int | None = None, before: Seen | None = None
) -> Judgement:
    """What the server is to this worker, which has accepted `before` and seen its WAL reach wal_seen."""
    if seen.in_recovery:
        return Replica()
    if recorded is None:
        return New()
    if foreign := _other_owner(recorded, ours) or _other_place(recorded, seen, before):
        return foreign
    reason = _why_commits_may_be_lost(recorded, seen, wal_seen)
    return FailedOver(reason) if reason else Same()


def moved(accepted: Seen, seen: Seen, *, wal_seen: int | None) -> str:
    """Why a new connection does not lead to the database that was accepted; empty where it does."""
    if seen.in_recovery:
        return "the server is a replica"
    if not same_place(accepted, seen):
        return "the server is not the one that was judged"
    return "the server's WAL has gone back" if behind(seen, wal_seen) else ""


def same_place(one: Seen, other: Seen) -> bool:
    """Whether both are one database on one timeline. A server that has fallen silent about itself is another one."""
    return (one.database_oid, one.system_identifier, one.timeline) == (
        other.database_oid,
        other.system_identifier,
        other.timeline,
    )


def behind(seen: Seen, wal_seen: int | None) -> bool:
    """Whether the WAL ends before a position that it once had."""
    return wal_seen is not None and seen.wal_position is not None and seen.wal_position < wal_seen


def unsaid(seen: Seen) -> str:
    """What the server does not say of itself, and what is not noticed because of it; empty where it says all."""
    if seen.system_identifier is None:
        return (
            "the server does not show pg_control_system(): neither a failover nor a move to another server is noticed"
        )
    if seen.timeline is None or seen.wal_position is None:
        return "the server does not show its WAL's timeline and position: a failover is not noticed"
    return ""


def _other_owner(recorded: Recorded, ours: Ours) -> Foreign | None:
    if recorded.live is not ours.live:
        return Foreign(
            f"this database is for {_kind(recorded.live)} payments, and this worker makes {_kind(ours.live)} ones",
            "set BILLING_PORTONE_LIVE, or give it another database: they never share one, for a copy of a live one "
            "would use up its payment ids",
        )
    if recorded.deployment != ours.deployment:
        return Foreign(
            f"this database is deployment {recorded.deployment}'s, and this worker is of {ours.deployment}",
            f"set BILLING_DEPLOYMENT, or BILLING_DATABASE_URL; {ADOPT}",
        )
    return None


def _other_place(recorded: Recorded, seen: Seen, before: Seen | None) -> Foreign | None:
    known = recorded.system_identifier
    # What was not written down may still have been seen.
    if known is None and before is not None:
        known = before.system_identifier
    if _differ(known, seen.system_identifier):
        return Foreign("this database was copied to another server", ADOPT)
    if recorded.database_oid != seen.database_oid:
        return Foreign("this database is a copy of one on the same server", ADOPT)
    return None


def _why_commits_may_be_lost(recorded: Recorded, seen: Seen, wal_seen: int | None) -> str:
    if _differ(recorded.timeline, seen.timeline):
        return f"the server's timeline is {seen.timeline}, it was {recorded.timeline}"
    if _says_more(recorded, seen):
        return "the server says more of itself than is written down: a failover until now was not noticed"
    if behind(seen, wal_seen):
        return "the server's WAL ends before what this worker has seen of it: an older copy was restored"
    return ""


def _says_more(recorded: Recorded, seen: Seen) -> bool:
    """Whether something shows itself now by which a failover before could have been told, and could not be."""
    pairs = ((recorded.system_identifier, seen.system_identifier), (recorded.timeline, seen.timeline))
    return any(old is None and new is not None for old, new in pairs)


def _differ(one: int | None, other: int | None) -> bool:
    """Whether both are known and are not the same."""
    return one is not None and other is not None and one != other


def _kind(live: bool) -> str:
    return "live" if live else "test"
