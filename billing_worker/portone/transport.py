"""HTTP for httpx, carried by aiohttp: one request, one send, at most one answer.

It decides nothing about charges. It never sends a POST twice, follows no redirect, reads no proxy or password from the
environment, and turns every failure of the network into an httpx.TransportError that holds nothing of the request.
"""

import ssl
from collections.abc import Callable

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractStreamWriter

# PortOne's answers are a few kilobytes; more is not PortOne, and must not fill our memory.
ANSWER_BYTES_MAX = 1024 * 1024

# Load balancers drop idle connections after 60 seconds. aiohttp uses no connection that idled for longer than this, so
# that a POST seldom meets one that the other side is just closing, and closes it before twice as long.
IDLE_SECONDS_MAX = 25.0

# From the narrow to the wide: the first that fits names the failure, for people. No caller may decide anything by it.
_FAILURES: tuple[tuple[type[BaseException], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientConnectorCertificateError, httpx.ConnectError),
    (aiohttp.ClientConnectorDNSError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.ReadError),
    (OSError, httpx.ReadError),
)
_NETWORK_FAILURES = (aiohttp.ClientError, OSError)


class _PunctualBody(aiohttp.BytesPayload):
    """A body that is not written when its time is over, however long the connection took or the worker was frozen.

    aiohttp keeps the headers until the body is written, which a task of its own does a turn of the loop after the
    request was begun. A look any earlier would let a worker that is frozen in between send whatever it wakes to.
    """

    def __init__(self, content: bytes, in_time: Callable[[], bool]) -> None:
        super().__init__(content)
        self._in_time = in_time

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._in_time():
            raise aiohttp.ClientOSError
        await super().write_with_length(writer, content_length)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport over one aiohttp session. It must be made inside a running loop."""

    def __init__(self, *, verify: ssl.SSLContext | None = None) -> None:
        """Open no connection yet. Certificates are checked against certifi's list, whatever the environment says."""
        self._session = aiohttp.ClientSession(
            # The number of connections is bounded by the caller, who also knows until when it is worth waiting for one.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=IDLE_SECONDS_MAX, ssl=verify or httpx.create_ssl_context(trust_env=False)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request once. Raises httpx.TransportError for every failure of the network.

        The extension `in_time`, where there is one, is asked when the request is about to be written and nothing of it
        has left.
        """
        try:
            async with self._session.request(
                request.method,
                # Encoded already: yarl would turn an escaped slash of a payment id into a path separator.
                yarl.URL(str(request.url), encoded=True),
                headers=[(name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw],
                data=_body(request),
                # A request without a body has no type; an empty one would be given aiohttp's.
                skip_auto_headers=["Content-Type"],
                allow_redirects=False,
                timeout=_timeout(request),
            ) as answer:
                body = await _read_bounded(answer.content)
                return httpx.Response(answer.status, headers=_identity(answer.raw_headers), content=body)
        except _NETWORK_FAILURES as error:
            # Not chained: aiohttp's errors carry the request's headers, and so the API secret, in their repr.
            raise _translated(error) from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


def _body(request: httpx.Request) -> _PunctualBody | bytes | None:
    """The body, be it an empty one where there is a time to keep: aiohttp looks nowhere else before it writes."""
    in_time = request.extensions.get("in_time")
    if in_time is None:
        return request.content or None
    return _PunctualBody(request.content, in_time)


def _timeout(request: httpx.Request) -> aiohttp.ClientTimeout:
    timeout = request.extensions["timeout"]
    return aiohttp.ClientTimeout(
        # A peer that sends one byte a minute never meets a read timeout; the sum ends it.
        total=timeout["connect"] + timeout["write"] + timeout["read"],
        # In aiohttp's words `connect` is everything before the first byte leaves: name look-up, TCP and TLS.
        connect=timeout["connect"],
        sock_read=timeout["read"],
    )


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    body = await content.readany()
    while not content.at_eof():
        body += await content.readany()
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError
    return body


def _identity(headers: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    # We ask for no compression, and httpx would unpack a megabyte into a gigabyte where it is told that there is one.
    return [(name, value) for name, value in headers if name.lower() != b"content-encoding"]


def _translated(error: BaseException) -> httpx.TransportError:
    wanted = next(to_type for from_type, to_type in _FAILURES if isinstance(error, from_type))
    return wanted(type(error).__name__)
