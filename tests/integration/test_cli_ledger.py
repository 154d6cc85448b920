"""The commands about the ledger, against a real Postgres."""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import asyncpg
import pytest
from typer.testing import Result

from billing_worker.billing.model import shard_of
from tests.command_line import Cli
from tests.conftest import DatabaseUrls, execute

WAIT_SECONDS = 20

# Who waits for this database's ledger; copies of a database have the same object numbers.
WAITERS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE NOT granted AND relation = 'billing.ledger'::regclass AND datname = current_database()
"""


def add_subscription(database: DatabaseUrls, key: str) -> None:
    execute(
        database.worker_url,
        f"""INSERT INTO billing.subscriptions (shard, business_key, customer_id, billing_key, order_name, amount_minor,
                                               anchor_on, next_due_at)
            VALUES ({shard_of(key)}, '{key}', 'c', 'k', 'o', 9900, '2026-01-31', '2126-01-31')""",
    )


def add_entry(database: DatabaseUrls, key: str, message: str) -> None:
    """An entry as a worker makes one."""
    execute(
        database.worker_url,
        f"""INSERT INTO billing.ledger (shard, subscription_id, kind, message, source, actor, recorded_at, sequence,
                                        previous_hash, entry_hash)
            SELECT shard, subscription_id, 'operator', '{message}', 'operator', 'kim', clock_timestamp(), 0, '', ''
            FROM billing.subscriptions WHERE shard = {shard_of(key)} AND business_key = '{key}'""",
    )


def messages(result: Result) -> list[str]:
    return [json.loads(line)["message"] for line in result.stdout.splitlines()]


def test_the_tail_ends_with_the_newest_entry(cli: Cli, database: DatabaseUrls) -> None:
    for key in ("s-1", "s-2"):
        add_subscription(database, key)
    for number in range(3):
        add_entry(database, "s-1", f"one {number}")
    add_entry(database, "s-2", "two")

    assert messages(cli("ledger", "tail", "--limit", "2", "--json")) == ["one 2", "two"]
    assert messages(cli("ledger", "tail", "--subscription", "s-1", "--json")) == ["one 0", "one 1", "one 2"]
    assert messages(cli("ledger", "tail", "--since", "2126-01-01", "--json")) == []
    assert "two" in cli("ledger", "tail").stdout


def test_a_moment_that_is_none_is_refused(cli: Cli) -> None:
    result = cli("ledger", "tail", "--since", "yesterday", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] == "usage"


@contextmanager
def following(database: DatabaseUrls) -> Iterator[tuple[subprocess.Popen[str], "queue.Queue[str]"]]:
    """`ledger tail --follow` under way, and its lines as they come."""
    command = [sys.executable, "-m", "billing_worker", "ledger", "tail", "--follow", "--json"]
    environ = os.environ | {"BILLING_DATABASE_URL": database.worker_url}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as tail:
        lines: queue.Queue[str] = queue.Queue()
        assert tail.stdout is not None
        threading.Thread(target=_pour, args=(tail.stdout, lines), daemon=True).start()
        try:
            yield tail, lines
        finally:
            tail.kill()


def _pour(stream: IO[str], lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)


def test_following_prints_each_later_entry_once_until_interrupted(database: DatabaseUrls) -> None:
    add_subscription(database, "s-1")
    add_entry(database, "s-1", "before")

    with following(database) as (tail, lines):
        printed = [json.loads(lines.get(timeout=WAIT_SECONDS))["message"]]
        for number in range(3):
            add_entry(database, "s-1", f"later {number}")
            printed.append(json.loads(lines.get(timeout=WAIT_SECONDS))["message"])
        tail.send_signal(signal.SIGINT)
        code = tail.wait(timeout=WAIT_SECONDS)

    assert printed == ["before", "later 0", "later 1", "later 2"]
    assert lines.empty()
    assert code == 0


def test_an_untouched_ledger_is_verified(cli: Cli, database: DatabaseUrls) -> None:
    add_subscription(database, "s-1")
    add_entry(database, "s-1", "one")

    result = cli("ledger", "verify", "--json")

    assert result.exit_code == 0
    verified = json.loads(result.stdout)
    assert (verified["entries"], verified["faults"], len(verified["root"])) == (1, [], 64)


def test_an_auditor_can_verify(cli: Cli, database: DatabaseUrls) -> None:
    result = cli("ledger", "verify", BILLING_DATABASE_URL=database.auditor_url)

    assert result.exit_code == 0
    assert "0 faults" in result.stdout


def test_a_changed_entry_is_found(cli: Cli, database: DatabaseUrls) -> None:
    add_subscription(database, "s-1")
    for number in range(2):
        add_entry(database, "s-1", f"entry {number}")
    execute(
        database.admin_url,
        "ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only",
        "UPDATE billing.ledger SET message = 'another' WHERE sequence = 1",
    )

    result = cli("ledger", "verify", "--json")

    assert result.exit_code == 1
    assert [fault for fault in json.loads(result.stdout)["faults"] if "entry 1" in fault]


async def test_an_entry_written_during_the_verification_is_no_fault(cli: Cli, database: DatabaseUrls) -> None:
    key = next(key for number in range(10_000) if shard_of(key := f"s-{number}") == 0)
    add_subscription(database, key)
    add_entry(database, key, "before")
    connection = await asyncpg.connect(database.admin_url)
    try:
        async with connection.transaction():
            # The heads can be read and the entries cannot, until there is one more of them.
            await connection.execute("LOCK TABLE billing.ledger IN ACCESS EXCLUSIVE MODE")
            verifying = asyncio.create_task(asyncio.to_thread(cli, "ledger", "verify"))
            while not await connection.fetchval(WAITERS):
                assert not verifying.done()
            await connection.execute(
                """INSERT INTO billing.ledger (shard, subscription_id, kind, source, recorded_at, sequence,
                                               previous_hash, entry_hash)
                   SELECT shard, subscription_id, 'operator', 'operator', now(), 0, '', '' FROM billing.subscriptions"""
            )
        result = await verifying
    finally:
        await connection.close()

    assert result.exit_code == 0
    assert result.stdout.startswith("1 entries read, 0 faults, root ")


# --- seals ----------------------------------------------------------------------------------------------------------

# What an owner can do who knows how the chain is computed: the entries of one subscription written anew, without some.
REWRITE = """
SET session_replication_role = replica;
ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only;
CREATE TEMP TABLE kept AS SELECT l.* FROM billing.ledger l JOIN billing.subscriptions s USING (shard, subscription_id)
    WHERE s.business_key = 's-1' AND {kept};
DELETE FROM billing.ledger l USING billing.subscriptions s
    WHERE s.shard = l.shard AND s.subscription_id = l.subscription_id AND s.business_key = 's-1';
DELETE FROM billing.ledger_heads h USING billing.subscriptions s
    WHERE s.shard = h.shard AND s.subscription_id = h.subscription_id AND s.business_key = 's-1';
INSERT INTO billing.ledger SELECT * FROM kept ORDER BY sequence;
"""


@pytest.fixture
def sealed(cli: Cli, database: DatabaseUrls, tmp_path: Path) -> Path:
    """Two chains of three entries, and their seal."""
    for key in ("s-1", "s-2"):
        add_subscription(database, key)
        for number in range(3):
            add_entry(database, key, f"entry {number}")
    file = tmp_path / "seal.json"
    result = cli("ledger", "seal", BILLING_DATABASE_URL=database.auditor_url)
    assert result.exit_code == 0
    file.write_text(result.stdout, encoding="utf-8")
    return file


def test_a_seal_has_every_head_and_the_root_that_the_verification_tells(
    cli: Cli, database: DatabaseUrls, sealed: Path
) -> None:
    *heads, last = [json.loads(line) for line in sealed.read_text(encoding="utf-8").splitlines()]

    verified = json.loads(cli("ledger", "verify", "--json").stdout)

    assert {(head["business_key"], head["sequence"]) for head in heads} == {("s-1", 3), ("s-2", 3)}
    assert last == {"heads": 2, "root": verified["root"]}


def test_a_seal_still_holds_when_chains_have_grown(cli: Cli, database: DatabaseUrls, sealed: Path) -> None:
    add_entry(database, "s-1", "later")
    add_subscription(database, "s-3")
    add_entry(database, "s-3", "new")

    result = cli("ledger", "verify", "--seal", str(sealed), BILLING_DATABASE_URL=database.auditor_url)

    assert result.exit_code == 0
    assert "8 entries read, 0 faults" in result.stdout


@pytest.mark.parametrize(
    ("rewriting", "found"),
    [
        (REWRITE.format(kept="sequence <> 2"), "subscription s-1: sealed entry 3 is gone"),
        (REWRITE.format(kept="sequence < 3"), "subscription s-1: sealed entry 3 is gone"),
        (REWRITE.format(kept="false"), "subscription s-1: sealed entry 3 is gone"),
        (REWRITE.format(kept="true"), "subscription s-1: sealed entry 3 is another one"),
        ("UPDATE billing.subscriptions SET business_key = 's-4' WHERE business_key = 's-1'", "sealed entry 3 is gone"),
    ],
)
def test_a_chain_that_its_owner_wrote_anew_is_found_by_the_seal_alone(
    cli: Cli, database: DatabaseUrls, sealed: Path, rewriting: str, found: str
) -> None:
    execute(database.admin_url, rewriting)

    without = cli("ledger", "verify", "--json")
    with_seal = cli("ledger", "verify", "--seal", str(sealed), "--json")

    assert (without.exit_code, json.loads(without.stdout)["faults"]) == (0, [])
    assert with_seal.exit_code == 1
    [fault] = json.loads(with_seal.stdout)["faults"]
    assert found in fault


def test_a_file_that_is_no_whole_seal_is_refused(cli: Cli, sealed: Path) -> None:
    lines = sealed.read_text(encoding="utf-8").splitlines(keepends=True)
    sealed.write_text("".join(lines[:-1]), encoding="utf-8")

    cut = cli("ledger", "verify", "--seal", str(sealed), "--json")
    missing = cli("ledger", "verify", "--seal", str(sealed) + "x", "--json")

    assert (cut.exit_code, missing.exit_code) == (2, 2)
    assert json.loads(cut.stderr)["error"]["kind"] == json.loads(missing.stderr)["error"]["kind"] == "seal"
