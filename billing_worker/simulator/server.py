"""Serving a simulator over HTTP: on a port of one's own choosing or any free one, until cancelled or told to stop.

The access log is off, since paths hold billing keys. What the simulator remembers ends with it.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import queue
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from billing_worker.simulator.app import App, create_app
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.simulator.traffic import Stage
from billing_worker.simulator.wire import CUTTER

BACKLOG = 4096  # a crash test reconnects hundreds of clients in one moment
KEEP_ALIVE_SECONDS = 75  # longer than a client's pool keeps a connection, so that the client closes first
LAST_ANSWERS_SECONDS = 1.0  # for what is on its way when the end comes; then every connection is cut
GOING_DOWN_SECONDS = 5  # for tries still at the PG, which run to their end unheard
START_SECONDS_MAX = 30.0


async def serve(
    options: SimulatorOptions,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until cancelled, SIGTERM or SIGINT; port 0 takes a free one. `ready` is called with the URL."""
    with _listening(host, port) as listener:
        url = _url(listener)
        server = _Server(create_app(options), on_started=lambda: ready(url) if ready is not None else None)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        with _stopping(server):
            try:
                await asyncio.shield(serving)
            except asyncio.CancelledError:
                server.should_exit = True
                await serving
                raise


def run(
    options: SimulatorOptions,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve in a loop of its own, uvloop's where it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(options, host, port, ready=ready))


@contextlib.contextmanager
def in_background(options: SimulatorOptions) -> Iterator[str]:
    """A simulator in a thread and a loop of its own, for as long as the block lasts; gives its URL."""
    urls: queue.SimpleQueue[str] = queue.SimpleQueue()
    serving: concurrent.futures.Future[Callable[[], object]] = concurrent.futures.Future()

    async def served() -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.set_result(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
        await serve(options, port=0, ready=urls.put)

    def in_thread() -> None:
        with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(served())

    thread = threading.Thread(target=in_thread, name="simulator", daemon=True)
    thread.start()
    try:
        yield urls.get(timeout=START_SECONDS_MAX)
    finally:
        serving.result(START_SECONDS_MAX)()
        thread.join()


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a way to cut the connection put into each request's scope."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # ASGI types extensions as tables; a callable in one is ours alone.
        self.scope["extensions"] = {CUTTER: self.transport.abort}  # type: ignore[dict-item]


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it listens and leaves signals to us.

    uvicorn raises a caught signal again once it is down, which would end the program before its caller could tidy up.
    """

    def __init__(self, app: App, *, on_started: Callable[[], None]) -> None:
        super().__init__(_config(app))
        self._simulator = app.simulator
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        world = self._simulator.world
        world.holds.release()
        await world.traffic.until(
            lambda: all(request.stage is Stage.HANGING for request in world.traffic.in_flight.values()),
            seconds=LAST_ANSWERS_SECONDS,
        )
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Protocol):
                connection.transport.abort()
        await super().shutdown(sockets)
        await self._simulator.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # ours can be set wrong on request
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GOING_DOWN_SECONDS,
    )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the server, where this thread may listen to them."""
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], Any] | None:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows, where asyncio's own loop serves
    except ImportError:
        return None
    return uvloop.new_event_loop
