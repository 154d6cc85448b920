"""The wire: reading a request's body and sending, withholding or cutting off its answer.

Cutting a connection without an answer is more than ASGI offers, so the server puts a cutter into the scope; without one
(the app called directly) the cut is an exception, which is what a client in the same loop would see.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any

from billing_worker.simulator.answers import Answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CUTTER = "simulator.cut"  # in scope["extensions"]: a callable that aborts the connection


class Wire:
    """One exchange with one client."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send

    async def body(self, bytes_max: int) -> bytes | None:
        """The whole body, cut off one byte beyond the bound; None when the client left before it was complete."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(message.get("body", b""))[: bytes_max + 1]
        chunks = bytearray()
        while message["type"] == "http.request":
            chunks += message.get("body", b"")
            if not message.get("more_body", False) or len(chunks) > bytes_max:
                return bytes(chunks[: bytes_max + 1])
            message = await self._receive()
        return None

    async def answer(self, answer: Answer, *, date_skew_seconds: float) -> None:
        """Send an answer whole."""
        headers = [
            (b"date", _dates.header(date_skew_seconds)),
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
        ]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})

    async def hang(self, seconds: float) -> None:
        """Say nothing until the client leaves or the time is up, then cut the connection."""
        try:
            async with asyncio.timeout(seconds):
                await self._until_left()
        except TimeoutError:
            await self.cut()

    async def cut(self) -> None:
        """Abort the connection with nothing sent."""
        cutter = self._scope.get("extensions", {}).get(CUTTER)
        if cutter is None:
            raise ConnectionAbortedError("the simulator dropped the connection")
        cutter()
        await self._until_left()

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue


class _Dates:
    """The Date header, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._header = b""

    def header(self, skew_seconds: float) -> bytes:
        """The header's value, so many seconds off."""
        second = int(time.time() + skew_seconds)
        if second != self._second:
            self._second, self._header = second, formatdate(second, usegmt=True).encode()
        return self._header


_dates = _Dates()
