"""What the crash tests stand on: a durable Postgres, the simulator in a process of its own, a stage for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.conftest import DatabaseUrls, changed_url, chosen_binaries, execute, make_migrated_database
from tests.crash.doomed_worker import WrongClocks
from tests.crash.front import Front
from tests.crash.harness import Stage
from tests.crash.simulated import Simulated

# What a test may have changed, set back for the next one.
PORTONE_AS_IT_WAS = {"latency_ms": 5.0, "jitter_ms": 0.0, "late_success_seconds": 3.0, "invisible_seconds": 2.0}
PORTONE_AS_IT_WAS |= {"firing_late_seconds": 2.0, "started_seconds": 2.0}

_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test of this directory."""
    config.addinivalue_line("markers", "crash: kills workers and servers of its own")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.crash)


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulated]:
    """One simulator for all; every stage begins a new world in it."""
    with Simulated() as portone:
        yield portone


@pytest.fixture(scope="session")
def durable_server() -> Iterator[EmbeddedPostgres]:
    """A server that keeps its promises about a commit, or the workers would refuse it."""
    with EmbeddedPostgres(durable=True, binaries=chosen_binaries()) as server:
        make_migrated_database(server.url(), "billing_template")
        execute(server.url(), "ALTER DATABASE billing_template WITH ALLOW_CONNECTIONS false")
        yield server


@pytest.fixture
def postgres(durable_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """The server, which a test may kill and start; it runs again for the next one."""
    yield durable_server
    if not durable_server.is_running:
        durable_server.start()


@pytest.fixture
def durable_database(postgres: EmbeddedPostgres) -> DatabaseUrls:
    """A migrated and empty database of the test's own."""
    name = f"crash_{next(_numbers)}"
    execute(postgres.url(), f"CREATE DATABASE {name} TEMPLATE billing_template STRATEGY wal_log")
    return DatabaseUrls(name=name, admin_url=changed_url(postgres.url(), database=name))


@pytest.fixture
async def stage(durable_database: DatabaseUrls, simulator: Simulated, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage with nothing on it."""
    await simulator.reset(**PORTONE_AS_IT_WAS)
    WrongClocks(tmp_path / "clocks")
    stage = Stage(durable_database, simulator, tmp_path, clocks=tmp_path / "clocks")
    try:
        yield stage
    finally:
        stage.kill_all()
        await stage.hang_up()
        await simulator.release()


@pytest.fixture
async def front(stage: Stage) -> AsyncIterator[Front]:
    """The way of PortOne's webhooks to whichever worker lives; its workers take webhooks from now on."""
    async with Front(lambda: stage.living) as front:
        stage.settings |= front.settings
        await stage.portone.webhooks(urls=[front.url], minute_seconds=0.02)
        yield front
