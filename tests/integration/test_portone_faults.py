"""The client against peers that drop, reset, hang and lie, over real connections."""

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from billing_worker.billing.outcomes import NoVerdict, Payment, Unanswered
from billing_worker.portone.client import Answer
from billing_worker.portone.transport import ANSWER_BYTES_MAX, AiohttpTransport
from tests.peers import (
    BODY,
    PAID,
    PAID_BODY,
    PAYMENT,
    SECRET,
    Behaviour,
    a_client,
    a_peer,
    an_order,
    answers,
    closes,
    drips,
    event_loop_policy,  # noqa: F401 - a fixture
    hangs,
    resets,
    writes,
)

# pytest-asyncio wants a hook in a conftest instead; only what talks to peers runs on two loops.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


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
