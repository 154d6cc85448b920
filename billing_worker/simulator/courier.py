"""The courier: one POST to one receiver, with a time-out for the connection and for the answer, and nothing kept open.

Whatever the receiver does is a reply or the lack of one. A redirect is not followed: it is no 2xx.
"""

from dataclasses import dataclass

import aiohttp

CONNECTIONS_MAX = 64
REPLY_BYTES_MAX = 2_000  # what is kept of an answer, which nobody reads but somebody looking for a fault


@dataclass(frozen=True, slots=True)
class Received:
    """An answer to a POST."""

    status: int
    headers: str
    body: str


class Courier:
    """Carries webhooks for as long as the simulator runs."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: str, headers: dict[str, str], *, timeout_seconds: float) -> Received | None:
        """Send; None when no answer came."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX))
        patience = aiohttp.ClientTimeout(total=None, connect=timeout_seconds, sock_read=timeout_seconds)
        try:
            async with self._session.post(
                url, data=body.encode(), headers=headers, timeout=patience, allow_redirects=False
            ) as response:
                said = await response.content.read(REPLY_BYTES_MAX)
                lines = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
                return Received(response.status, lines[:REPLY_BYTES_MAX], said.decode(errors="replace"))
        except (aiohttp.ClientError, OSError, ValueError):
            return None

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
