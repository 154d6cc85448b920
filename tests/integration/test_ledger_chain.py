"""The chain of the ledger: the database and the rules compute one hash, and whatever is changed later shows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_worker.billing.ledger import StoredEntry, entry_hash
from billing_worker.store import ledger
from billing_worker.store.db import Database
from tests.builders import NOON
from tests.conftest import DatabaseUrls, execute, run_apart
from tests.rig import a_database

SHARD = 3
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
AWKWARD = [
    "", " ", '"', "\\", "\\u0000", "\b\f\n\r\t", "\x01\x1f\x7f\x80\x9f", "\u2028\u2029", "\ufeff\ufffe\uffff",
    "한도초과",
    "a'b", "$$", "{}[]:,", "\U0001f4b3\U0010ffff", "e\u0301", "</script>", "%s", "null", "true", "1e400",
]  # fmt: skip

ADD_SUBSCRIPTIONS = """
INSERT INTO billing.subscriptions (shard, business_key, customer_id, billing_key, order_name, amount_minor, anchor_on,
                                   next_due_at)
SELECT 3, 'sub-' || n, 'customer', 'bk-ok-1', 'name', 9900, '2026-01-31', '2026-01-31' FROM generate_series(1, 20) AS n
"""
ADD_ENTRY = """
INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency,
                            pg_tx_id, code, message, source, actor, recorded_at, sequence, previous_hash, entry_hash)
VALUES (3, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now(), 0, '', '')
"""


@pytest.fixture
async def admin(database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.admin_url)
    await connection.execute(ADD_SUBSCRIPTIONS)
    yield connection
    await connection.close()


@pytest.fixture
async def worker(database: DatabaseUrls) -> AsyncIterator[Database]:
    async with a_database(database) as pools:
        yield pools


async def note(connection: Any, message: str = "", *, subscription_id: int = 1) -> None:
    await connection.execute(
        ADD_ENTRY, subscription_id, "operator", None, None, None, None, None, None, "", message, "operator", "kim"
    )


async def stored(connection: Any) -> list[StoredEntry]:
    rows = await connection.fetch("SELECT * FROM billing.ledger WHERE shard = 3 ORDER BY subscription_id, sequence")
    return [StoredEntry(**{name: row[name] for name in StoredEntry.__dataclass_fields__}) for row in rows]


async def faults(worker: Database) -> list[str]:
    async with worker.claims.snapshot() as snapshot:
        return (await ledger.verify_shard(snapshot, SHARD))[1]


# --- one hash -------------------------------------------------------------------------------------------------------


def test_the_database_hashes_awkward_texts_as_the_rules_do(database: DatabaseUrls) -> None:
    assert run_apart(hashes_agree(database, AWKWARD))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_the_database_hashes_whatever_text_as_the_rules_do(database: DatabaseUrls, texts: list[str]) -> None:
    assert run_apart(hashes_agree(database, texts))


async def hashes_agree(database: DatabaseUrls, texts: list[str]) -> bool:
    connection = await asyncpg.connect(database.admin_url)
    try:
        if not await connection.fetchval("SELECT count(*) FROM billing.subscriptions"):
            await connection.execute(ADD_SUBSCRIPTIONS)
        await connection.executemany(
            ADD_ENTRY,
            [
                (1 + n % 20, "declined", n, 2**62 + n, text, 9900, "KRW", text, text, text, "look", text)
                for n, text in enumerate(texts)
            ],
        )
        entries = await stored(connection)
        assert len(entries) >= len(texts)
        return all(entry.entry_hash == entry_hash(entry) for entry in entries)
    finally:
        await connection.close()


async def test_the_database_hashes_a_moment_to_the_microsecond_as_the_rules_do(admin: Any) -> None:
    for _ in range(50):
        await note(admin)

    entries = await stored(admin)

    assert all(entry.entry_hash == entry_hash(entry) for entry in entries)
    assert any(entry.recorded_at.microsecond % 1000 for entry in entries)


async def test_what_the_writer_says_about_number_hash_and_moment_does_not_count(admin: Any) -> None:
    # given
    await note(admin)
    forged = ADD_ENTRY.replace("now(), 0, '', ''", "'2001-01-01', 77, 'x', 'y'")

    # when
    await admin.execute(forged, 1, "operator", *[None] * 6, "", "", "operator", "kim")

    # then
    first, second = await stored(admin)
    assert (second.sequence, second.previous_hash) == (2, first.entry_hash)
    assert second.recorded_at > NOON - timedelta(days=365)
    assert second.entry_hash == entry_hash(second)


# --- one chain ------------------------------------------------------------------------------------------------------


async def test_many_writers_at_once_never_fork_a_chain(database: DatabaseUrls, admin: Any, worker: Database) -> None:
    # given
    writers = [await asyncpg.connect(database.worker_url) for _ in range(8)]

    # when
    async def write(writer: Any, name: int) -> None:
        for number in range(15):
            async with writer.transaction():
                await note(writer, f"{name}-{number}", subscription_id=1 + number % 3)

    await asyncio.gather(*(write(writer, name) for name, writer in enumerate(writers)))
    for writer in writers:
        await writer.close()

    # then
    entries = await stored(admin)
    assert len(entries) == 8 * 15
    assert [entry.sequence for entry in entries if entry.subscription_id == 1] == list(range(1, 41))
    assert await faults(worker) == []


async def test_an_entry_that_was_rolled_back_leaves_no_gap(admin: Any, worker: Database) -> None:
    # given
    await note(admin, "first")
    transaction = admin.transaction()
    await transaction.start()
    await note(admin, "never was")
    await transaction.rollback()

    # when
    await note(admin, "second")

    # then
    assert [(entry.sequence, entry.message) for entry in await stored(admin)] == [(1, "first"), (2, "second")]
    assert await faults(worker) == []


# --- whatever is changed later shows --------------------------------------------------------------------------------

TAMPER = """
ALTER TABLE billing.ledger DISABLE TRIGGER USER;
{change};
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_chain;
"""


async def tampered(admin: Any, database: DatabaseUrls, worker: Database, change: str) -> list[str]:
    """What the verification finds after somebody with every right has made the change."""
    for number in range(5):
        await note(admin, f"entry {number}")
        await note(admin, f"entry {number}", subscription_id=2)
    assert await faults(worker) == []
    execute(database.admin_url, TAMPER.format(change=change))
    return await faults(worker)


ONE = "WHERE subscription_id = 1 AND sequence"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (f"UPDATE billing.ledger SET message = 'x' {ONE} = 3", "entry 3: its content does not give its hash"),
        (f"UPDATE billing.ledger SET recorded_at = now() {ONE} = 3", "entry 3: its content does not give its hash"),
        (f"UPDATE billing.ledger SET subscription_id = 3 {ONE} = 5", "subscription 3"),
        (f"DELETE FROM billing.ledger {ONE} = 3", "entry 4: sequence 4 stands where 3 belongs"),
        (f"DELETE FROM billing.ledger {ONE} = 1", "entry 2: sequence 2 stands where 1 belongs"),
        (f"DELETE FROM billing.ledger {ONE} = 5", "the chain does not end where its head says"),
        (f"DELETE FROM billing.ledger {ONE} >= 1", "the chain does not end where its head says"),
        (f"UPDATE billing.ledger SET sequence = 6 {ONE} = 5", "entry 6: sequence 6 stands where 5 belongs"),
        ("UPDATE billing.ledger_heads SET sequence = 4 WHERE subscription_id = 1", "does not end where its head says"),
        ("DELETE FROM billing.ledger_heads WHERE subscription_id = 1", "does not end where its head says"),
    ],
)  # fmt: skip
async def test_what_somebody_with_every_right_has_changed_is_found(
    admin: Any, database: DatabaseUrls, worker: Database, change: str, found: str
) -> None:
    words = await tampered(admin, database, worker, change)

    assert any(found in fault for fault in words), words
    assert not any("subscription 2" in fault for fault in words)


async def test_a_forged_entry_with_a_good_hash_does_not_fit_its_successor(
    admin: Any, database: DatabaseUrls, worker: Database
) -> None:
    """Somebody computes the hash as we do, and would have to rewrite everything that came after."""
    # given
    for number in range(3):
        await note(admin, f"entry {number}")
    second = (await stored(admin))[1]
    forged = entry_hash(StoredEntry(**{**as_fields(second), "message": "forged"}))

    # when
    change = f"UPDATE billing.ledger SET message = 'forged', entry_hash = '\\x{forged.hex()}' {ONE} = 2"
    execute(database.admin_url, TAMPER.format(change=change))

    # then
    assert await faults(worker) == ["subscription 1, entry 3: does not name its predecessor's hash"]


def as_fields(entry: StoredEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in StoredEntry.__dataclass_fields__}
