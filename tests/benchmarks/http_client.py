"""What one POST costs: the HTTP client as we configure it, beside the others of docs/adr/0003-http-transport.md.

    .venv/bin/python -m tests.benchmarks.http_client --latency-ms 0 50 300 --in-flight 500

A stub of PortOne runs in a process of its own, so the CPU time printed is the client's alone. Peers take turns in each
round, because a shared machine's speed drifts.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import cast

import httpx
import uvloop
from pydantic import SecretStr

from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Paid
from billing_worker.portone.client import ChargeOrder, ClientOptions, PortOneClient
from billing_worker.portone.transport import AiohttpTransport
from billing_worker.portone.wire import charge_body

PostOne = Callable[[int], Awaitable[None]]

BODY = charge_body(
    store_id="store-00000000-0000-0000-0000-000000000000",
    billing_key="billing-key-00000000-0000-0000-0000-000000000000",
    channel_key=None,
    order_name="Pro plan",
    customer_id="customer-1",
    customer_name="홍길동",
    phone_number=None,
    email=None,
    subscription_key="subscription-1",
    cycle_number=1,
    amount=Money(9900, "KRW"),
)
TIMEOUT = httpx.Timeout(connect=5, write=10, read=65, pool=5)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one client. The CPU time is this process's, the stub's not included."""

    posts_per_second: float
    cpu_us_per_post: float


async def measure_raw_client(
    *, latency_ms: float, in_flight: int, posts: int, client: str = "transport"
) -> Measurement:
    """Send `posts` POSTs, always `in_flight` of them open, to a stub that answers after `latency_ms`."""
    async with _stub(latency_ms) as base_url, CLIENTS[client](base_url, in_flight) as post_one:
        await _post_all(post_one, posts=in_flight, in_flight=in_flight)  # opens the connections
        cpu, wall = time.process_time(), time.perf_counter()
        await _post_all(post_one, posts=posts, in_flight=in_flight)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Measurement(posts_per_second=posts / wall, cpu_us_per_post=cpu / posts * 1e6)


async def _post_all(post_one: PostOne, *, posts: int, in_flight: int) -> None:
    numbers = iter(range(posts))

    async def slot() -> None:
        for number in numbers:
            await post_one(number)

    await asyncio.gather(*(slot() for _ in range(in_flight)))


def _request(base_url: str, number: int) -> httpx.Request:
    headers = {
        "Authorization": "PortOne benchmark-secret",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Idempotency-Key": f'"rb1benchmark{number:018}-g0001"',
        "User-Agent": "billing-worker",
    }
    url = f"{base_url}/payments/rb1benchmark{number:018}/billing-key"
    return httpx.Request("POST", url, headers=headers, content=BODY, extensions={"timeout": TIMEOUT.as_dict()})


def _read(answer: httpx.Response) -> None:
    if not answer.content.startswith(b'{"payment"'):
        raise RuntimeError("the stub answered something else")


@asynccontextmanager
async def _charge(base_url: str, in_flight: int) -> AsyncIterator[PostOne]:
    options = ClientOptions(
        base_url=base_url,
        api_secret=SecretStr("benchmark-secret"),
        store_id="store-1",
        connections_max=in_flight,
        requests_per_second=1e6,
        burst=1_000_000,
    )
    async with PortOneClient(options, host_time=lambda: datetime.now(UTC)) as client:
        clock = asyncio.get_running_loop().time

        async def post_one(number: int) -> None:
            payment_id = f"rb1benchmark{number:018}"
            order = ChargeOrder(
                payment_id=payment_id, idempotency_key=f"{payment_id}-g0001", body=BODY, send_before=clock() + 60
            )
            answer = await client.charge(order)
            if not isinstance(answer.outcome, Paid):
                raise RuntimeError(f"not paid: {answer}")  # noqa: TRY004 - a wrong answer, not a wrong type

        yield post_one


@asynccontextmanager
async def _transport(base_url: str, in_flight: int) -> AsyncIterator[PostOne]:
    async with AiohttpTransport() as transport:

        async def post_one(number: int) -> None:
            _read(await transport.handle_async_request(_request(base_url, number)))

        yield post_one


@asynccontextmanager
async def _transport_in_async_client(base_url: str, in_flight: int) -> AsyncIterator[PostOne]:
    async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=TIMEOUT, trust_env=False) as client:

        async def post_one(number: int) -> None:
            _read(await client.send(_request(base_url, number)))

        yield post_one


@asynccontextmanager
async def _httpx_aiohttp(base_url: str, in_flight: int, *, direct: bool) -> AsyncIterator[PostOne]:
    from httpx_aiohttp import AiohttpTransport as HttpxAiohttpTransport  # noqa: PLC0415 - measured, not used

    # Without a number here aiohttp's own bound of 100 connections stays.
    transport = HttpxAiohttpTransport(limits=httpx.Limits(max_connections=in_flight), trust_env=False)
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT, trust_env=False) as client:

        async def post_one(number: int) -> None:
            if direct:
                answer = await transport.handle_async_request(_request(base_url, number))
                await answer.aread()
                _read(answer)
            else:
                _read(await client.send(_request(base_url, number)))

        yield post_one


@asynccontextmanager
async def _httpx_pool_per_slot(base_url: str, in_flight: int) -> AsyncIterator[PostOne]:
    verify = httpx.create_ssl_context(trust_env=False)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=25)
    pools = [httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits) for _ in range(in_flight)]
    free = list(pools)

    async def post_one(number: int) -> None:
        pool = free.pop()
        answer = await pool.handle_async_request(_request(base_url, number))
        await answer.aread()
        await answer.aclose()
        free.append(pool)
        _read(answer)

    yield post_one
    for pool in pools:
        await pool.aclose()


CLIENTS: dict[str, Callable[[str, int], AbstractAsyncContextManager[PostOne]]] = {
    "charge": _charge,
    "transport": _transport,
    "transport in httpx.AsyncClient": _transport_in_async_client,
    "httpx-aiohttp, direct": partial(_httpx_aiohttp, direct=True),
    "httpx-aiohttp in httpx.AsyncClient": partial(_httpx_aiohttp, direct=False),
    "httpx, one pool per slot": _httpx_pool_per_slot,
}


class _StubConnection(asyncio.Protocol):
    """As little as answers a POST: a server library would take the CPU that the client is measured by."""

    answer_body = b'{"payment":{"pgTxId":"kpn0123456789abcdef","paidAt":"2026-09-01T00:00:03Z"}}'
    answer = (
        b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Sep 2026 00:00:03 GMT\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(answer_body), answer_body)
    )

    def __init__(self, latency_seconds: float) -> None:
        self._latency_seconds = latency_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if end and len(rest) >= length:
            self._received = rest[length:]
            asyncio.get_running_loop().call_later(self._latency_seconds, self._transport.write, self.answer)


async def _serve_stub(latency_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _StubConnection(latency_ms / 1000), "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)  # until the benchmark that started us closes its end


@asynccontextmanager
async def _stub(latency_ms: float) -> AsyncIterator[str]:
    pipe = asyncio.subprocess.PIPE
    arguments = (sys.executable, "-m", "tests.benchmarks.http_client", "--serve-stub", str(latency_ms))
    stub = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe)
    assert stub.stdin is not None
    assert stub.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await stub.stdout.readline())}"
    finally:
        stub.stdin.close()
        await stub.wait()


def _median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} [{min(values):,.0f}-{max(values):,.0f}]"


def _measure_latency(latency_ms: float, *, in_flight: int, posts: int, rounds: int, clients: list[str]) -> None:
    runs: dict[str, list[Measurement]] = {client: [] for client in clients}
    for _ in range(rounds):
        for client in clients:
            measure = measure_raw_client(latency_ms=latency_ms, in_flight=in_flight, posts=posts, client=client)
            runs[client].append(uvloop.run(measure))
    for client, measured in runs.items():
        rate = _median_and_range([run.posts_per_second for run in measured])
        cpu = _median_and_range([run.cpu_us_per_post for run in measured])
        sys.stdout.write(f"| {latency_ms:g} | {client} | {rate} | {cpu} |\n")
        sys.stdout.flush()


def main() -> None:
    """Print one table row for each latency and client."""
    parser = argparse.ArgumentParser(description="Measure POSTs a second and CPU a POST.")
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 50, 300])
    parser.add_argument("--in-flight", type=int, default=500)
    parser.add_argument("--posts", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=["charge", "transport"])
    parser.add_argument("--gc-threshold", type=int, help="objects made before the collector looks (Python's own: 700)")
    parser.add_argument("--serve-stub", type=float, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve_stub is not None:
        uvloop.run(_serve_stub(wanted.serve_stub))
        return
    if wanted.gc_threshold:
        gc.freeze()
        gc.set_threshold(wanted.gc_threshold, 20, 100)
    sys.stdout.write(
        f"{wanted.in_flight} in flight, {wanted.posts} POSTs of {len(BODY)} bytes, {wanted.rounds} rounds\n\n"
    )
    sys.stdout.write(
        "| stub ms | client | POSTs/s, median [range] | client CPU µs/POST |\n| ---: | --- | ---: | ---: |\n"
    )
    for latency_ms in wanted.latency_ms:
        _measure_latency(
            latency_ms,
            in_flight=wanted.in_flight,
            posts=wanted.posts,
            rounds=wanted.rounds,
            clients=wanted.clients,
        )


if __name__ == "__main__":
    main()
