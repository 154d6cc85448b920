"""What several integration tests begin with: one worker's parts, a guarded crew, the command line, a PortOne to ask."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from billing_worker.simulator import server
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.store import deployment
from billing_worker.store.db import Database
from tests.command_line import SECRET, STORE, Cli, command_line
from tests.conftest import DatabaseUrls, run_apart
from tests.guarded import OURS, Guarded, alone, guarded
from tests.rig import Rig, a_database, a_rig


@pytest.fixture
async def rig(database: DatabaseUrls) -> AsyncIterator[Rig]:
    """One worker's parts on a database and a PortOne of the test's own."""
    async with a_rig(database) as made:
        yield made


@pytest.fixture
async def worker(database: DatabaseUrls) -> AsyncIterator[Database]:
    """The pools, as the worker's role."""
    async with a_database(database, claims_max=4) as pools:
        yield pools


@pytest.fixture
async def admin(database: DatabaseUrls) -> AsyncIterator[Any]:
    """A connection of the owner's, who sees and may change everything."""
    connection = await asyncpg.connect(database.admin_url)
    yield connection
    await connection.close()


@pytest.fixture
async def guard(rig: Rig, database: DatabaseUrls) -> AsyncIterator[Guarded]:
    """A guarded crew whose sentry has looked once."""
    async with guarded(rig, database) as made:
        await made.watch(rig)
        yield made


@pytest.fixture
def portone() -> Iterator[str]:
    """The URL of a simulated PortOne that knows no payment: payment ids are the same in every test."""
    with server.in_background(SimulatorOptions(api_secret=SECRET, store_id=STORE)) as url:
        yield url


@pytest.fixture
def cli(database: DatabaseUrls) -> Cli:
    """The command line, with a database and nothing else."""
    return command_line(BILLING_DATABASE_URL=database.worker_url)


@pytest.fixture
def billed(database: DatabaseUrls) -> DatabaseUrls:
    """A database that a worker has billed from, and so has written down."""

    async def claim() -> None:
        async with alone(database.worker_url) as one:
            seen = await deployment.see(one)
            await deployment.record_deployment(
                one, seen, OURS, after=None, look_first=False, actor="worker-1", reason="first used"
            )

    run_apart(claim())
    return database
