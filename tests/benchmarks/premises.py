"""What the benchmarks stand on: Postgres with fsync on, a simulator of its own program, a worker as users start it.

All of them are on one machine and share its cores with whoever measures. Nothing here measures.
"""

import asyncio
import contextlib
import datetime as dt
import json
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.deployment import Ours
from billing_worker.billing.model import Customer
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit, due_at, nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.simulator import server
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.store import db, deployment, migrate, subscriptions

API_SECRET = "benchmark-secret-0123456789"
STORE_ID = "store-benchmark"
START_SECONDS_MAX = 30.0
POLL_SECONDS = 0.25

Planned = tuple[PlannedSubscription, dt.datetime]


@dataclass(frozen=True, slots=True)
class Running:
    """A worker that runs, and what it says."""

    program: psutil.Process
    log: Path

    async def webhook_address(self) -> str:
        """Where it takes webhooks, once it does."""
        async with asyncio.timeout(START_SECONDS_MAX):
            while True:
                for line in self.log.read_text(encoding="utf-8").splitlines():
                    if "webhooks.listening" in line:
                        return str(json.loads(line)["address"])
                await asyncio.sleep(POLL_SECONDS)

    @property
    def rss_mib(self) -> float:
        """The memory that it holds now."""
        return float(self.program.memory_info().rss / 2**20)

    @property
    def cpu_seconds(self) -> float:
        """The processor time that it has used."""
        return cpu_seconds(self.program)


async def migrate_and_add(dsn: str, planned: Sequence[Planned]) -> None:
    """A database as one that a worker has used before, with these subscriptions."""
    await migrate.apply_migrations(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE ROLE bench LOGIN PASSWORD 'bench' IN ROLE billing_worker")
    await connection.close()
    database = await db.connect(dsn, db.PoolLimits(), application_name="benchmark")
    # As a worker that was here before the cycles has written it; else each would be asked about before it is sent.
    ours, seen = Ours("main", live=False), await deployment.see(database.claims)
    await deployment.record_deployment(
        database.claims, seen, ours, after=None, look_first=False, actor="benchmark", reason="first used"
    )
    for start in range(0, len(planned), 1000):
        await subscriptions.add_subscriptions(database.claims, planned[start : start + 1000])
    await database.close()


def owed_since_yesterday(count: int, now: dt.datetime) -> list[Planned]:
    """So many subscriptions whose first month is due."""
    cadence = Cadence(PeriodUnit.MONTH, 1, now.date() - dt.timedelta(days=1), "Asia/Seoul", dt.time(10, 0))
    return [(plan(number, cadence), due_at(cadence, nth_period(cadence, 1))) for number in range(count)]


def plan(number: int, cadence: Cadence, *, mode: Mode = Mode.CHARGE) -> PlannedSubscription:
    """A subscription whose card is good."""
    return PlannedSubscription(
        business_key=f"subscription-{number:06d}",
        customer=Customer(f"customer-{number:06d}", "홍길동", "01012345678"),
        billing_key=BillingKey(f"bk-ok-{number:06d}-0123456789abcdef"),
        order_name="월간 이용권 2026년 11월",
        price=Money(9900, "KRW"),
        cadence=cadence,
        first_cycle_number=1,
        mode=mode,
    )


@contextlib.contextmanager
def simulator(latency_ms: float = 0.0) -> Iterator[str]:
    """The address of a PortOne whose answers take so long."""
    options = SimulatorOptions(api_secret=API_SECRET, store_id=STORE_ID, latency_ms=latency_ms)
    context = multiprocessing.get_context("spawn")
    urls = context.SimpleQueue()
    process = context.Process(target=_serve, args=(options, urls), daemon=True)
    process.start()
    try:
        yield urls.get()
    finally:
        process.terminate()
        process.join()


def _serve(options: SimulatorOptions, urls: "multiprocessing.SimpleQueue[str]") -> None:
    server.run(options, port=0, ready=urls.put)


@contextlib.contextmanager
def worker(postgres: EmbeddedPostgres, portone_url: str, **settings: str) -> Iterator[Running]:
    """`billing-worker run` as shipped, but for these settings."""
    parts = urlsplit(postgres.url())
    given = {
        "DATABASE_URL": parts._replace(netloc=f"bench:bench@{parts.netloc.rpartition('@')[2]}").geturl(),
        "PORTONE_BASE_URL": portone_url,
        "PORTONE_API_SECRET": API_SECRET,
        "PORTONE_STORE_ID": STORE_ID,
        "PORTONE_LIVE": "false",
        "HTTP_ADDRESS": "127.0.0.1:0",
        **settings,
    }
    environ = {"PATH": os.environ["PATH"]} | {f"BILLING_{name}": value for name, value in given.items()}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "worker.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "billing_worker", "run"], env=environ, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            yield Running(psutil.Process(process.pid), path)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


async def until_counted(connection: asyncpg.Connection, query: str, at_least: int, *, seconds_max: float) -> None:
    """Wait until a count has come that far."""
    async with asyncio.timeout(seconds_max):
        while True:
            if await connection.fetchval(query) >= at_least:
                return
            await asyncio.sleep(POLL_SECONDS)


def cpu_seconds(program: psutil.Process) -> float:
    """The processor time of one program."""
    times = program.cpu_times()
    return float(times.user + times.system)


def postgres_seconds(postgres: EmbeddedPostgres) -> float:
    """The processor time of a server and all of its backends."""
    parent = psutil.Process(postgres.pid)
    return sum(cpu_seconds(one) for one in [parent, *parent.children(recursive=True)])


def quantiles(seconds: Iterable[float]) -> str:
    """The median, the 99th of a hundred and the longest."""
    ordered = sorted(seconds)
    if not ordered:
        return "none"
    p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
    return f"p50 {_span(statistics.median(ordered))}, p99 {_span(p99)}, longest {_span(ordered[-1])}"


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1000:,.1f} ms"


def load() -> str:
    """What else the machine had to do, at the moment that it is asked."""
    one, five, _ = os.getloadavg()
    return f"load average {one:.1f} (five minutes: {five:.1f}) on {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
