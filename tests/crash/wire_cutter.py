"""A wire between workers and Postgres that a test can cut, so that what the server did was never acknowledged.

Only the workers' end is cut: the server goes on with what it was told, as it does when a network breaks.
"""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 65_536


class WireCutter:
    """Passes bytes on until it is told to cut."""

    def __init__(self, server_url: str) -> None:
        self._server_url = urlsplit(server_url)
        self._to_workers: list[asyncio.StreamWriter] = []
        self._to_server: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for writer in (*self._to_workers, *self._to_server):
            writer.transport.abort()

    @property
    def url(self) -> str:
        """The server's DSN, by way of this wire."""
        port = self._listener.sockets[0].getsockname()[1]
        user, _, _ = self._server_url.netloc.rpartition("@")
        return urlunsplit(self._server_url._replace(netloc=f"{user}@127.0.0.1:{port}"))

    def cut(self) -> None:
        """Cut every connection on the workers' side. New ones are passed on."""
        for writer in self._to_workers:
            writer.transport.abort()
        self._to_workers.clear()

    async def _accept(self, from_worker: asyncio.StreamReader, to_worker: asyncio.StreamWriter) -> None:
        assert self._server_url.hostname is not None
        from_server, to_server = await asyncio.open_connection(self._server_url.hostname, self._server_url.port)
        self._to_workers.append(to_worker)
        self._to_server.append(to_server)
        await asyncio.gather(_pass_on(from_worker, to_server), _pass_on(from_server, to_worker))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            # What the server still says after the cut is read and dropped, so that it never waits for a reader.
            if not writer.is_closing():
                writer.write(chunk)
    except ConnectionError:
        return
