"""How many charges a second one worker makes, and what a charge costs it, beside the bare HTTP client in the same run.

    .venv/bin/python -m tests.benchmarks.charges --latency-ms 0 50 300 --due 20000

Postgres runs with fsync on and the simulator in a process of its own, all on this machine, so they share its cores.
Compare the ratios within one run; the absolute figures are this machine's and noisy.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import uvloop

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.deployment import Ours
from billing_worker.billing.model import Customer
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit, due_at, nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.clock import SystemClock
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.simulator import server
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.store import db, deployment, migrate, subscriptions
from billing_worker.workers.renewer import Renewer
from tests.benchmarks.http_client import measure_raw_client

API_SECRET = "benchmark-secret-0123456789"
STORE_ID = "store-benchmark"
IN_FLIGHT = 500
RUN_SECONDS_MAX = 300.0
POLL_SECONDS = 0.25

FUTURE_CYCLES = """
WITH filler AS (
    INSERT INTO billing.subscriptions (shard, business_key, customer_id, billing_key, order_name, amount_minor,
                                       anchor_on, next_cycle_number, next_due_at)
    SELECT n % 64, 'future-' || n, 'c', 'bk-ok-future', 'later', 9900, current_date, 2, now() + interval '40 days'
    FROM generate_series(1, $1::integer) n
    RETURNING shard, subscription_id, business_key
)
INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor,
                            currency, order_name, store_id, payment_id, claimable_at)
SELECT shard, subscription_id, 1, current_date + 20, current_date + 50, now() + interval '20 days', 9900, 'KRW',
       'later', 'store-benchmark', 'rb1' || substr(encode(sha256(convert_to(business_key, 'UTF8')), 'hex'), 1, 27),
       now() + interval '20 days'
FROM filler
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to."""

    charges_per_second: float
    cpu_us_per_charge: float
    postgres_cpu_us_per_charge: float


def main() -> None:
    """Print one row a latency."""
    arguments = _arguments()
    print(f"{arguments.due:,} due, {arguments.future:,} future, {IN_FLIGHT} in flight, {arguments.runs} runs, fsync on")
    print("latency | charges/s median [min–max] | worker µs | client alone: POST/s | µs | ratio of CPU | Postgres µs")
    for latency_ms in arguments.latency_ms:
        runs = [run_once(arguments, latency_ms) for _ in range(arguments.runs)]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            raw = runner.run(measure_raw_client(latency_ms=latency_ms, in_flight=IN_FLIGHT, posts=arguments.due))
        rates = [run.charges_per_second for run in runs]
        cpu = statistics.median(run.cpu_us_per_charge for run in runs)
        print(
            f"{latency_ms:4.0f} ms | {statistics.median(rates):,.0f} [{min(rates):,.0f}–{max(rates):,.0f}] "
            f"| {cpu:,.0f} | {raw.posts_per_second:,.0f} | {raw.cpu_us_per_post:,.0f} "
            f"| {cpu / raw.cpu_us_per_post:.2f} "
            f"| {statistics.median(run.postgres_cpu_us_per_charge for run in runs):,.0f}",
            flush=True,
        )


def run_once(arguments: argparse.Namespace, latency_ms: float) -> Figures:
    """Collect everything that is due with one worker, and measure it from the first intent to the last paid entry."""
    due: int = arguments.due
    with EmbeddedPostgres(durable=True) as postgres, _simulator(latency_ms) as url:
        asyncio.run(_prepare(postgres.url(), due, arguments.future))
        worker_url = urlsplit(postgres.url())
        worker_url = worker_url._replace(netloc=f"bench:bench@{worker_url.netloc.rpartition('@')[2]}")
        with _worker(worker_url.geturl(), url) as worker:
            return asyncio.run(_measured(postgres, worker, due))


async def _measured(postgres: EmbeddedPostgres, worker: psutil.Process, due: int) -> Figures:
    connection = await asyncpg.connect(postgres.url())
    try:
        began = await _cpu_when(connection, worker, 1)
        postgres_began = _postgres_seconds(postgres)
        ended = await _cpu_when(connection, worker, due)
        postgres_ended = _postgres_seconds(postgres)
        seconds = await connection.fetchval(
            "SELECT extract(epoch FROM max(recorded_at) FILTER (WHERE kind = 'paid') - min(recorded_at))::float "
            "FROM billing.ledger"
        )
    finally:
        await connection.close()
    return Figures(due / seconds, (ended - began) / due * 1e6, (postgres_ended - postgres_began) / due * 1e6)


async def _cpu_when(connection: asyncpg.Connection, worker: psutil.Process, paid: int) -> float:
    """The worker's CPU seconds at the moment that many cycles are paid."""
    async with asyncio.timeout(RUN_SECONDS_MAX):
        while await connection.fetchval("SELECT count(*) FROM billing.attempts WHERE status = 'paid'") < paid:
            if not worker.is_running():
                raise RuntimeError("the worker ended")
            await asyncio.sleep(POLL_SECONDS)
    times = worker.cpu_times()
    return float(times.user + times.system)


def _postgres_seconds(postgres: EmbeddedPostgres) -> float:
    family = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in family)


async def _prepare(dsn: str, due: int, future: int) -> None:
    await migrate.apply_migrations(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE ROLE bench LOGIN PASSWORD 'bench' IN ROLE billing_worker")
    if future:
        await connection.execute(FUTURE_CYCLES, future)
    database = await db.connect(dsn, db.PoolLimits(), application_name="benchmark")
    # As a worker that was here before the cycles has written it; else each would be asked about before it is sent.
    ours, seen = Ours("main", live=False), await deployment.see(database.claims)
    await deployment.record_deployment(
        database.claims, seen, ours, after=None, look_first=False, actor="benchmark", reason="first used"
    )
    started = SystemClock().now()
    cadence = Cadence(PeriodUnit.MONTH, 1, started.date() - dt.timedelta(days=1), "Asia/Seoul", dt.time(10, 0))
    first_due_at = due_at(cadence, nth_period(cadence, 1))
    plans = [(_plan(number, cadence), first_due_at) for number in range(due)]
    for start in range(0, due, 1000):
        await subscriptions.add_subscriptions(database.claims, plans[start : start + 1000])
    renewer = Renewer(database.claims, store_id=STORE_ID, lead=dt.timedelta(), batch_max=1000, actor="benchmark")
    while (await renewer.run_once(started)).more:
        continue
    await connection.execute("VACUUM ANALYZE")
    await database.close()
    await connection.close()


def _plan(number: int, cadence: Cadence) -> PlannedSubscription:
    return PlannedSubscription(
        business_key=f"subscription-{number:06d}",
        customer=Customer(f"customer-{number:06d}", "홍길동", "01012345678"),
        billing_key=BillingKey(f"bk-ok-{number:06d}-0123456789abcdef"),
        order_name="월간 이용권 2026년 11월",
        price=Money(9900, "KRW"),
        cadence=cadence,
        first_cycle_number=1,
    )


@contextlib.contextmanager
def _simulator(latency_ms: float) -> Iterator[str]:
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
def _worker(database_url: str, portone_url: str) -> Iterator[psutil.Process]:
    environ = {
        "PATH": os.environ["PATH"],
        "BILLING_DATABASE_URL": database_url,
        "BILLING_PORTONE_BASE_URL": portone_url,
        "BILLING_PORTONE_API_SECRET": API_SECRET,
        "BILLING_PORTONE_STORE_ID": STORE_ID,
        "BILLING_PORTONE_LIVE": "false",
        "BILLING_PORTONE_IN_FLIGHT_MAX": str(IN_FLIGHT),
        "BILLING_PORTONE_REQUESTS_PER_SECOND": "10000",
        "BILLING_PORTONE_BURST": "10000",
        "BILLING_CLAIM_BATCH_MAX": str(IN_FLIGHT),
        "BILLING_HTTP_ADDRESS": "127.0.0.1:0",
    }
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "billing_worker", "run"], env=environ, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 50, 300])
    parser.add_argument("--due", type=int, default=20_000, help="cycles that are due")
    parser.add_argument("--future", type=int, default=0, help="cycles in the table that are not due yet")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
