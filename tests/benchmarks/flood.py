"""A flood of webhooks, half of them forged, at a worker that charges: what it answers and holds, what charges feel.

The same worker is measured without the flood, with one whose signed half speaks of other systems' payments, and with
one whose signed half speaks of payments of ours, each of which has it ask PortOne. The flood is signed beforehand.
Times count from when a webhook should have been sent, so that a sender who is held up hides nothing.
"""

import argparse
import asyncio
import collections
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import uvloop

from billing_worker.clock import SystemClock
from billing_worker.demo.postgres import EmbeddedPostgres
from tests.benchmarks import premises
from tests.benchmarks.premises import STORE_ID, Running
from tests.webhooks import SECRET, a_body, a_secret, signed

PATH = "/webhooks/portone"
# Of what is signed, one in this many was sent before.
REPEATED_EVERY = 10
WARM_SECONDS = 3.0
BETWEEN_SECONDS = 5.0
# PortOne's side of the flood of ours: so many payments, told of again and again.
OURS_MAX = 10_000

_PAID = "SELECT count(*) FROM billing.ledger WHERE kind = 'paid'"
_PAID_IDS = "SELECT payment_id FROM billing.attempts WHERE status = 'paid' LIMIT $1"
_CHARGED = """
SELECT extract(epoch FROM pg_xact_commit_timestamp(p.xmin) - pg_xact_commit_timestamp(i.xmin))::float AS took
FROM billing.ledger p
JOIN billing.ledger i ON i.shard = p.shard AND i.attempt_id = p.attempt_id AND i.kind = 'intent'
WHERE p.kind = 'paid' AND pg_xact_commit_timestamp(p.xmin) >= $1 AND pg_xact_commit_timestamp(p.xmin) < $2
"""
_INBOX = "SELECT count(*) AS kept, count(*) FILTER (WHERE read_at IS NULL) AS unread FROM billing.webhook_inbox"


@dataclass(slots=True)
class Tally:
    """What the flood was answered."""

    statuses: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"valid": [], "forged": []})
    broken: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """One part of the run, and what the worker held when it began and ended."""

    name: str
    began_at: dt.datetime
    ended_at: dt.datetime
    rss_before: float
    rss_after: float
    cores: float
    tally: Tally | None = None


def measure(arguments: argparse.Namespace) -> None:
    """Print the three parts."""
    with (
        EmbeddedPostgres(durable=True, settings={"track_commit_timestamp": "on"}) as postgres,
        premises.simulator(arguments.latency_ms) as portone_url,
    ):
        due = int(arguments.charges * (4 * arguments.seconds + 60))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            plans = premises.owed_since_yesterday(due, SystemClock().now())
            runner.run(premises.migrate_and_add(postgres.url(), plans))
            settings = {
                "WEBHOOK_ADDRESS": "127.0.0.1:0",
                "WEBHOOK_SECRETS": SECRET.get_secret_value(),
                "PORTONE_REQUESTS_PER_SECOND": str(arguments.charges),
            }
            with premises.worker(postgres, portone_url, **settings) as worker:
                runner.run(_measure(postgres, worker, arguments))


async def _measure(postgres: EmbeddedPostgres, worker: Running, arguments: argparse.Namespace) -> None:
    address = await worker.webhook_address()
    connection = await asyncpg.connect(postgres.url())
    try:
        print(f"\n{arguments.charges:g} requests a second to a PortOne of {arguments.latency_ms:g} ms, in each part")
        await premises.until_counted(connection, _PAID, int(arguments.charges * 10), seconds_max=120)
        warm = _flood_of("warm", _others, int(arguments.rate * WARM_SECONDS))
        await _sent(address, warm, arguments)
        await asyncio.sleep(BETWEEN_SECONDS)
        quiet = await _span("no webhooks", worker, lambda: asyncio.sleep(arguments.seconds))
        first_rate = await _print(connection, quiet, arguments, beside=None)
        ours = [row["payment_id"] for row in await connection.fetch(_PAID_IDS, OURS_MAX)]
        about: dict[str, Callable[[int], str]] = {
            "a flood about others' payments": _others,
            f"a flood about {len(ours):,} payments of ours": lambda number: ours[number % len(ours)],
        }
        for name, payment_id in about.items():
            posts = _flood_of(name.replace(" ", "-"), payment_id, int(arguments.rate * arguments.seconds))
            span = await _span(name, worker, lambda posts=posts: _sent(address, posts, arguments))
            await _print(connection, span, arguments, beside=first_rate)
            await asyncio.sleep(BETWEEN_SECONDS)
        inbox = await connection.fetchrow(_INBOX)
        print(f"inbox: {inbox['kept']:,} rows, {inbox['unread']:,} unread; RSS in the end {worker.rss_mib:.1f} MiB")
    finally:
        await connection.close()


async def _span(name: str, worker: Running, part: Callable[[], object]) -> Span:
    rss, cpu, began, began_at = worker.rss_mib, worker.cpu_seconds, time.perf_counter(), SystemClock().now()
    told = await part()  # type: ignore[misc]
    ended_at, elapsed = SystemClock().now(), time.perf_counter() - began
    cores = (worker.cpu_seconds - cpu) / elapsed
    return Span(name, began_at, ended_at, rss, worker.rss_mib, cores, told if isinstance(told, Tally) else None)


async def _print(
    connection: asyncpg.Connection, span: Span, arguments: argparse.Namespace, *, beside: float | None
) -> float:
    """Print one part; the charges a second that it made."""
    seconds = (span.ended_at - span.began_at).total_seconds()
    took = [row["took"] for row in await connection.fetch(_CHARGED, span.began_at, span.ended_at)]
    rate = len(took) / seconds
    ratio = f", {rate / beside:.2f} of what they were" if beside else ""
    print(f"{span.name}, {seconds:.0f} s")
    print(f"  charges            {rate:.1f}/s{ratio}; from intent to paid {premises.quantiles(took)}")
    held = f"RSS {span.rss_before:.1f} MiB before, {span.rss_after:.1f} after"
    print(f"  worker             {held}; {span.cores:.0%} of a core")
    if span.tally:
        tally, answered = span.tally, sum(span.tally.statuses.values())
        errors = sum(count for (_, status), count in tally.statuses.items() if status >= 500)
        said = ", ".join(f"{kind} {status}: {count:,}" for (kind, status), count in sorted(tally.statuses.items()))
        print(f"  answers            {answered:,} ({answered / seconds:,.0f}/s), 5xx {errors}, broken {tally.broken}")
        print(f"  by status          {said}")
        print(f"  valid, to the 200  {premises.quantiles(tally.seconds['valid'])}")
        print(f"  forged, to the 401 {premises.quantiles(tally.seconds['forged'])}", flush=True)
    return rate


async def _sent(address: str, posts: Sequence[bytes], arguments: argparse.Namespace) -> Tally:
    """Send at the rate until all are sent, each connection its share."""
    tally, began, connections = Tally(), time.perf_counter(), arguments.connections

    async def one(offset: int) -> None:
        async with _connection(address) as (reader, writer):
            for number in range(offset, len(posts), connections):
                wanted_at = began + number / arguments.rate
                if (wait := wanted_at - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                kind = _kind(number)
                writer.write(posts[number])
                status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
                tally.seconds[kind].append(time.perf_counter() - wanted_at)
                tally.statuses[kind, status] += 1

    ended = await asyncio.gather(*(one(offset) for offset in range(connections)), return_exceptions=True)
    tally.broken = sum(isinstance(result, BaseException) for result in ended)
    return tally


def _flood_of(name: str, payment_id: Callable[[int], str], count: int) -> list[bytes]:
    return [_flood_post(name, number, payment_id(number // 2)) for number in range(count)]


def _flood_post(name: str, number: int, payment_id: str) -> bytes:
    if _kind(number) == "forged":
        return _post(f"{name}-{number}", payment_id, forged=True)
    repeats = number // 2 % REPEATED_EVERY == REPEATED_EVERY - 1
    return _post(f"{name}-{number - 2 if repeats else number}", payment_id)


def _kind(number: int) -> str:
    return "forged" if number % 2 else "valid"


def _others(number: int) -> str:
    return f"order-2026-{number:08d}"


def _post(webhook_id: str, payment_id: str, *, forged: bool = False) -> bytes:
    body = a_body("Paid", payment_id, storeId=STORE_ID)
    headers = signed(body, SystemClock().now(), webhook_id=webhook_id, secret=a_secret(9) if forged else SECRET)
    written = "".join(f"{name}: {given}\r\n" for name, given in headers.items())
    return f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{written}content-length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def _connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield reader, writer
    writer.close()
