"""One worker of a run: the product's own Daemon on a host of its own, without its bells, web server and signals.

The wiring is the Daemon's. Only what touches the machine is replaced: the clock's readings, the two pools, the
transport.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from typing import Any

import httpx

from billing_worker import bounds
from billing_worker import daemon as product
from billing_worker.daemon import Daemon
from billing_worker.settings import Settings
from billing_worker.store.db import DatabaseGoneError
from billing_worker.store.deployment import Acceptance
from billing_worker.workers.fitness import StartUpRefusedError, refuse_moved
from tests.simulation.clocks import HostClock, ServerClock
from tests.simulation.loop import Host
from tests.simulation.pool import Server, TwinPool, connected
from tests.simulation.portone_books import STORE_ID
from tests.simulation.portone_transport import TwinTransport
from tests.simulation.portone_twin import PortOneTwin
from tests.simulation.watch import Watch
from tests.simulation.world import DAY, World

FIRST = frozenset({"sentry", "watch"})
ALL = FIRST | {"renew", "charge", "reconcile", "listen"}


@cache
def settings_of(
    worker_name: str, dunning: tuple[float, ...], rechecks: tuple[int, ...], lead_seconds: float = 3 * DAY
) -> Settings:
    """The defaults, with what has none and what a run varies."""
    return Settings(
        database_url="postgresql://simulation@nowhere/simulation",  # type: ignore[arg-type]
        portone_api_secret="simulation-secret",  # type: ignore[arg-type]
        portone_store_id=STORE_ID,
        worker_name=worker_name,
        dunning_retry_days=dunning,
        recheck_after_seconds=rechecks,
        schedule_lead_seconds=lead_seconds,
    )


class SilentMetrics:
    """Metrics that nobody reads: every name is there, and counting costs nothing."""

    def __getattr__(self, _name: str) -> Any:
        return _NOTHING


class _Nothing:
    def __call__(self, *_arguments: object, **_labels: object) -> "_Nothing":
        return self

    def __getattr__(self, _name: str) -> "_Nothing":
        return self


_NOTHING = _Nothing()


class TwinDatabase:
    """The product's Database over the server twin."""

    def __init__(self, server: Server, host: Host, settings: Settings, acceptance: Acceptance) -> None:
        admit = acceptance.admit
        self.claims = TwinPool(server, host, settings.database_pool_claims_max, admit)  # type: ignore[arg-type]
        self.outcomes = TwinPool(server, host, settings.database_pool_outcomes_max, admit)  # type: ignore[arg-type]

    async def look_again(self) -> None:
        """Replace every connection before its next use."""
        self.claims.expire()
        self.outcomes.expire()


class Crew:
    """One life of one worker, from its start to its kill or its end."""

    def __init__(self, world: World, name: str, wall: ServerClock, settings: Settings) -> None:
        self.world = world
        self.host = Host(name)
        self.wall = wall
        self.settings = settings
        self.daemon: Daemon | None = None
        self.ended: Callable[[Host], None] = lambda _host: None
        self._acceptance = Acceptance(lambda: 0.0)
        self._ringing: set[str] = set()

    @property
    def awake(self) -> bool:
        """Whether it hears a bell."""
        return self.daemon is not None and not self.host.dead and not self.host.frozen

    def start(self, server: Server, portone: PortOneTwin, watch: Watch) -> None:
        """Begin to live."""
        life = self._live(server, portone, watch)
        self.world.loop.create_task(life, context=self.host.context)

    async def _live(self, server: Server, portone: PortOneTwin, watch: Watch) -> None:
        try:
            await self._work(server, portone, watch)
        except DatabaseGoneError:
            self.world.counts["starts that found no database"] += 1
        except StartUpRefusedError as error:
            self.world.find(f"{self.host} refuses to start: {error}")
        self.world.loop.call_soon(self.ended, self.host, context=self.world.loop.driver.context)

    async def _work(self, server: Server, portone: PortOneTwin, watch: Watch) -> None:
        clock = HostClock(self.wall, self.world.loop)
        acceptance = Acceptance(clock.monotonic)

        @asynccontextmanager
        async def alone() -> AsyncIterator[Any]:
            yield await connected(server, self.host)

        await refuse_moved(alone, bounds.ours(self.settings), acceptance)
        database = TwinDatabase(server, self.host, self.settings, acceptance)
        acceptance.refuse("the database is not written down yet")
        client = bounds.portone_client(self.settings, clock)
        client._make_transport = lambda: TwinTransport(portone, watch, self.host)
        async with client:
            twins: Any = database
            daemon = Daemon(self.settings, twins, client, clock, alone=alone, acceptance=acceptance)
            daemon._settler.start()
            for sweep in daemon._sweeps:
                if sweep.name in FIRST:
                    await sweep.ring()
            self.daemon, self._acceptance = daemon, acceptance
            self.ring(ALL)
            await daemon._stop.wait()
            await daemon._drain()
            await daemon._settler.stop()

    def ring(self, names: frozenset[str]) -> None:
        """Ring sweeps, except those that have not come back from the last ring."""
        if self.daemon is None or self.daemon._stop.is_set():
            return
        if self._acceptance.refusal():
            self.world.loop.create_task(self._ring_after_look(names), context=self.host.context)
            return
        self._start(names)

    def _start(self, names: frozenset[str]) -> list["asyncio.Task[None]"]:
        assert self.daemon is not None, "who is rung lives"
        begun = []
        for sweep in self.daemon._sweeps:
            if sweep.name in names and sweep.name not in self._ringing:
                self._ringing.add(sweep.name)
                begun.append(self.world.loop.create_task(self._ring(sweep), context=self.host.context))
        return begun

    async def _ring_after_look(self, names: frozenset[str]) -> None:
        """The sentry looks every five seconds, so whoever is rung here finds that it has."""
        for look in self._start(frozenset({"sentry"})):
            await look
        self._start(names - {"sentry"})

    async def _ring(self, sweep: Any) -> None:
        try:
            await sweep.ring()
        finally:
            self._ringing.discard(sweep.name)

    def stop(self) -> None:
        """SIGTERM."""
        if self.daemon is not None and not self.daemon._stop.is_set():
            self.daemon.stop()

    def unasked(self) -> list[str]:
        """Failures of tasks that nobody has looked at."""
        ended: list[Any] = [task for task in self.host.tasks if task.done() and not task.cancelled()]
        return [repr(task.exception()) for task in ended if task._log_traceback]


def spare_what_decides_nothing() -> None:
    """Give every Daemon metrics that cost nothing, and read each URL once: both take longer than what is looked at."""
    product.telemetry.Metrics = SilentMetrics  # type: ignore[misc, assignment]
    if httpx._urls.urlparse is httpx._urlparse.urlparse:
        httpx._urls.urlparse = lru_cache(maxsize=4096)(httpx._urlparse.urlparse)  # type: ignore[assignment]
