"""One address before the webhook addresses of all workers, as a proxy's is: whoever lives takes in what comes.

A worker that dies with a webhook in its hands has not answered it, and PortOne sends it again.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.crash.workers import Worker

CHUNK_BYTES = 65_536
PATH = "/webhooks/portone"
# The simulator's own, unless it is told otherwise.
SECRET = "whsec_c2ltdWxhdG9yLXdlYmhvb2stc2VjcmV0"


class Front:
    """Passes each connection on to one living worker after the other."""

    def __init__(self, living: Callable[[], Sequence[Worker]]) -> None:
        self._living = living
        self._turns = itertools.count()
        self._ports: dict[Worker, int] = {}
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for writer in list(self._open):
            writer.transport.abort()

    @property
    def url(self) -> str:
        """Where PortOne posts."""
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}{PATH}"

    @property
    def settings(self) -> Mapping[str, str]:
        """What a worker must be told to take webhooks, on a port of its own."""
        return {"WEBHOOK_ADDRESS": "127.0.0.1:0", "WEBHOOK_SECRETS": SECRET}

    async def _accept(self, from_portone: asyncio.StreamReader, to_portone: asyncio.StreamWriter) -> None:
        try:
            from_worker, to_worker = await asyncio.open_connection("127.0.0.1", self._next_port())
        except OSError:
            # Nobody is there, or he has died since: PortOne sends it again.
            to_portone.transport.abort()
            return
        self._open |= {to_portone, to_worker}
        try:
            await asyncio.gather(_pass_on(from_portone, to_worker), _pass_on(from_worker, to_portone))
        finally:
            self._open -= {to_portone, to_worker}

    def _next_port(self) -> int:
        ports = [port for worker in self._living() if (port := self._port_of(worker)) is not None]
        if not ports:
            raise ConnectionRefusedError
        return ports[next(self._turns) % len(ports)]

    def _port_of(self, worker: Worker) -> int | None:
        if worker not in self._ports:
            for line in worker.lines("webhooks.listening"):
                self._ports[worker] = int(str(line["address"]).rpartition(":")[2])
        return self._ports.get(worker)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
    # Whoever was at the other end has ended it, or was killed.
    with contextlib.suppress(ConnectionError):
        writer.close()
