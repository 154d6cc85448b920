"""The client against peers that drop, reset, hang and lie, over real connections."""

import asyncio
import gzip
import json
import logging
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from pydantic import SecretStr

from billing_worker.billing.outcomes import Absent, NoVerdict, Paid, Payment, RefusalScope, Refused, Unanswered
from billing_worker.portone.client import Answer, ChargeOrder, ClientOptions, PortOneClient
from billing_worker.portone.transport import ANSWER_BYTES_MAX, AiohttpTransport

# pytest-asyncio wants a hook in a conftest instead; this file alone runs on two loops.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

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
    return answers(json.dumps({"type": error_type, "message": "왜"}).encode(), status=status, **headers)


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
async def a_client(address: str, **changes: Any) -> AsyncIterator[PortOneClient]:
    options = {"resends_max": 0, "resend_pause_seconds": 0.01, "requests_per_second": 1e4, "burst": 1000} | changes
    client_options = ClientOptions(base_url=address, api_secret=SecretStr(SECRET), store_id="store/1", **options)
    async with PortOneClient(client_options, host_time=lambda: datetime(2026, 9, 1, tzinfo=UTC)) as client:
        yield client


def an_order(*, seconds: float = 30, payment_id: str = "rb1payment") -> ChargeOrder:
    send_before = asyncio.get_running_loop().time() + seconds
    return ChargeOrder(payment_id=payment_id, idempotency_key="rb1payment-g0001", body=BODY, send_before=send_before)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_a_charge_is_sent_as_portone_wants_it_and_nothing_is_added() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(PAID, sends=1)
    sent = peer.received[0]
    assert (sent.method, sent.target, sent.body) == ("POST", "/payments/rb1payment/billing-key", BODY)
    assert sent.headers == {
        "host": peer.address.removeprefix("http://"),
        "content-length": str(len(BODY)),
        "authorization": f"PortOne {SECRET}",
        "idempotency-key": '"rb1payment-g0001"',
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "billing-worker",
    }


async def test_a_payment_id_is_one_piece_of_the_path() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        await client.charge(an_order(payment_id="a/../b?c=d#e 결제"))
        await client.find("a/b")

    assert [one.target for one in peer.received] == [
        "/payments/a%2F..%2Fb%3Fc%3Dd%23e%20%EA%B2%B0%EC%A0%9C/billing-key",
        "/payments/a%2Fb?storeId=store%2F1",
    ]


@pytest.mark.parametrize("fault", [closes, resets, writes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")])
async def test_a_connection_lost_after_the_post_is_no_verdict_and_one_post(fault: Behaviour) -> None:
    async with a_peer(fault) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("no answer", resend=True), sends=1)
    assert peer.posts == 1


@pytest.mark.parametrize("fault", [closes, resets])
async def test_a_post_on_a_connection_that_dies_under_it_is_not_sent_twice_by_the_library(fault: Behaviour) -> None:
    async with a_peer(answers(), fault) as peer, a_client(peer.address) as client:
        first = await client.charge(an_order())
        second = await client.charge(an_order())

    assert first.outcome == PAID
    assert second == Answer(NoVerdict("no answer", resend=True), sends=1)
    assert (peer.connections, peer.posts) == (1, 2)


async def test_a_connection_that_was_closed_while_idle_costs_nothing() -> None:
    async with a_peer(answers(close=True)) as peer, a_client(peer.address) as client:
        outcomes = [(await client.charge(an_order())).outcome for _ in range(5)]

    assert outcomes == [PAID] * 5
    assert (peer.connections, peer.posts) == (5, 5)


async def test_a_look_on_a_connection_that_dies_under_it_may_be_asked_again() -> None:
    found = answers(json.dumps(PAYMENT).encode())
    async with a_peer(found, closes, found) as peer, a_client(peer.address) as client:
        looks = [await client.find("rb1payment") for _ in range(2)]

    assert all(isinstance(look, Payment) for look in looks)
    assert len(peer.received) == 3


async def test_connections_are_used_again() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        for _ in range(20):
            await client.charge(an_order())

    assert peer.connections == 1


async def test_a_refused_connection_is_no_verdict() -> None:
    async with a_peer(answers()) as peer:
        address = peer.address

    async with a_client(address) as client:
        answer = await client.charge(an_order())
        look = await client.find("rb1payment")

    assert answer == Answer(NoVerdict("no answer", resend=True), sends=1)
    assert look == Unanswered("no answer")


GARBAGE = [
    b"",
    b"\x00" * 50,
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n" + PAID_BODY,
    b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n" + PAID_BODY,
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n" + PAID_BODY,
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + PAID_BODY,
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
    b"HTTP/1.1 200 OK\r\n" + b"a" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n" + PAID_BODY,
    b"HTTP/1.1 200 OK\r\nx: \xff\xfe\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + PAID_BODY,
    b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\xff\xff",
    b"HTTP/1.1 200 OK\r\nset-cookie: \x01;;;=\r\nlocation: http://[\r\ncontent-length: 2\r\n\r\n{}",
]


@pytest.mark.parametrize("raw", GARBAGE)
async def test_garbage_is_no_verdict_and_no_look(raw: bytes) -> None:
    async with a_peer(writes(raw)) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order())
        look = await client.find("rb1payment")

    assert isinstance(answer.outcome, NoVerdict)
    assert isinstance(look, Unanswered)
    assert peer.posts == 1


async def test_an_answer_without_end_is_cut_off() -> None:
    too_long = answers(b" " * ANSWER_BYTES_MAX + PAID_BODY)
    packed = answers(gzip.compress(b" " * 50 * ANSWER_BYTES_MAX), content_encoding="gzip")
    async with a_peer(too_long, packed) as peer, a_client(peer.address) as client:
        outcomes = [(await client.charge(an_order())).outcome for _ in range(2)]

    assert outcomes[0] == NoVerdict("no answer", resend=True)
    assert isinstance(outcomes[1], NoVerdict)
    assert outcomes[1].look_now


async def test_a_hang_ends_by_the_read_timeout_and_is_not_sent_again_in_line() -> None:
    changes = {"read_seconds": 0.3, "resend_window_seconds": 0.2, "resends_max": 3}
    async with a_peer(hangs) as peer, a_client(peer.address, **changes) as client:
        started = asyncio.get_running_loop().time()
        answer = await client.charge(an_order())

        assert asyncio.get_running_loop().time() - started < 2
    assert answer == Answer(NoVerdict("no answer", resend=False), sends=1)
    assert peer.posts == 1


async def test_a_failure_that_came_late_is_not_sent_again_in_line() -> None:
    changes = {"resend_window_seconds": 0.1, "resends_max": 3}
    async with a_peer(late(answers(b"", status=503), seconds=0.2)) as peer, a_client(peer.address, **changes) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("HTTP 503", resend=False), sends=1)


async def test_an_answer_that_drips_ends_too() -> None:
    changes = {"connect_seconds": 0.2, "write_seconds": 0.2, "read_seconds": 0.3, "look_read_seconds": 0.3}
    async with a_peer(drips) as peer, a_client(peer.address, **changes) as client:
        started = asyncio.get_running_loop().time()
        answer = await client.charge(an_order())
        charged = asyncio.get_running_loop().time()
        look = await client.find("rb1payment")
        looked = asyncio.get_running_loop().time()

        assert answer.outcome == NoVerdict("no answer", resend=True)
        assert look == Unanswered("no answer")
        assert charged - started <= client.options.send_seconds_max + 0.3
        assert looked - charged <= client.options.look_seconds_max + 0.3


async def test_a_resend_has_the_same_bytes_under_the_same_key() -> None:
    script = (closes, resets, error("IDEMPOTENCY_OUTSTANDING_REQUEST", status=409), answers())
    async with a_peer(*script) as peer, a_client(peer.address, resends_max=5) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(PAID, sends=4)
    assert {(one.target, one.body, one.headers["idempotency-key"]) for one in peer.received} == {
        ("/payments/rb1payment/billing-key", BODY, '"rb1payment-g0001"')
    }


async def test_resends_are_counted_and_bounded() -> None:
    async with a_peer(closes) as peer, a_client(peer.address, resends_max=2) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("no answer", resend=True), sends=3)
    assert peer.posts == 3


async def test_no_resend_starts_after_the_window() -> None:
    changes = {"resends_max": 100, "resend_pause_seconds": 0.05, "resend_window_seconds": 0.3}
    async with a_peer(closes) as peer, a_client(peer.address, **changes) as client:
        answer = await client.charge(an_order())

    assert 1 < answer.sends < 8
    assert peer.received[-1].at - peer.received[0].at < 0.3 + 0.05


@pytest.mark.parametrize(
    "behaviour",
    [
        error("ALREADY_PAID", status=409),
        error("INVALID_REQUEST", status=400),
        error("PG_PROVIDER", status=502),
        error("SOMETHING_NEW", status=400),
        answers(b"not json"),
        answers(status=302, location="http://127.0.0.1:1/"),
    ],
)
async def test_what_another_send_would_not_change_is_sent_once(behaviour: Behaviour) -> None:
    async with a_peer(behaviour) as peer, a_client(peer.address, resends_max=3) as client:
        answer = await client.charge(an_order())

    assert answer.sends == peer.posts == 1


async def test_a_refusal_after_a_lost_answer_tells_of_both_sends() -> None:
    async with (
        a_peer(closes, error("UNAUTHORIZED", status=401)) as peer,
        a_client(peer.address, resends_max=3) as client,
    ):
        answer = await client.charge(an_order())

    assert answer == Answer(Refused("UNAUTHORIZED", "왜", RefusalScope.CHANNEL), sends=2)


async def test_portones_wish_for_a_pause_is_kept_for_every_charge() -> None:
    async with (
        a_peer(answers(b"", status=429, retry_after="1"), answers()) as peer,
        a_client(peer.address, resends_max=3) as client,
    ):
        first = asyncio.create_task(client.charge(an_order()))
        await until(lambda: client.limiter.available() == 0)
        other = await client.charge(an_order())

        assert (await first) == Answer(PAID, sends=2)
        assert other == Answer(PAID, sends=1)
        assert all(one.at - peer.received[0].at >= 1 for one in peer.received[1:])


async def test_a_wish_for_a_pause_beyond_the_window_is_handed_on() -> None:
    async with (
        a_peer(answers(b"", status=503, retry_after="120")) as peer,
        a_client(peer.address, resends_max=3) as client,
    ):
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("HTTP 503", resend=True, retry_after_seconds=120), sends=1)


async def test_nothing_is_sent_after_the_deadline() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order(seconds=0))

    assert answer == Answer(NoVerdict("send deadline passed"), sends=0)
    assert peer.connections == 0


async def test_the_wait_for_a_connection_counts_against_the_deadline() -> None:
    async with a_peer(pays_when_released) as peer, a_client(peer.address, connections_max=1) as client:
        first = asyncio.create_task(client.charge(an_order()))
        await until(lambda: peer.posts == 1)

        second = await client.charge(an_order(seconds=0.1))
        peer.release.set()

        assert second == Answer(NoVerdict("send deadline passed"), sends=0)
        assert (await first) == Answer(PAID, sends=1)
        assert peer.posts == 1


async def test_the_wait_for_the_limiter_counts_against_the_deadline() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address, requests_per_second=0.01, burst=1) as client:
        first = await client.charge(an_order())
        second = await client.charge(an_order(seconds=0.1))

    assert first.outcome == PAID
    assert second == Answer(NoVerdict("send deadline passed"), sends=0)
    assert peer.posts == 1


async def test_cancelling_the_caller_does_not_end_the_post() -> None:
    async with a_peer(pays_when_released) as peer, a_client(peer.address, connections_max=1) as client:
        call = asyncio.create_task(client.charge(an_order()))
        await until(lambda: peer.posts == 1)

        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        leaving = asyncio.create_task(client.__aexit__(None, None, None))
        await asyncio.wait({leaving}, timeout=0.1)

        assert call.cancelled()
        assert peer.hung_up == 0
        assert not leaving.done()
        peer.release.set()
        await leaving

    assert peer.hung_up == 0


async def test_a_cancelled_caller_starts_no_resend_and_gives_its_connection_back() -> None:
    changes = {"connections_max": 1, "resends_max": 5, "resend_pause_seconds": 5.0}
    async with a_peer(closes, answers()) as peer, a_client(peer.address, **changes) as client:
        call = asyncio.create_task(client.charge(an_order()))
        await until(lambda: peer.posts == 1)

        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        other = await client.charge(an_order())

    assert other == Answer(PAID, sends=1)
    assert peer.posts == 2


async def test_a_cancelled_look_gives_its_connection_back() -> None:
    async with a_peer(hangs, answers()) as peer, a_client(peer.address, connections_max=1) as client:
        look = asyncio.create_task(client.find("rb1payment"))
        await until(lambda: len(peer.received) == 1)

        look.cancel()
        await asyncio.gather(look, return_exceptions=True)

        assert (await client.charge(an_order(seconds=2))).outcome == PAID


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with a_peer(answers()) as stranger:
        redirect = answers(b"", status=status, location=f"{stranger.address}/payments/rb1payment/billing-key")
        async with a_peer(redirect) as peer, a_client(peer.address) as client:
            answer = await client.charge(an_order())
            look = await client.find("rb1payment")

    assert answer.outcome == NoVerdict(f"HTTP {status}")
    assert look == Unanswered(f"HTTP {status}")
    assert stranger.connections == 0


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_peer(answers()) as proxy, a_peer(answers()) as peer:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.address)
            monkeypatch.setenv(name.lower(), proxy.address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

        async with a_client(peer.address) as client:
            answer = await client.charge(an_order())

    assert answer.outcome == PAID
    assert proxy.connections == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_a_server_without_a_trusted_certificate_is_sent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async with a_peer(answers(), verify=context) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order())

    assert answer.outcome == NoVerdict("no answer", resend=True)
    assert peer.received == []


async def test_neither_secret_nor_key_nor_address_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tells = json.dumps({"type": "INVALID_REQUEST", "message": f"{BILLING_KEY} is unknown"}).encode()
    script = (answers(), closes, writes(b"\x00"), answers(tells, status=400))
    async with a_peer(*script) as peer, a_client(peer.address) as client:
        told = [await client.charge(an_order()) for _ in range(4)]
        shown = repr((client.options, an_order(), told))

    for text in (caplog.text, shown):
        assert SECRET not in text
        assert BILLING_KEY not in text
    assert "/payments/" not in caplog.text


async def test_a_look_reads_payment_and_transactions() -> None:
    items = [PAYMENT | {"id": "tx-1", "paymentId": "rb1payment"}]
    script = (
        answers(json.dumps(PAYMENT).encode()),
        answers(json.dumps({"items": items}).encode()),
        error("PAYMENT_NOT_FOUND", status=404),
    )
    async with a_peer(*script) as peer, a_client(peer.address) as client:
        found = await client.find("rb1payment")
        tries = await client.transactions("rb1payment")
        absent = await client.find("rb1payment")

    assert isinstance(found, Payment)
    assert tries == (found,)
    assert absent == Absent()
    assert [one.target for one in peer.received[:2]] == [
        "/payments/rb1payment?storeId=store%2F1",
        "/payments/rb1payment/transactions?storeId=store%2F1",
    ]
    assert all("idempotency-key" not in one.headers for one in peer.received)


async def test_a_payment_of_another_id_is_not_believed() -> None:
    async with a_peer(answers(json.dumps(PAYMENT).encode())) as peer, a_client(peer.address) as client:
        look = await client.find("rb1other")

    assert isinstance(look, Unanswered)


async def test_portones_clock_is_compared_with_the_hosts() -> None:
    async with a_peer(answers(date="Tue, 01 Sep 2026 00:00:45 GMT")) as peer, a_client(peer.address) as client:
        before = client.date_skew_seconds
        await client.charge(an_order())

        assert before is None
        assert client.date_skew_seconds == 45


FAILURES = [
    (closes, httpx.RemoteProtocolError),
    (resets, httpx.ReadError),
    (writes(b"\x00garbage\r\n\r\n"), httpx.RemoteProtocolError),
    (writes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), httpx.RemoteProtocolError),
    (hangs, httpx.ReadTimeout),
]


@pytest.mark.parametrize(("fault", "expected"), FAILURES)
async def test_the_transport_names_a_failure_as_httpx_does(
    fault: Behaviour, expected: type[httpx.TransportError]
) -> None:
    timeout = {"timeout": {"connect": 1.0, "write": 1.0, "read": 0.2}}
    async with a_peer(fault) as peer, AiohttpTransport() as transport:
        request = httpx.Request("POST", peer.address, content=BODY, headers={"x": SECRET}, extensions=timeout)

        with pytest.raises(httpx.TransportError) as raised:
            await transport.handle_async_request(request)

    assert type(raised.value) is expected
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert SECRET not in str(raised.value)


async def test_a_closed_port_is_a_connect_error() -> None:
    timeout = {"timeout": {"connect": 1.0, "write": 1.0, "read": 0.2}}
    async with a_peer(closes) as peer:
        address = peer.address

    async with AiohttpTransport() as transport:
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(httpx.Request("POST", address, extensions=timeout))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"base_url": "https://example.com"}, "BILLING_PORTONE_BASE_URL"),
        ({"base_url": "https://api.portone.io", "read_seconds": 59.9}, "at least 60"),
        ({"read_seconds": 0}, "above 0"),
        ({"connections_max": 0}, "at least 1"),
        ({"resends_max": -1}, "at least"),
        ({"resend_pause_seconds": 0}, "above 0"),
        ({"api_secret": SecretStr("")}, "api_secret"),
        ({"api_secret": SecretStr("a\r\nb")}, "api_secret"),
        ({"api_secret": SecretStr("비밀")}, "api_secret"),
    ],
)
def test_options_that_could_hurt_are_refused(changes: dict[str, Any], complaint: str) -> None:
    sound = {"base_url": "http://127.0.0.1:1", "api_secret": SecretStr(SECRET), "store_id": "store-1"}

    with pytest.raises(ValueError, match=complaint) as raised:
        ClientOptions(**(sound | changes))

    assert "비밀" not in str(raised.value)


@pytest.mark.parametrize(
    "key", ["", "short", '"rb1payment-g0001"', "rb1payment g0001aa", "k" * 251, "열여섯글자가넘는키입니다아아아아"]
)
async def test_an_idempotency_key_that_portone_would_not_take_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        ChargeOrder(payment_id="rb1payment", idempotency_key=key, body=BODY, send_before=0.0)
