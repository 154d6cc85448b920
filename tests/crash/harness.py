"""A stage: a migrated database, a simulated PortOne, subscriptions that are due, and workers that come and go."""

import itertools
import os
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from billing_worker.billing import periods
from billing_worker.billing.periods import PeriodUnit
from billing_worker.store import attempts, db, subscriptions
from tests.builders import a_cadence, a_plan, eventually
from tests.conftest import DatabaseUrls
from tests.crash import oracle
from tests.crash.doomed_worker import Doom, Poison
from tests.crash.simulated import API_SECRET, STORE_ID, Simulated
from tests.crash.workers import ForkedWorker, InstalledWorker, Worker

# A worker in a hurry: the smallest values that the relations between the settings allow beside a loopback PortOne.
HURRIED = {
    "DATABASE_COMMAND_TIMEOUT_SECONDS": "1",
    "PORTONE_CONNECT_SECONDS": "0.5",
    "PORTONE_READ_SECONDS": "1",
    "PORTONE_LOOK_READ_SECONDS": "0.5",
    "SEND_WINDOW_SECONDS": "1",
    "ATTEMPT_LEASE_SECONDS": "15.6",
    "CLAIM_LEASE_SECONDS": "2.1",
    "SHUTDOWN_GRACE_SECONDS": "13.6",
    "SWEEP_SECONDS": "0.1",
    "ASK_FIRST_SECONDS": "0.2",
    "ASK_WIDEST_SECONDS": "1",
    "VERIFY_AFTER_SECONDS": "0.5",
    "RECHECK_AFTER_SECONDS": "1,2",
    "DUNNING_RETRY_DAYS": "0.00001,0.00002,0.00003",
    "CHANNEL_PAUSE_SECONDS": "0.5",
    "REFUSED_RETRY_SECONDS": "0.5",
    "PORTONE_REQUESTS_PER_SECOND": "1000",
    "PORTONE_BURST": "200",
    "PORTONE_LIVE": "false",
    "HTTP_ADDRESS": "127.0.0.1:0",
}

_AT_WORK = """
SELECT (SELECT count(*) FROM billing.subscriptions WHERE status = 'active' AND next_due_at <= clock_timestamp()) AS to_renew,
       (SELECT count(*) FROM billing.cycles WHERE status IN ('due', 'collecting')) AS to_collect,
       (SELECT count(*) FROM billing.attempts WHERE look_at IS NOT NULL) AS to_ask
"""


class Stage:
    """Everything that one test needs."""

    def __init__(self, database: DatabaseUrls, portone: Simulated, logs: Path) -> None:
        self.database = database
        self.portone = portone
        self._logs = logs
        self._numbers = itertools.count(1)
        self._workers: list[Worker] = []

    def start(self, doom: Doom | Poison | None = None, **changes: str) -> ForkedWorker:
        """A worker that is quick to start; it is named w1, w2, …"""
        number = next(self._numbers)
        worker = ForkedWorker(self._environ(f"w{number}", changes), self._logs / f"w{number}.log", doom)
        self._workers.append(worker)
        return worker

    def start_installed(self, **changes: str) -> InstalledWorker:
        """A worker as an operator starts it."""
        number = next(self._numbers)
        worker = InstalledWorker(self._environ(f"w{number}", changes), self._logs / f"w{number}.log")
        self._workers.append(worker)
        return worker

    def kill_all(self) -> None:
        """SIGKILL for every worker that still lives."""
        for worker in self._workers:
            worker.kill()

    async def add(self, billing_keys: Iterable[str], *, days_behind: int = 0) -> list[str]:
        """One subscription for each billing key.

        Each owes one monthly period, or with days_behind so many daily ones. Returns the business keys.
        """
        today = datetime.now(UTC).date()
        unit = PeriodUnit.DAY if days_behind else PeriodUnit.MONTH
        cadence = a_cadence(unit, anchor_on=today - timedelta(days=days_behind or 1))
        due_at = periods.due_at(cadence, periods.nth_period(cadence, 1))
        plans = [(a_plan(f"sub-{key}", key, cadence=cadence), due_at) for key in billing_keys]
        store = await self._store()
        try:
            await subscriptions.add_subscriptions(store.claims, plans)
        finally:
            await store.close()
        return [plan.business_key for plan, _ in plans]

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows, seen by a superuser."""
        connection = await asyncpg.connect(self.database.admin_url, timeout=10)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def cycle(self, business_key: str) -> dict[str, Any]:
        """The first cycle of a subscription; empty before it was opened."""
        rows = await self.fetch(
            "SELECT c.* FROM billing.cycles c JOIN billing.subscriptions s USING (shard, subscription_id) "
            "WHERE s.business_key = $1 AND c.cycle_number = s.first_cycle_number",
            business_key,
        )
        return dict(rows[0]) if rows else {}

    async def attempts(self, business_key: str) -> list[dict[str, Any]]:
        """Every attempt of a subscription, oldest first."""
        rows = await self.fetch(
            "SELECT a.* FROM billing.attempts a JOIN billing.subscriptions s USING (shard, subscription_id) "
            "WHERE s.business_key = $1 ORDER BY a.attempt_id",
            business_key,
        )
        return [dict(row) for row in rows]

    async def ask_now(self) -> None:
        """Have every open attempt looked at next, as an operator can, instead of waiting for its lease to end.

        Only where its worker is dead.
        """
        store = await self._store()
        try:
            for row in await self.fetch("SELECT payment_id FROM billing.attempts WHERE status = 'open'"):
                await attempts.look_soon(store.claims, row["payment_id"], now=datetime.now(UTC))
        finally:
            await store.close()

    async def rests(self, *, seconds_max: float = 30.0) -> None:
        """Wait until nothing is due, nothing is open and nobody is to be asked about."""

        async def at_rest() -> bool:
            return not any((await self.fetch(_AT_WORK))[0].values())

        await eventually(at_rest, seconds_max=seconds_max)

    async def ends_true(self, *, seconds_max: float = 30.0) -> None:
        """Wait until all is at rest; then PortOne's truth is the ledger's, row by row."""
        await self.rests(seconds_max=seconds_max)
        assert oracle.faults(await oracle.read_books(self.portone, self.database)) == {}

    def _environ(self, name: str, changes: dict[str, str]) -> dict[str, str]:
        given = {
            "DATABASE_URL": self.database.worker_url,
            "PORTONE_BASE_URL": self.portone.url,
            "PORTONE_API_SECRET": API_SECRET,
            "PORTONE_STORE_ID": STORE_ID,
            "WORKER_NAME": name,
            **HURRIED,
            **changes,
        }
        return {"PATH": os.environ["PATH"]} | {f"BILLING_{setting}": value for setting, value in given.items()}

    async def _store(self) -> db.Database:
        return await db.connect(self.database.worker_url, db.PoolLimits(1, 1), application_name="crash tests")


def mixed_keys(count: int, kinds: Sequence[tuple[str, int]], chance: random.Random) -> list[str]:
    """Billing keys of several behaviours, each as often as its weight says, in random order."""
    names = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds], k=count)
    return [f"bk-{name}-{number}" for number, name in enumerate(names)]


def days_between(first: date, last: date) -> int:
    """How many days lie between two dates."""
    return (last - first).days
