"""A crew of a rig that only runs on a database that its sentry has accepted, put together as the daemon does it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from structlog.testing import capture_logs

from billing_worker.billing.deployment import Ours
from billing_worker.store import db, deployment
from billing_worker.store.deployment import Acceptance
from billing_worker.workers.gate import ClosedBy
from billing_worker.workers.sentry import Sentry
from tests.conftest import DatabaseUrls
from tests.rig import Crew, Rig

OURS = Ours("main", live=False)


@dataclass(slots=True)
class Guarded:
    """A crew that only runs on a database that its sentry has accepted."""

    crew: Crew
    sentry: Sentry
    acceptance: Acceptance
    database: db.Database

    async def watch(self, rig: Rig) -> list[str]:
        """One pass of the sentry; what it said at warning and above."""
        with capture_logs() as lines:
            await self.sentry.run_once(rig.clock.now())
        return [line["event"] for line in lines if line["log_level"] in {"warning", "error"}]

    def closed_by(self) -> ClosedBy | None:
        closed = self.crew.gate.closed()
        return closed.by if closed else None


async def recorded(rig: Rig) -> list[Any]:
    """The rows of billing.deployment, the oldest first."""
    return list(await rig.admin.fetch("SELECT * FROM billing.deployment ORDER BY version"))


def alone(url: str) -> AbstractAsyncContextManager[db.Lone]:
    return db.alone(url, application_name="billing-worker test", command_seconds=20)


@asynccontextmanager
async def guarded(rig: Rig, urls: DatabaseUrls, name: str = "guarded", ours: Ours = OURS) -> AsyncIterator[Guarded]:
    """A guarded crew, put together as the daemon does it; its sentry has not looked yet."""
    acceptance = Acceptance(rig.clock.monotonic)
    async with alone(urls.worker_url) as one:
        acceptance.accept(await deployment.see(one), asked_at=rig.clock.monotonic())
    pools = await db.connect(
        urls.worker_url, db.PoolLimits(), application_name="billing-worker test", admit=acceptance.admit
    )
    acceptance.refuse("not written down yet")
    crew = rig.hire(name, database=pools, acceptance=acceptance)
    sentry = Sentry(
        lambda: alone(urls.worker_url),
        acceptance,
        crew.gate,
        rig.clock,
        crew.metrics,
        ours=ours,
        actor=name,
        look_again=pools.look_again,
    )
    try:
        yield Guarded(crew, sentry, acceptance, pools)
    finally:
        await pools.close()
