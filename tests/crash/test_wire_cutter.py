"""The wire itself: a cut falls where it was aimed, before the server has heard or after it has committed."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from billing_worker.store import db
from tests.builders import eventually
from tests.conftest import DatabaseUrls
from tests.crash.wire_cutter import COMMIT, Cut, WireCutter

HALT = ("sending", "halted", "a test", "tester")


@pytest.fixture
async def wire(database: DatabaseUrls) -> AsyncIterator[WireCutter]:
    """A wire to the database of the test."""
    async with WireCutter(database.worker_url.replace("t_worker", "t_owner")) as wire:
        yield wire


@pytest.fixture
async def store(wire: WireCutter) -> AsyncIterator[db.Database]:
    """Pools by way of the wire."""
    store = await db.connect(wire.url, db.PoolLimits(1, 1, 2), application_name="wire")
    yield store
    await store.close()


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("after", 1)])
async def test_a_statement_is_cut_off_before_it_is_heard_or_after_it_is_committed(
    wire: WireCutter, store: db.Database, database: DatabaseUrls, when: str, written: int
) -> None:
    await store.claims.fetch("read_control", "sending")
    cut = Cut("before" if when == "before" else "after", "write_control")
    wire.aim(cut)

    with pytest.raises(db.DatabaseGoneError):
        await store.claims.fetch("write_control", *HALT)

    assert cut.fell.is_set()
    assert await rows(database) == written
    # It falls once: the next connection is passed on.
    await store.claims.fetch("write_control", *HALT)
    assert await rows(database) == 1


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("after", 1)])
async def test_a_transaction_is_cut_off_around_its_commit(
    wire: WireCutter, store: db.Database, database: DatabaseUrls, when: str, written: int
) -> None:
    wire.aim(Cut("before" if when == "before" else "after", COMMIT))

    with pytest.raises(db.DatabaseGoneError):
        async with store.claims.transaction() as transaction:
            await transaction.fetch("write_control", *HALT)

    assert await rows(database) == written


async def test_who_dies_at_one_end_is_gone_at_the_other(wire: WireCutter, database: DatabaseUrls) -> None:
    connection = await asyncpg.connect(wire.url)

    connection.terminate()

    async def gone() -> bool:
        return not await value(database, "SELECT count(*) FROM pg_stat_activity WHERE usename = 't_owner'")

    await eventually(gone)


async def rows(database: DatabaseUrls) -> object:
    """How many orders are written."""
    return await value(database, "SELECT count(*) FROM billing.control WHERE name = 'sending'")


async def value(database: DatabaseUrls, query: str) -> object:
    """One value, past the wire."""
    connection = await asyncpg.connect(database.admin_url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
