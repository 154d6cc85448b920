"""A stage: a migrated database, a simulated PortOne, subscriptions that are due, and workers that come and go."""

import asyncio
import contextlib
import itertools
import os
import random
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from billing_worker.billing import periods
from billing_worker.billing.periods import PeriodUnit
from billing_worker.store import db, subscriptions
from tests.builders import a_cadence, a_plan, eventually
from tests.conftest import DatabaseUrls
from tests.crash import oracle
from tests.crash.books import read_books
from tests.crash.doomed_worker import Doom, Poison, WrongClocks
from tests.crash.servers import AWAY, RECOVERY_SECONDS_MAX
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
    "VERIFY_AFTER_SECONDS": "0.2",
    "RECHECK_AFTER_SECONDS": "1",
    "DUNNING_RETRY_DAYS": "0.00001,0.00002,0.00003",
    "CHANNEL_PAUSE_SECONDS": "0.5",
    "REFUSED_RETRY_SECONDS": "0.5",
    "PORTONE_REQUESTS_PER_SECOND": "1000",
    "PORTONE_BURST": "200",
    "PORTONE_LIVE": "false",
    # Bookings are made seconds before their time: nearer than the first of these a period is charged when it is due.
    "SCHEDULE_LEAD_SECONDS": "3600",
    "SCHEDULE_NEAR_SECONDS": "4",
    "SCHEDULE_GRACE_SECONDS": "0.3",
    "SCHEDULE_LOST_AFTER_SECONDS": "3",
    "HTTP_ADDRESS": "127.0.0.1:0",
}

_AT_WORK = """
SELECT (SELECT count(*) FROM billing.subscriptions
        WHERE status = 'active' AND next_due_at <= clock_timestamp()) AS to_renew,
       (SELECT count(*) FROM billing.cycles WHERE status = 'due') AS due,
       (SELECT count(*) FROM billing.cycles WHERE status = 'collecting') AS collecting,
       (SELECT count(*) FROM billing.attempts WHERE look_at IS NOT NULL) AS to_ask,
       (SELECT count(*) FROM billing.webhook_inbox WHERE read_at IS NULL) AS to_read
"""

_NOT_YET = """
SELECT count(*) AS left
FROM billing.attempts WHERE status = 'open' AND (schedule_id IS NULL OR revoke_reason IS NOT NULL)
UNION ALL
SELECT count(*) FROM billing.cycles WHERE status = 'due' AND claimable_at <= due_at
UNION ALL
SELECT count(*) FROM billing.subscriptions WHERE status = 'active' AND next_due_at <= $1
"""

_STUCK = """
SELECT a.payment_id, a.attempt_number, s.billing_key, c.status AS cycle, a.opened_at::text, a.last_sent_at::text,
       a.looks, a.look_epoch, (a.look_at - clock_timestamp())::text AS look_in,
       ARRAY(SELECT o.transaction_id FROM billing.attempts o
             WHERE o.shard = a.shard AND o.cycle_id = a.cycle_id AND o.attempt_id <> a.attempt_id) AS of_others
FROM billing.attempts a
JOIN billing.cycles c USING (shard, cycle_id)
JOIN billing.subscriptions s ON s.shard = a.shard AND s.subscription_id = a.subscription_id
WHERE a.status = 'open' ORDER BY a.attempt_id LIMIT 3
"""

_LOCK_HEADS = """
INSERT INTO billing.ledger_heads (shard, subscription_id, sequence, entry_hash)
SELECT shard, subscription_id, 0, ''::bytea FROM billing.subscriptions
ON CONFLICT (shard, subscription_id) DO UPDATE SET sequence = ledger_heads.sequence
"""


class Stage:
    """Everything that one test needs."""

    def __init__(self, database: DatabaseUrls, portone: Simulated, logs: Path, *, clocks: Path | None = None) -> None:
        self.database = database
        self.portone = portone
        self._logs = logs
        self._clocks = clocks
        self.settings: dict[str, str] = {}  # of every worker from now on, beside what each is given
        self._ahead = timedelta()
        self._numbers = itertools.count(1)
        self._workers: list[Worker] = []
        self._connection: Any = None

    def start(self, doom: Doom | Poison | None = None, **changes: str) -> ForkedWorker:
        """A worker that is quick to start; it is named w1, w2, …"""
        number = next(self._numbers)
        worker = ForkedWorker(
            self._environ(f"w{number}", changes), self._logs / f"w{number}.log", doom, clocks=self._clocks
        )
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

    @property
    def living(self) -> Sequence[Worker]:
        """The workers that have not ended."""
        return [worker for worker in self._workers if worker.exit_code is None]

    @property
    def now(self) -> datetime:
        """The time of this stage: of PortOne, and of every worker that is started from now on."""
        return datetime.now(UTC) + self._ahead

    async def pass_time(self, span: timedelta) -> None:
        """Let so much time be over, for PortOne and for whoever reads a clock that somebody may set."""
        assert self._clocks is not None, "its workers read no clock that can be moved"
        self._ahead += span
        seconds = self._ahead.total_seconds()
        WrongClocks(self._clocks).set(host_seconds=seconds, primary_seconds=seconds)
        await self.portone.advance(span.total_seconds(), ahead_seconds=seconds)

    async def command(self, *words: str) -> str:
        """Run `billing-worker` as a person would, and give what it says. It must end well."""
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "billing_worker",
            *words,
            env=self._environ("operator", {}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await program.communicate())[0].decode()
        assert program.returncode == 0, said
        return said

    async def add(self, billing_keys: Iterable[str], *, days_behind: int = 0) -> list[str]:
        """One subscription for each billing key.

        Each owes one monthly period, or with days_behind so many daily ones. Returns the business keys.
        """
        today = datetime.now(UTC).date()
        unit = PeriodUnit.DAY if days_behind else PeriodUnit.MONTH
        cadence = a_cadence(unit, anchor_on=today - timedelta(days=days_behind or 1))
        due_at = periods.due_at(cadence, periods.nth_period(cadence, 1))
        plans = [(a_plan(f"sub-{key}", key, cadence=cadence), due_at) for key in billing_keys]
        store = await self.store()
        try:
            await subscriptions.add_subscriptions(store.claims, plans)
        finally:
            await store.close()
        return [plan.business_key for plan, _ in plans]

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows, seen by a superuser. The server may have been restarted since the last ones, or be recovering now."""

        async def answered() -> tuple[list[asyncpg.Record]] | None:
            try:
                return (await self._fetch(query, *arguments),)
            except AWAY:
                await self.hang_up()
                return None

        return (await eventually(answered, seconds_max=RECOVERY_SECONDS_MAX))[0]

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        if self._connection is None:
            self._connection = await asyncpg.connect(self.database.admin_url, timeout=10)
        rows: list[asyncpg.Record] = await self._connection.fetch(query, *arguments)
        return rows

    async def hang_up(self) -> None:
        """Let go of the stage's own connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

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
        """Let every lease be over, so that every attempt that waits for a look is looked at now.

        Only where its worker is dead or will not send it. An operator's wish leaves a lease alone, so this is no wish.
        """
        await self.fetch("UPDATE billing.attempts SET look_at = clock_timestamp() WHERE look_at IS NOT NULL")

    @contextlib.asynccontextmanager
    async def ledger_locked(self) -> AsyncIterator[None]:
        """Keep everybody from writing an entry, and so from ending the statement that an intent or a verdict is."""
        connection = await asyncpg.connect(self.database.admin_url, timeout=10)
        try:
            # The head of each chain, there already or not; a lock on the table would stop the statement's parsing.
            await connection.execute("BEGIN; " + _LOCK_HEADS)
            yield
            await connection.execute("ROLLBACK")
        finally:
            await connection.close()

    async def waiting_writer(self, *, seconds_max: float = 20) -> int:
        """The backend that waits for the lock on the ledger, once one does."""

        async def waiting() -> int | None:
            rows = await self.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return rows[0]["pid"] if rows else None

        return await eventually(waiting, seconds_max=seconds_max)

    async def writer_gone(self, pid: int) -> None:
        """Wait until that backend has ended its statement, or itself."""

        async def gone() -> bool:
            rows = await self.fetch("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
            return not rows or rows[0]["state"] != "active"

        await eventually(gone)

    async def end_backend(self, pid: int) -> None:
        """End a backend, and with it what it was writing."""
        await self.fetch("SELECT pg_terminate_backend($1, 5000)", pid)

    async def due_now(self) -> None:
        """Let every lease and every wait be over: only where all workers are dead, for it spares nothing but time."""
        await self.ask_now()
        await self.fetch("UPDATE billing.cycles SET claimable_at = clock_timestamp() WHERE status = 'due'")

    async def all_claimed(self, *, seconds_max: float = 30.0) -> None:
        """Wait until nothing is due and nothing is on its way to PortOne."""

        async def quiet() -> bool:
            rows = await self.fetch(_AT_WORK)
            return not (rows[0]["to_renew"] or rows[0]["due"]) and not await self.portone.in_flight(0, 0)

        await eventually(quiet, seconds_max=seconds_max)

    async def nothing_to_do(self, *, seconds_max: float = 20.0) -> None:
        """Wait until all that is due within the lead is booked and nothing is to be taken back."""

        async def nothing_left() -> bool:
            return not any(row["left"] for row in await self.fetch(_NOT_YET, self.now + timedelta(minutes=50)))

        await eventually(nothing_left, seconds_max=seconds_max)

    async def rests(self, *, seconds_max: float = 30.0) -> None:
        """Wait until nothing is due, nothing is open and nobody is to be asked about."""

        async def at_rest() -> bool:
            return not any((await self.fetch(_AT_WORK))[0].values())

        await eventually(at_rest, seconds_max=seconds_max)

    async def died_before_rest(self, worker: Worker) -> bool:
        """Whether a worker died with work left. False once nothing is left to collect."""

        async def decided() -> tuple[bool] | None:
            if worker.exit_code is not None:
                return (True,)
            rows = await self.fetch(_AT_WORK)
            at_rest = not (rows[0]["to_renew"] or rows[0]["due"] or rows[0]["collecting"])
            return (False,) if at_rest else None

        return (await eventually(decided, seconds_max=20))[0]

    async def at_work(self) -> dict[str, int]:
        """How much of each kind is left to do."""
        return {kind: left for kind, left in (await self.fetch(_AT_WORK))[0].items() if left}

    async def stuck(self) -> list[dict[str, Any]]:
        """Attempts that are open, beside every try that PortOne has on their payments."""
        rows = [dict(row) for row in await self.fetch(_STUCK)]
        return [row | {"tries": (await self.portone.payment(row["payment_id"]))["transactions"]} for row in rows]

    async def ends_true(self, *, seconds_max: float = 30.0) -> None:
        """Wait until all is at rest; then PortOne's truth is the ledger's, row by row."""
        await self.rests(seconds_max=seconds_max)
        assert oracle.faults(await read_books(self.portone, self.database)) == {}

    def _environ(self, name: str, changes: dict[str, str]) -> dict[str, str]:
        given = {
            "DATABASE_URL": self.database.worker_url,
            "PORTONE_BASE_URL": self.portone.url,
            "PORTONE_API_SECRET": API_SECRET,
            "PORTONE_STORE_ID": STORE_ID,
            "WORKER_NAME": name,
            **HURRIED,
            **self.settings,
            **changes,
        }
        return {"PATH": os.environ["PATH"]} | {f"BILLING_{setting}": value for setting, value in given.items()}

    async def store(self) -> db.Database:
        """Pools of the worker's role."""
        return await db.connect(self.database.worker_url, db.PoolLimits(1, 1), application_name="crash tests")


def mixed_keys(count: int, kinds: Sequence[tuple[str, int]], chance: random.Random) -> list[str]:
    """Billing keys of several behaviours, each as often as its weight says, in random order."""
    names = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds], k=count)
    return [f"bk-{name}-{number}" for number, name in enumerate(names)]
