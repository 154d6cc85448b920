"""The sentry: which database this is, and whether the schema's last lines stand.

Every pass looks through a new connection, as the pools' next ones would be, and judges what it sees before any of them
may run a statement there. After a failover it writes down since when commits may be missing; every worker then looks
at PortOne before it sends what was due by then. It never moves billing to another database: a person does.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import structlog

from billing_worker.billing.deployment import (
    FailedOver,
    Foreign,
    Judgement,
    New,
    Ours,
    Recorded,
    Replica,
    Same,
    Seen,
    judge,
    same_place,
    unsaid,
)
from billing_worker.clock import Clock
from billing_worker.store import deployment, last_lines
from billing_worker.store.db import Executor, NoPrimaryError, StatementRefusedError
from billing_worker.store.deployment import Acceptance
from billing_worker.telemetry import Metrics
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.sweep import Counts

log = structlog.get_logger()

# Two questions to the catalogue. An index is dropped by hand, and rarely; until the look, the one payment_id of a cycle
# holds at PortOne.
LAST_LINES_SECONDS = 300.0

REPLICA = "the server is a replica: point BILLING_DATABASE_URL at the primary"

Alone = Callable[[], AbstractAsyncContextManager[Executor]]


class Sentry:
    """Stands between the worker and whatever answers at its database's address."""

    def __init__(
        self,
        alone: Alone,
        acceptance: Acceptance,
        gate: SendingGate,
        clock: Clock,
        metrics: Metrics,
        *,
        ours: Ours,
        actor: str,
        look_again: Callable[[], Awaitable[None]],
    ) -> None:
        self._alone = alone
        self._acceptance = acceptance
        self._gate = gate
        self._clock = clock
        self._metrics = metrics
        self._ours = ours
        self._actor = actor
        self._look_again = look_again
        self._lines_looked_at: float | None = None
        self._missing: list[str] = []
        self._said = ""

    def not_ready(self) -> dict[str, str]:
        """Why nothing is sent from here, as far as the database's identity and last lines go."""
        moved = self._acceptance.refusal()
        return ({"deployment": moved} if moved else {}) | (
            {"schema": "; ".join(self._missing)} if self._missing else {}
        )

    async def run_once(self, now: datetime) -> Counts:  # noqa: ARG002 - the primary's clock stamps what is recorded
        """Judge the database, and look at the last lines when it is time."""
        asked_at = self._clock.monotonic()
        try:
            async with self._alone() as db:
                await self._judge(db, asked_at)
        except NoPrimaryError as error:
            self._turn_away(str(error))
        except StatementRefusedError as error:
            # Such as a database that has none of our tables.
            self._turn_away(f"what is written down of the database cannot be read: {error}")
        return Counts()

    async def _judge(self, db: Executor, asked_at: float) -> None:
        # Positions that others learn while we ask are not held against an answer that is older than they are.
        wal_seen = self._acceptance.wal_seen
        seen = await deployment.see(db)
        recorded = await deployment.read_deployment(db)
        judgement = judge(recorded, seen, self._ours, wal_seen=wal_seen, before=self._acceptance.known)
        if isinstance(judgement, New | FailedOver) and await self._write_down(db, seen, recorded, judgement):
            recorded = await deployment.read_deployment(db)
            judgement = judge(recorded, seen, self._ours)
        match judgement:
            case Same():
                await self._accept(db, seen, recorded, asked_at)
            case Replica():
                self._turn_away(REPLICA)
            case Foreign():
                self._turn_away(f"{judgement.reason}: {judgement.remedy}")
            case New() | FailedOver():
                pass  # somebody else has written it down meanwhile, and the next pass judges by that

    async def _write_down(self, db: Executor, seen: Seen, recorded: Recorded | None, judgement: Judgement) -> bool:
        # A database with cycles and without a row was restored to a moment before there was one.
        reason, look_first = "first used", isinstance(judgement, FailedOver) or await deployment.has_cycles(db)
        if isinstance(judgement, FailedOver):
            reason = judgement.reason
            self._acceptance.refuse(reason)
            self._metrics.database_failovers.inc()
            log.error("database.failed_over", reason=reason)
        return await deployment.record_deployment(
            db, seen, self._ours, after=recorded, look_first=look_first, actor=self._actor, reason=reason
        )

    async def _accept(self, db: Executor, seen: Seen, recorded: Recorded | None, asked_at: float) -> None:
        # First what is to be looked at, then the connections that could send: never the other way round.
        self._gate.look_first(before=recorded.look_first_before if recorded else None)
        before = self._acceptance.accepted
        if before is not None and same_place(before, seen):
            self._acceptance.confirm(seen, asked_at=asked_at)
            await self._look_at_lines(db)
            return
        self._acceptance.refuse("nobody has looked at the last lines of this database yet")
        self._lines_looked_at = None
        await self._look_at_lines(db)
        self._acceptance.accept(seen, asked_at=asked_at)
        await self._look_again()
        self._said = ""
        log.info("database.accepted", timeline=seen.timeline, system_identifier=seen.system_identifier)
        if silence := unsaid(seen):
            log.warning("database.unsaid", what=silence)

    def _turn_away(self, why: str) -> None:
        self._acceptance.refuse(why)
        if why != self._said:
            log.error("database.refused", why=why)
            self._said = why

    async def _look_at_lines(self, db: Executor) -> None:
        now = self._clock.monotonic()
        if self._lines_looked_at is not None and now - self._lines_looked_at < LAST_LINES_SECONDS:
            return
        missing = await last_lines.missing_last_lines(db)
        # What is missing is looked at every time until it is mended, so that sending goes on soon after.
        self._lines_looked_at = None if missing else now
        if missing != self._missing:
            for fault in missing:
                log.error("schema.unguarded", what=fault)
        self._missing = missing
        self._gate.unguarded("; ".join(missing))
