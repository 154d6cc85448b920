"""How soon a webhook becomes the order of a look, and what the endpoint does under a flood of sound and forged ones.

    .venv/bin/python -m tests.benchmarks.webhooks --hints 500 --rate 2000 --seconds 60

Postgres runs with fsync on; for the flood the endpoint and its listener are a program of their own and this one sends.
All of them are on this machine and share its cores. Times of the flood count from when a webhook should have been sent,
so that a sender who is held up hides nothing.
"""

import argparse
import asyncio
import collections
import hashlib
import logging
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import asyncpg
import psutil
import structlog
import uvloop

from billing_worker import webhooks
from billing_worker.clock import SystemClock
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.portone.webhook import Verifier
from billing_worker.store import db, migrate
from billing_worker.telemetry import Metrics
from billing_worker.webhooks import InboxWriter
from billing_worker.workers.listener import Doorbell, Listener
from tests.webhooks import SECRET, a_body, a_secret, signed

PATH = "/webhooks/portone"
STORE_ID = "store-test"
BODY_BYTES_MAX = 65_536
WAIT_SECONDS_MAX = 30.0
# Of what is signed, one in this many was sent before.
REPEATED_EVERY = 10

# Waits until what the look finds is settled in the ledger, given the payment_id. Without it only orders are measured.
Settled = Callable[[str], Awaitable[None]]

FILL = """
WITH subscribed AS (
    INSERT INTO billing.subscriptions (shard, business_key, customer_id, billing_key, order_name, amount_minor, anchor_on,
                                       next_cycle_number, next_due_at)
    SELECT n % 64, 'sub-' || n, 'c', 'bk-ok-' || n, 'x', 9900, current_date, 2, now() + interval '40 days'
    FROM generate_series(1, $1::integer) n
    RETURNING shard, subscription_id, business_key
), collected AS (
    INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor,
                                currency, order_name, store_id, payment_id, claimable_at, status, paid_at)
    SELECT shard, subscription_id, 1, current_date, current_date + 30, now(), 9900, 'KRW', 'x', 'store-test',
           'rb1' || substr(encode(sha256(convert_to(business_key, 'UTF8')), 'hex'), 1, 27), now(), 'paid', now()
    FROM subscribed
    RETURNING shard, subscription_id, cycle_id, payment_id
)
INSERT INTO billing.attempts (shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor,
                              currency, status, request_sha256, opened_at, last_sent_at, settled_at, source)
SELECT shard, cycle_id, subscription_id, 1, payment_id, payment_id || '-g0001', 9900, 'KRW', 'paid', 'x', now(), now(), now(),
       'answer'
FROM collected
"""  # noqa: E501


@dataclass(slots=True)
class Tally:
    """What the flood came to."""

    statuses: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"valid": [], "forged": []})
    broken: int = 0


def main() -> None:
    """Print both measurements."""
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; fsync on")
    with EmbeddedPostgres(durable=True) as postgres:
        asyncio.run(_prepare(postgres.url(), arguments.payments))
        worker_url = _worker_url(postgres.url())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure_orders(worker_url, arguments.hints, arguments.payments))
        measure_flood(postgres, worker_url, arguments)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


async def measure_orders(url: str, hints: int, payments: int, settled: Settled | None = None) -> None:
    """Webhooks one after the other: from the first byte sent to the answer, the committed order, and the ledger."""
    ordered = asyncio.Event()
    answer_seconds, order_seconds, settled_seconds = list[float](), list[float](), list[float]()
    async with _endpoint(url, ordered.set) as address, _connection(address) as (reader, writer):
        for number in range(hints):
            ordered.clear()
            payment_id = _payment_id(number, payments)
            began = time.perf_counter()
            writer.write(_post(f"order-{number}", payment_id))
            order = asyncio.create_task(_time_of(ordered))
            await reader.readuntil(b"\r\n\r\n")
            answer_seconds.append(time.perf_counter() - began)
            order_seconds.append(await order - began)
            if settled:
                await settled(payment_id)
                settled_seconds.append(time.perf_counter() - began)
    print(f"{hints} webhooks, one at a time, from the first byte sent")
    print(f"  to the 200         {_quantiles(answer_seconds)}")
    print(f"  to the order       {_quantiles(order_seconds)}")
    if settled:
        print(f"  to the ledger row  {_quantiles(settled_seconds)}")


def measure_flood(postgres: EmbeddedPostgres, url: str, arguments: argparse.Namespace) -> None:
    """A steady rate of webhooks, half of them forged, over some connections that are kept."""
    with _endpoint_program(url) as (program, address):
        asyncio.run(flood(address, arguments, seconds=2.0, name="warm"))
        before, cpu_before, postgres_before = _rss_mib(program), _cpu(program), _postgres_cpu(postgres)
        began = time.perf_counter()
        tally = asyncio.run(flood(address, arguments, seconds=arguments.seconds, name="flood"))
        elapsed = time.perf_counter() - began
        after = _rss_mib(program)
        cpu, postgres_cpu = _cpu(program) - cpu_before, _postgres_cpu(postgres) - postgres_before
        answered = sum(tally.statuses.values())
        errors = sum(count for (_, status), count in tally.statuses.items() if status >= 500)
        rate = answered / elapsed
        print(f"{answered:,} answers in {elapsed:.1f} s ({rate:,.0f}/s), {arguments.connections} connections")
        print(f"  statuses           {dict(sorted(tally.statuses.items()))}, 5xx {errors}, broken {tally.broken}")
        print(f"  valid, to the 200  {_quantiles(tally.seconds['valid'])}")
        print(f"  forged, to the 401 {_quantiles(tally.seconds['forged'])}")
        print(f"  endpoint           RSS {before:.1f} MiB before, {after:.1f} after; {cpu / elapsed:.0%} of a core")
        print(f"  Postgres           {postgres_cpu / elapsed:.0%} of a core")
    kept, unread = asyncio.run(_inbox(postgres.url()))
    print(f"  inbox              {kept:,} rows, {unread:,} unread right afterwards")


async def flood(address: str, arguments: argparse.Namespace, *, seconds: float, name: str) -> Tally:
    """Send at the rate for so long, each connection its share."""
    tally, began = Tally(), time.perf_counter()
    total, connections = int(arguments.rate * seconds), arguments.connections

    async def one(offset: int) -> None:
        async with _connection(address) as (reader, writer):
            for number in range(offset, total, connections):
                wanted_at = began + number / arguments.rate
                if (wait := wanted_at - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                kind = "forged" if number % 2 else "valid"
                writer.write(_flood_post(name, number, arguments.payments))
                status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
                tally.seconds[kind].append(time.perf_counter() - wanted_at)
                tally.statuses[kind, status] += 1

    ended = await asyncio.gather(*(one(offset) for offset in range(connections)), return_exceptions=True)
    tally.broken = sum(isinstance(result, BaseException) for result in ended)
    return tally


def _flood_post(name: str, number: int, payments: int) -> bytes:
    if number % 2:
        return _post(f"{name}-{number}", _payment_id(number, payments), forged=True)
    repeats = number // 2 % REPEATED_EVERY == REPEATED_EVERY - 1
    return _post(f"{name}-{number - 2 if repeats else number}", _payment_id(number, payments))


def _post(webhook_id: str, payment_id: str, *, forged: bool = False) -> bytes:
    body = a_body("Paid", payment_id)
    headers = signed(body, SystemClock().now(), webhook_id=webhook_id, secret=a_secret(9) if forged else SECRET)
    written = "".join(f"{name}: {given}\r\n" for name, given in headers.items())
    return f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{written}content-length: {len(body)}\r\n\r\n".encode() + body


def _payment_id(number: int, payments: int) -> str:
    return "rb1" + hashlib.sha256(f"sub-{number % payments + 1}".encode()).hexdigest()[:27]


@asynccontextmanager
async def _endpoint(url: str, ordered: Callable[[], None]) -> AsyncIterator[str]:
    """The endpoint and its listener, wired as the daemon wires them."""
    clock, metrics = SystemClock(), Metrics()
    database = await db.connect(url, db.PoolLimits(), application_name="benchmark")
    listener = Listener(database.claims, clock, metrics, ring=ordered)

    async def ring() -> None:
        while (await listener.run_once(clock.now())).more:
            continue

    bell = Doorbell(ring)
    ringing = asyncio.create_task(bell.run())
    inbox = InboxWriter(database.claims, wake=bell.press)
    inbox.start()
    app = webhooks.create_app(
        Verifier([SECRET, a_secret(2)]),
        inbox,
        clock,
        metrics,
        path=PATH,
        store_id=STORE_ID,
        body_bytes_max=BODY_BYTES_MAX,
    )
    try:
        async with webhooks.serve(app, "127.0.0.1:0") as address:
            yield address
    finally:
        ringing.cancel()
        await inbox.stop()
        await database.close()


@contextmanager
def _endpoint_program(url: str) -> Iterator[tuple[psutil.Process, str]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    program = context.Process(target=_run_endpoint, args=(url, theirs))
    program.start()
    try:
        assert ours.poll(WAIT_SECONDS_MAX), "the endpoint did not start"
        yield psutil.Process(program.pid), ours.recv()
    finally:
        ours.send("stop")
        program.join(WAIT_SECONDS_MAX)
        if program.is_alive():
            program.kill()


def _run_endpoint(url: str, pipe: Connection) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    async def serve() -> None:
        async with _endpoint(url, lambda: None) as address:
            pipe.send(address)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


@asynccontextmanager
async def _connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield reader, writer
    writer.close()


async def _time_of(event: asyncio.Event) -> float:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        await event.wait()
    return time.perf_counter()


async def _prepare(dsn: str, payments: int) -> None:
    await migrate.apply_migrations(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE ROLE bench LOGIN PASSWORD 'bench' IN ROLE billing_worker")
    await connection.execute(FILL, payments)
    await connection.execute("ANALYZE billing.cycles, billing.attempts")
    await connection.close()


async def _inbox(dsn: str) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow(
        "SELECT count(*) AS kept, count(*) FILTER (WHERE read_at IS NULL) AS unread FROM billing.webhook_inbox"
    )
    await connection.close()
    return row["kept"], row["unread"]


def _worker_url(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"bench:bench@{parts.netloc.rpartition('@')[2]}").geturl()


def _rss_mib(program: psutil.Process) -> float:
    return float(program.memory_info().rss / 2**20)


def _cpu(program: psutil.Process) -> float:
    times = program.cpu_times()
    return float(times.user + times.system)


def _postgres_cpu(postgres: EmbeddedPostgres) -> float:
    parent = psutil.Process(postgres.pid)
    return sum(_cpu(one) for one in [parent, *parent.children(recursive=True)])


def _quantiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
    p50 = statistics.median(ordered)
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, longest {ordered[-1] * 1000:.1f} ms"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.webhooks", description=__doc__.splitlines()[0])
    parser.add_argument("--hints", type=int, default=500, help="webhooks sent one at a time")
    parser.add_argument(
        "--rate", type=float, default=2000.0, help="webhooks a second of the flood, half of them forged"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the flood lasts")
    parser.add_argument(
        "--connections", type=int, default=101, help="of the flood; an odd number mixes both kinds on each"
    )
    parser.add_argument("--payments", type=int, default=10_000, help="payments of ours that webhooks speak of")
    return parser.parse_args()


if __name__ == "__main__":
    main()
