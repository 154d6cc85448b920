"""A lane: one Postgres, one simulated PortOne and one wire of its own, on which rounds follow one another.

Several lanes run side by side, so that one can drain while another kills: most of a round is waiting.
"""

import asyncio
import contextlib
import itertools
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.builders import eventually
from tests.conftest import DatabaseUrls, changed_url, execute, make_migrated_database
from tests.crash import books, servers
from tests.crash.doomed_worker import WrongClocks
from tests.crash.harness import Stage
from tests.crash.servers import ColdCopy, Replica, in_thread
from tests.crash.simulated import Simulated
from tests.crash.wire_cutter import WireCutter

_TEMPLATE = "billing_template"


class Lane:
    """The machines of one lane. Enter it to have them, leave it to be rid of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._databases = itertools.count(1)
        self._homes = itertools.count(1)

    async def __aenter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix=f"billing-crash-{self.number}-"))
        # The server runs as another user when root starts it, and must be able to enter.
        self.directory.chmod(0o711)
        self.portone = Simulated()
        self.home = self.directory / "server"
        self.server = await asyncio.to_thread(servers.make_server, self.home)
        await in_thread(self._make_template)
        return self

    async def __aexit__(self, *_: object) -> None:
        await in_thread(self.server.stop)
        self.portone.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _make_template(self) -> None:
        template = make_migrated_database(self.server.url(), _TEMPLATE)
        execute(template.admin_url, books.WITNESS)
        execute(self.server.url(), f"ALTER DATABASE {_TEMPLATE} WITH ALLOW_CONNECTIONS false")

    async def make_replica(self) -> Replica:
        """A replica of the server as it is."""
        home = self.directory / f"replica{next(self._homes)}"
        return await asyncio.to_thread(Replica.of, self.server, home)

    def cold_copy(self) -> ColdCopy:
        """Where a copy of the server's directory can be kept."""
        return ColdCopy(self.home)

    async def take_over(self, replica: Replica) -> None:
        """The server is gone for good, and the replica stands in its place."""
        await in_thread(self.server.stop)
        shutil.rmtree(self.home, ignore_errors=True)
        self.server, self.home = replica.server, replica.home

    def database(self, name: str) -> DatabaseUrls:
        """A database of the server that is the lane's now."""
        return DatabaseUrls(name=name, admin_url=changed_url(self.server.url(), database=name))

    @contextlib.asynccontextmanager
    async def scene(self, **options: object) -> AsyncIterator["Scene"]:
        """A new database, a new world at PortOne, and the way between them."""
        name = f"round_{self.number}_{next(self._databases)}"
        await in_thread(execute, self.server.url(), f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY wal_log")
        logs = Path(tempfile.mkdtemp(dir=self.directory))
        await self.portone.reset(**options)
        database = self.database(name)
        clocks = WrongClocks(logs / "clocks")
        stage = Stage(database, self.portone, logs, clocks=logs / "clocks")
        try:
            async with WireCutter(database.worker_url) as wire:
                yield Scene(self, stage, wire, clocks, logs)
        finally:
            stage.kill_all()
            await self.revive()
            await stage.hang_up()
            await in_thread(execute, self.server.url(), f"DROP DATABASE {name} WITH (FORCE)")
            shutil.rmtree(logs, ignore_errors=True)

    async def revive(self) -> None:
        """Wait until the server answers. One that has given up meanwhile is started again.

        A server without room may lose its startup program and stay up without one: it would never recover, so it is
        killed before it is started.
        """
        stuck_at = time.monotonic() + servers.STUCK_SECONDS

        async def answers() -> bool:
            nonlocal stuck_at
            if self.server.is_running and time.monotonic() > stuck_at:
                await in_thread(self.server.kill)
                stuck_at = time.monotonic() + servers.STUCK_SECONDS
            if not self.server.is_running:
                await in_thread(self.server.start)
            try:
                await servers.value(self.server.url(), "SELECT 1")
            except servers.AWAY:
                return False
            return True

        await eventually(answers, seconds_max=servers.RECOVERY_SECONDS_MAX)


@dataclass(slots=True)
class Scene:
    """What one round plays on."""

    lane: Lane
    stage: Stage
    wire: WireCutter
    clocks: WrongClocks
    logs: Path
    addresses: tuple[str, ...] = ()

    @property
    def server(self) -> EmbeddedPostgres:
        """The primary of now."""
        return self.lane.server

    def address(self, chance: random.Random) -> str:
        """The DSN of one worker: by way of the wire or without it."""
        return self.wire.url if chance.random() < 0.5 else self.direct_address

    @property
    def direct_address(self) -> str:
        """The DSN that knows every server that there may be."""
        return self.addresses[0] if self.addresses else self.stage.database.worker_url

    def follow_primary(self) -> None:
        """Everybody else but the workers with several addresses is led to the primary of now."""
        self.stage.database = self.lane.database(self.stage.database.name)
        self.wire.lead_to(self.stage.database.worker_url)
