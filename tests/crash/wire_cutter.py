"""A wire between workers and Postgres that a test can cut, so that what the server did was never acknowledged.

Only the workers' end is cut: the server goes on with what it was told, as it does when a network breaks. A cut can be
aimed at one named statement, before the server has read it or after it has committed it and before the worker hears.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

from billing_worker.store import db

CHUNK_BYTES = 65_536

# The statement that ends a transaction of several; the others are named as in sql/queries.
COMMIT = "commit"

# Postgres' protocol, as far as it is needed: what a client sends before its first typed message, and how a server says
# that it is done: no transaction is open, one is, or one has failed.
_STARTUP_VERSION = 196_608
_DONE = (b"Z\x00\x00\x00\x05I", b"Z\x00\x00\x00\x05T", b"Z\x00\x00\x00\x05E")


@dataclass(slots=True)
class Cut:
    """A cut that waits for its statement. It falls once."""

    when: Literal["before", "after"]
    statement: str
    fell: asyncio.Event = field(default_factory=asyncio.Event)


class WireCutter:
    """Passes bytes on until it is told to cut."""

    def __init__(self, server_url: str) -> None:
        self._server_url = urlsplit(server_url)
        self._lines: set[_Line] = set()
        self._armed: list[Cut] = []

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for line in list(self._lines):
            line.close()

    @property
    def url(self) -> str:
        """The server's DSN, by way of this wire."""
        port = self._listener.sockets[0].getsockname()[1]
        user, _, _ = self._server_url.netloc.rpartition("@")
        return urlunsplit(self._server_url._replace(netloc=f"{user}@127.0.0.1:{port}"))

    def lead_to(self, server_url: str) -> None:
        """Lead new connections to another server, as an address does that follows the primary."""
        self._server_url = urlsplit(server_url)

    def cut(self) -> None:
        """Cut every connection on the workers' side. New ones are passed on."""
        for line in list(self._lines):
            line.cut()

    def aim(self, *cuts: Cut) -> None:
        """Let each of these fall on the first connection that its statement passes; earlier ones are called off."""
        self._armed = list(cuts)

    def _falls(self, when: str, statement: str | None) -> bool:
        falling = [cut for cut in self._armed if (cut.when, cut.statement) == (when, statement)]
        for cut in falling:
            self._armed.remove(cut)
            cut.fell.set()
        return bool(falling)

    async def _accept(self, from_worker: asyncio.StreamReader, to_worker: asyncio.StreamWriter) -> None:
        assert self._server_url.hostname is not None
        try:
            from_server, to_server = await asyncio.open_connection(self._server_url.hostname, self._server_url.port)
        except OSError:
            to_worker.transport.abort()
            return
        line = _Line(self._falls, to_worker, to_server)
        self._lines.add(line)
        try:
            await asyncio.gather(line.pass_requests(from_worker), line.pass_answers(from_server))
        finally:
            self._lines.discard(line)


class _Line:
    """One connection: what the worker says is read message by message, since a cut may be aimed at one."""

    def __init__(
        self, falls: Callable[[str, str | None], bool], to_worker: asyncio.StreamWriter, to_server: asyncio.StreamWriter
    ) -> None:
        self._falls = falls
        self._to_worker = to_worker
        self._to_server = to_server
        self._messages = _Messages()
        self._cut_after_answer = False
        self._is_cut = False
        self._kept = b""

    def cut(self) -> None:
        """Cut the worker's end. The server is not told, as on a broken network: it waits for more."""
        self._is_cut = True
        self._to_worker.transport.abort()

    def close(self) -> None:
        """Close both ends."""
        self._to_worker.transport.abort()
        self._to_server.transport.abort()

    async def pass_requests(self, reader: asyncio.StreamReader) -> None:
        """What the worker says, until it ends or is cut off."""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                for message, statement in self._messages.read(chunk):
                    if self._falls("before", statement):
                        self.cut()
                        return
                    self._cut_after_answer |= self._falls("after", statement)
                    self._to_server.write(message)
        if not self._is_cut:
            # It ended by itself or was killed: its kernel tells the server.
            self._to_server.close()

    async def pass_answers(self, reader: asyncio.StreamReader) -> None:
        """What the server says, until it ends."""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                if not self._cut_after_answer:
                    # What the server still says after a cut is read and dropped, so that it never waits for a reader.
                    if not self._to_worker.is_closing():
                        self._to_worker.write(chunk)
                elif (self._kept + chunk).endswith(_DONE):
                    self.cut()
                else:
                    self._kept = (self._kept + chunk)[-len(_DONE[0]) :]
        # The server has ended the connection, and a worker that lives learns it from the closed socket.
        self._to_worker.close()


class _Messages:
    """Cuts a stream into the protocol's messages, and knows which named statement each one runs."""

    def __init__(self) -> None:
        self._names = {body: name for name, body in db.queries().items()}
        self._prepared: dict[bytes, str | None] = {}
        self._started = False
        self._left = b""

    def read(self, chunk: bytes) -> list[tuple[bytes, str | None]]:
        """The whole messages so far, each with the statement that it begins to run, if it does."""
        self._left += chunk
        found: list[tuple[bytes, str | None]] = []
        while (length := self._length()) is not None and len(self._left) >= length:
            message, self._left = self._left[:length], self._left[length:]
            found.append((message, self._statement(message)))
        return found

    def _length(self) -> int | None:
        head = 1 if self._started else 0
        if len(self._left) < head + 4:
            return None
        return head + int.from_bytes(self._left[head : head + 4], "big")

    def _statement(self, message: bytes) -> str | None:
        if not self._started:
            self._started = int.from_bytes(message[4:8], "big") == _STARTUP_VERSION
            return None
        kind, body = message[:1], message[5:]
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = self._names.get(text.decode())
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            return self._prepared.get(name)
        elif kind == b"Q" and body.upper().startswith(b"COMMIT"):
            return COMMIT
        return None
