"""The three pages that machines read, /livez, /readyz and /metrics, and the server that any pages of ours are on.

Liveness asks only whether the sweeps still move and never the database: a restart cures no outage of Postgres.
Readiness asks the database, briefly. What to answer is decided by the callables that the pages are given; this module
must never know of billing, and it must never keep the daemon from stopping.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Liveness = Callable[[], Mapping[str, str]]
Readiness = Callable[[], Awaitable[Mapping[str, str]]]

# Below the second or two after which probes give up: a late answer that names the reason beats a probe's own time-out.
READINESS_SECONDS = 1.5

# Probes and one or two scrapers. More is somebody's mistake, and it must not take the loop from the charges.
CONNECTIONS_MAX = 64
KEEP_ALIVE_SECONDS = 5
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How many connections are kept, for how long without a request, and by which protocol of uvicorn's kind."""

    connections_max: int = CONNECTIONS_MAX
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS
    protocol: type[asyncio.Protocol] | None = None


PAGES = ServerLimits()

# How long an answer under way may delay the end of the daemon.
SHUTDOWN_SECONDS = 2


def create_app(*, liveness: Liveness, readiness: Readiness, registry: CollectorRegistry) -> Starlette:
    """The pages. The callables give problems by name; none means live, or ready."""

    async def livez(_: Request) -> Response:
        return _verdict("live", liveness())

    async def readyz(_: Request) -> Response:
        try:
            async with asyncio.timeout(READINESS_SECONDS):
                problems = await readiness()
        except TimeoutError:
            problems = {"readiness": f"no answer within {READINESS_SECONDS} s"}
        return _verdict("ready", problems)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


@contextlib.asynccontextmanager
async def serve(app: Starlette, address: str, *, limits: ServerLimits = PAGES) -> AsyncIterator[str]:
    """Serve the app in this loop while the block runs; gives the address with the port in use.

    Raises OSError when the address cannot be listened on: uvicorn, binding by itself, would end the program instead.
    """
    listener = _listen(address)
    server = _GuestServer(_config(app, limits))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="web")
    try:
        await _started(server, serving)
        yield _written(listener)
    finally:
        server.should_exit = True
        await serving
        listener.close()


class _GuestServer(uvicorn.Server):
    """uvicorn as a guest in our loop: signals are the daemon's, which first lets charges in flight finish."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Starlette, limits: ServerLimits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=limits.protocol or "auto",
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=limits.connections_max,
        backlog=BACKLOG,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


async def _started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    """Wait until the server answers, or let its own fault out."""
    while not server.started:
        if serving.done():
            await serving
            raise OSError("the web server ended before it began")
        await asyncio.sleep(0.005)


def _verdict(word: str, problems: Mapping[str, str]) -> Response:
    if problems:
        return JSONResponse({"status": f"not {word}", "problems": dict(problems)}, status_code=503, headers=_FRESH)
    return JSONResponse({"status": word}, headers=_FRESH)


_FRESH = {"cache-control": "no-store"}


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)


def _written(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
