"""Nobody holds the webhook endpoint up: too much, too slow, too many, and half of something."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from billing_worker.store import db
from billing_worker.webhooks import connections, endpoint
from tests.builders import eventually
from tests.conftest import DatabaseUrls
from tests.rig import a_database
from tests.webhook_desk import BODY_BYTES_MAX, PATH, Desk, a_desk
from tests.webhooks import a_body, signed


@pytest.fixture
async def pools(database: DatabaseUrls) -> AsyncIterator[db.Database]:
    async with a_database(database) as made:
        yield made


@pytest.fixture
async def desk(pools: db.Database, database: DatabaseUrls) -> AsyncIterator[Desk]:
    async with a_desk(pools.claims, database.admin_url) as made:
        yield made


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 1_000_000])
async def test_a_body_beyond_the_bound_is_refused_by_what_it_declares(desk: Desk, size: int) -> None:
    answer = await desk.send(b"x" * size)

    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert desk.counted("too_large") == 1


async def test_a_body_without_a_length_is_cut_off_at_the_bound(desk: Desk) -> None:
    # given: chunks without end, far more than any socket buffers
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 10_000

    # when
    try:
        refused = (await desk.client.post(PATH, content=chunks())).status_code
    except httpx.NetworkError:
        refused = 413  # it was closed while more was being written, and the answer was overtaken by that

    # then
    assert refused == 413
    assert desk.counted("too_large") == 1
    assert await desk.rows() == []


async def test_a_webhook_of_exactly_the_bound_is_read(desk: Desk) -> None:
    body = a_body()

    answer = await desk.send(body + b" " * (BODY_BYTES_MAX - len(body)))

    assert answer.status_code == 200


async def test_a_slow_body_is_given_up_and_others_are_answered_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(endpoint, "BODY_SECONDS", 0.3)
    reader, writing = await desk.raw(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc".encode())

    # when
    meanwhile = await desk.send()
    given_up = await asyncio.wait_for(reader.read(), 10)

    # then
    assert meanwhile.status_code == 200
    assert given_up.startswith(b"HTTP/1.1 408")
    assert desk.counted("too_slow") == 1
    writing.close()


async def test_a_body_that_is_cut_off_is_not_kept(desk: Desk) -> None:
    headers = "".join(f"{name}: {given}\r\n" for name, given in signed(a_body(), desk.clock.now()).items())
    _, writing = await desk.raw(
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(a_body())}\r\n\r\n".encode() + a_body()[:-1]
    )

    writing.close()

    async def counted() -> bool:
        return desk.counted("cut_off") == 1

    await eventually(counted)
    assert await desk.rows() == []


@pytest.mark.parametrize("begun", [b"", b"POST /web", b"POST / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    reader, writing = await desk.raw(begun)

    ended = await asyncio.wait_for(_end_of(reader), 10)

    assert ended == b""
    writing.close()


async def test_a_kept_connection_must_begin_its_next_request_in_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    reader, writing = await desk.raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\nNot Found")

    writing.write(b"POST /web")

    assert await asyncio.wait_for(_end_of(reader), 10) == b""
    writing.close()


async def test_headers_without_end_end_the_connection(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 600)
    reader, writing = await desk.raw(b"POST / HTTP/1.1\r\nhost: x\r\n")

    async def write() -> None:
        while True:
            writing.write(b"x-more: " + b"x" * 1000 + b"\r\n")
            await writing.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(write(), 5)
    assert await _end_of(reader) == b""


async def _end_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_connections_beyond_the_bound_are_cut_and_the_others_are_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    await desk.send()
    kept = [await desk.raw(b"") for _ in range(2)]

    # when
    reader, writing = await desk.raw(b"")

    # then
    assert await asyncio.wait_for(_end_of(reader), 10) == b""
    assert (await desk.send(webhook_id="wh-2")).status_code == 200
    for _, one in [*kept, (reader, writing)]:
        one.close()
