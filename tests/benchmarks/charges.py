"""How many charges a second one worker makes, and what a charge costs it, beside the bare HTTP client in the same run.

    .venv/bin/python -m tests.benchmarks.charges --latency-ms 0 50 300 --due 20000

Postgres runs with fsync on and the simulator in a process of its own, all on this machine, so they share its cores.
Compare the ratios within one run; the absolute figures are this machine's and noisy.
"""

import argparse
import asyncio
import datetime as dt
import statistics
from dataclasses import dataclass

import asyncpg
import uvloop

from billing_worker.clock import SystemClock
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.store import db
from billing_worker.workers.renewer import Renewer
from tests.benchmarks import premises
from tests.benchmarks.http_client import measure_raw_client
from tests.benchmarks.premises import STORE_ID, Running

IN_FLIGHT = 500
RUN_SECONDS_MAX = 300.0
PAID = "SELECT count(*) FROM billing.attempts WHERE status = 'paid'"

# So that nothing but the machine bounds it.
UNBOUNDED = {
    "PORTONE_IN_FLIGHT_MAX": str(IN_FLIGHT),
    "PORTONE_REQUESTS_PER_SECOND": "10000",
    "PORTONE_BURST": "10000",
    "CLAIM_BATCH_MAX": str(IN_FLIGHT),
}

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
    with EmbeddedPostgres(durable=True) as postgres, premises.simulator(latency_ms) as url:
        asyncio.run(_prepare(postgres.url(), due, arguments.future))
        with premises.worker(postgres, url, **UNBOUNDED) as worker:
            return asyncio.run(_measured(postgres, worker, due))


async def _measured(postgres: EmbeddedPostgres, worker: Running, due: int) -> Figures:
    connection = await asyncpg.connect(postgres.url())
    try:
        await premises.until_counted(connection, PAID, 1, seconds_max=RUN_SECONDS_MAX)
        began, postgres_began = worker.cpu_seconds, premises.postgres_seconds(postgres)
        await premises.until_counted(connection, PAID, due, seconds_max=RUN_SECONDS_MAX)
        ended, postgres_ended = worker.cpu_seconds, premises.postgres_seconds(postgres)
        seconds = await connection.fetchval(
            "SELECT extract(epoch FROM max(recorded_at) FILTER (WHERE kind = 'paid') - min(recorded_at))::float "
            "FROM billing.ledger"
        )
    finally:
        await connection.close()
    return Figures(due / seconds, (ended - began) / due * 1e6, (postgres_ended - postgres_began) / due * 1e6)


async def _prepare(dsn: str, due: int, future: int) -> None:
    started = SystemClock().now()
    await premises.migrate_and_add(dsn, premises.owed_since_yesterday(due, started))
    connection = await asyncpg.connect(dsn)
    if future:
        await connection.execute(FUTURE_CYCLES, future)
    database = await db.connect(dsn, db.PoolLimits(), application_name="benchmark")
    renewer = Renewer(database.claims, store_id=STORE_ID, lead=dt.timedelta(), batch_max=1000, actor="benchmark")
    while (await renewer.run_once(started)).more:
        continue
    await connection.execute("VACUUM ANALYZE")
    await database.close()
    await connection.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 50, 300])
    parser.add_argument("--due", type=int, default=20_000, help="cycles that are due")
    parser.add_argument("--future", type=int, default=0, help="cycles in the table that are not due yet")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
