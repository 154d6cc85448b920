"""uvicorn's connections, bounded where uvicorn trusts whoever connects.

uvicorn waits for ever for a request's first line and takes headers of any size. Here a head must come within seconds
and kilobytes, and connections beyond the bound are cut at once: what they hold, sockets and memory, is what the charges
need. What a request says is decided elsewhere.
"""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# The longest silence before a request is whole down to its last header. PortOne is one round trip away.
HEAD_SECONDS = 10.0
# PortOne's headers and those of two proxies are about 2 KiB.
HEAD_BYTES_MAX = 16_384
# PortOne is one sender, or one reverse proxy in front of us: a few dozen connections carry thousands of webhooks a
# second.
CONNECTIONS_MAX = 256
# Longer than the 60 s for which common proxies keep a connection to us, so that it is the proxy that ends it, and never
# we while a webhook is on its way.
KEEP_ALIVE_SECONDS = 65

# uvicorn warns of every malformed request by a line; a stranger must not be able to fill a log.
_log = logging.getLogger("uvicorn.webhooks")
_log.setLevel(logging.ERROR)


class BoundedConnection(HttpToolsProtocol):
    """One connection whose heads are bounded in time and size."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log
        self._head_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, unless there are enough of us."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the wait."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, received: bytes) -> None:
        """Count what comes while the head is not complete."""
        super().data_received(received)
        if self._head_deadline is not None:
            self._head_bytes += len(received)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins; on a connection that was kept, this is when its time starts to count."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there; how long the body takes is the endpoint's to say."""
        self._head_came()
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._head_deadline is None:
            self._head_bytes = 0
            self._head_deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
