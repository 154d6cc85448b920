"""Peers that play PortOne and misbehave, over real connections; and a client that talks to them."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvloop
from pydantic import SecretStr

from billing_worker.billing.outcomes import Paid
from billing_worker.portone.client import ChargeOrder, ClientOptions, PortOneClient
from billing_worker.portone.transport import AiohttpTransport
from tests.builders import eventually

PAID_BODY = b'{"payment":{"pgTxId":"kpn-1","paidAt":"2026-09-01T00:00:03Z"}}'
PAID = Paid(pg_tx_id="kpn-1", paid_at=datetime(2026, 9, 1, 0, 0, 3, tzinfo=UTC))
SECRET = "the-api-secret"
BILLING_KEY = "billing-key-0198c0de"
BODY = json.dumps({"billingKey": BILLING_KEY, "orderName": "프로"}, ensure_ascii=False).encode()
PAYMENT = {
    "status": "FAILED",
    "id": "rb1payment",
    "transactionId": "tx-1",
    "storeId": "store/1",
    "requestedAt": "2026-09-01T00:00:00Z",
    "statusChangedAt": "2026-09-01T00:00:03Z",
    "amount": {"total": 9900, "cancelled": 0},
    "currency": "KRW",
}


def error_body(error_type: str, **fields: object) -> bytes:
    return json.dumps({"type": error_type, **fields}).encode()


def a_payment(**changes: object) -> dict[str, Any]:
    payment = {
        "status": "PAID",
        "id": "rb1payment",
        "transactionId": "tx-1",
        "merchantId": "merchant-1",
        "storeId": "store-1",
        "channel": {"type": "LIVE", "pgProvider": "KPN", "pgMerchantId": "m"},
        "version": "V2",
        "billingKey": "billing-key-1",
        "requestedAt": "2026-09-01T09:00:00.123456789+09:00",
        "statusChangedAt": "2026-09-01T00:00:03Z",
        "amount": {"total": 9900, "taxFree": 0, "discount": 0, "paid": 9900, "cancelled": 0, "cancelledTaxFree": 0},
        "currency": "KRW",
        "paidAt": "2026-09-01T00:00:03Z",
        "pgTxId": "kpn-1",
        "somethingNew": {"of": ["tomorrow"]},
    }
    return {name: value for name, value in (payment | changes).items() if value is not ...}


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Both loops: they report the same fault by different errors, and the daemon may run on either."""
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@dataclass
class Received:
    """One request, as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Peer:
    """A server that answers each request by the next entry of its script; the last entry stays."""

    script: list["Behaviour"]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    hung_up: int = 0  # how often the client left before we had answered
    address: str = ""
    release: asyncio.Event = field(default_factory=asyncio.Event)
    served: set["asyncio.Task[None] | None"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.served.add(asyncio.current_task())
        try:
            while request := await _read_request(reader):
                self.received.append(request)
                behave = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                await behave(self, reader, writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up += 1
        finally:
            writer.close()

    async def until_received(self, requests: int) -> None:
        async def so_many() -> bool:
            return len(self.received) >= requests

        await eventually(so_many)

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.received)


Behaviour = Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    if not (first := await reader.readline()):
        return None
    method, target, _ = first.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, target, headers, body, asyncio.get_running_loop().time())


def answers(body: bytes = PAID_BODY, *, status: int = 200, close: bool = False, **headers: str) -> Behaviour:
    async def behave(_: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Any", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if close:
            writer.close()

    return behave


def error(error_type: str, *, status: int, **headers: str) -> Behaviour:
    return answers(error_body(error_type, message="왜"), status=status, **headers)


def writes(raw: bytes) -> Behaviour:
    async def behave(_: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    return behave


async def closes(_: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resets(_: Peer, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hangs(peer: Peer, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    waiting = {asyncio.ensure_future(peer.release.wait()), asyncio.ensure_future(reader.read(1))}
    _, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in left:
        one.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    if not peer.release.is_set():
        raise ConnectionError("the client left")


async def pays_when_released(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await hangs(peer, reader, writer)
    await answers()(peer, reader, writer)


def late(behaviour: Behaviour, *, seconds: float) -> Behaviour:
    async def behave(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.wait({asyncio.ensure_future(peer.release.wait())}, timeout=seconds)
        await behaviour(peer, reader, writer)

    return behave


async def drips(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while not reader.at_eof() and not peer.release.is_set():
        writer.write(b" ")
        await writer.drain()
        await asyncio.wait({asyncio.ensure_future(peer.release.wait())}, timeout=0.05)
    raise ConnectionError("the client left")


@asynccontextmanager
async def a_peer(*script: Behaviour, verify: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    peer = Peer(list(script))
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=verify)
    scheme = "https" if verify else "http"
    peer.address = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        peer.release.set()
        server.close()
        await asyncio.gather(*(one for one in peer.served if one))


@asynccontextmanager
async def a_client(
    address: str,
    *,
    seconds: Callable[[], float] | None = None,
    transport: Callable[[], httpx.AsyncBaseTransport] = AiohttpTransport,
    **changes: Any,
) -> AsyncIterator[PortOneClient]:
    options = {"resends_max": 0, "resend_pause_seconds": 0.01, "requests_per_second": 1e4, "burst": 1000} | changes
    client_options = ClientOptions(base_url=address, api_secret=SecretStr(SECRET), store_id="store/1", **options)
    client = PortOneClient(
        client_options, host_time=lambda: datetime(2026, 9, 1, tzinfo=UTC), seconds=seconds, transport=transport
    )
    async with client:
        yield client


def an_order(*, seconds: float = 30, payment_id: str = "rb1payment") -> ChargeOrder:
    send_before = asyncio.get_running_loop().time() + seconds
    return ChargeOrder(payment_id=payment_id, idempotency_key="rb1payment-g0001", body=BODY, send_before=send_before)
