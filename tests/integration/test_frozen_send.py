"""A worker that is frozen between its last look at the deadline and the bytes: nothing leaves when it wakes."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from billing_worker.portone import schedules
from billing_worker.portone.client import ChargeOrder
from billing_worker.portone.transport import AiohttpTransport
from tests.peers import (
    BODY,
    a_client,
    event_loop_policy,  # noqa: F401 - a fixture
)

# pytest-asyncio wants a hook in a conftest instead; only what talks to peers runs on two loops.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

THREE_HOURS = 11_000.0


@dataclass
class SilentPeer:
    """Takes what arrives and answers nothing. It is asked without a turn of the loop, as the kernel would be."""

    listener: socket.socket
    callers: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def has_bytes(self) -> bool:
        """Whether anything of a request has arrived."""
        with contextlib.suppress(BlockingIOError):
            self.callers.append(self.listener.accept()[0])
        for caller in self.callers:
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                if caller.recv(1, socket.MSG_PEEK):
                    return True
        return False


@pytest.fixture
def silent_peer() -> Iterator[SilentPeer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        peer = SilentPeer(listener)
        yield peer
        for caller in peer.callers:
            caller.close()


async def test_what_was_not_with_the_kernel_a_turn_after_the_last_look_never_leaves(silent_peer: SilentPeer) -> None:
    loop = asyncio.get_running_loop()
    seconds, sending, had_left = 0.0, False, False

    def freeze() -> None:
        nonlocal seconds, had_left
        had_left = silent_peer.has_bytes()
        seconds += THREE_HOURS

    def looked_at() -> float:
        if sending and not seconds:
            loop.call_soon(freeze)
        return seconds

    class Watched(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal sending
            sending = True
            return await super().handle_async_request(request)

    # given: a worker that stands still for three hours at the first turn of its loop after its last look
    client = a_client(silent_peer.address, seconds=looked_at, transport=Watched, read_seconds=0.2)

    # when
    async with client as portone:
        order = ChargeOrder(payment_id="rb1payment", idempotency_key="rb1payment-g0001", body=BODY, send_before=20.0)
        await portone.charge(order)

    # then: PortOne, which has forgotten the key by now, has nothing that it did not have before
    assert seconds == THREE_HOURS
    assert silent_peer.has_bytes() == had_left


async def test_a_revocation_that_is_not_with_the_kernel_in_time_never_leaves(silent_peer: SilentPeer) -> None:
    """It has no body, and its time is looked at all the same when the request is about to be written."""
    seconds = 0.0

    class Frozen(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal seconds
            seconds += THREE_HOURS
            return await super().handle_async_request(request)

    # given: a worker that stands still for three hours between its turn and the request
    client = a_client(silent_peer.address, seconds=lambda: seconds, transport=Frozen, read_seconds=0.2)

    # when
    async with client as portone:
        await schedules.revoke(portone, "schedule-1")

    # then
    assert seconds >= THREE_HOURS
    assert not silent_peer.has_bytes()
