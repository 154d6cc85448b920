"""The commands that start something, and how failures end: as programs of their own, against a real Postgres."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from billing_worker.cli import app
from billing_worker.store.migrate import read_migrations
from tests.conftest import DatabaseUrls, changed_url, execute

WAIT_SECONDS = 30
COMMAND = [sys.executable, "-m", "billing_worker"]

Cli = Callable[..., Result]


@pytest.fixture
def granted_database(database: DatabaseUrls) -> DatabaseUrls:
    """A migrated database with the one grant that a copy of a database is made without."""
    execute(database.admin_url, f'GRANT CREATE ON DATABASE "{database.name}" TO billing_owner')
    return database


@pytest.fixture
def empty_database(granted_database: DatabaseUrls) -> DatabaseUrls:
    """A database without the schema."""
    execute(granted_database.admin_url, "DROP SCHEMA billing CASCADE")
    return granted_database


def cli(*arguments: str, url: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"BILLING_DATABASE_URL": url})


def test_a_database_is_migrated_once(empty_database: DatabaseUrls) -> None:
    wanted = [migration.name for migration in read_migrations()]

    pending = cli("migrate", "--check", "--json", url=empty_database.migrator_url)
    first = cli("migrate", "--json", url=empty_database.migrator_url)
    second = cli("migrate", "--json", url=empty_database.migrator_url)
    nothing_pending = cli("migrate", "--check", url=empty_database.migrator_url)

    assert (pending.exit_code, json.loads(pending.stdout)) == (1, {"pending": wanted})
    assert (first.exit_code, json.loads(first.stdout)) == (0, {"applied": wanted})
    assert (second.exit_code, json.loads(second.stdout)) == (0, {"applied": []})
    assert (nothing_pending.exit_code, nothing_pending.stdout) == (0, "the schema is up to date\n")


def test_an_edited_migration_is_told_and_not_a_traceback(granted_database: DatabaseUrls) -> None:
    execute(granted_database.admin_url, "UPDATE billing.schema_migrations SET sha256 = 'other' WHERE version = 1")

    result = cli("migrate", "--json", url=granted_database.migrator_url)

    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] == "migration"


def test_the_roles_are_printed_for_a_dba_without_a_database() -> None:
    result = cli("migrate", "--print-roles", "--login", 'Deploy"er', url="")

    assert result.exit_code == 0
    assert 'GRANT billing_migrator TO "Deploy""er";' in result.stdout


def test_a_missing_schema_is_told_with_its_remedy(empty_database: DatabaseUrls) -> None:
    result = cli("status", "--json", url=empty_database.admin_url)

    assert result.exit_code == 2
    assert "billing-worker migrate" in json.loads(result.stderr)["error"]["remedy"]


def test_a_missing_right_is_told(database: DatabaseUrls) -> None:
    result = cli("halt", "--reason", "x", "--by", "kim", "--json", url=database.auditor_url)

    assert result.exit_code == 2
    assert "may not do that" in json.loads(result.stderr)["error"]["message"]


@pytest.mark.parametrize("command", [("status",), ("migrate",), ("ledger", "verify")])
def test_a_wrong_password_is_told_and_not_shown(database: DatabaseUrls, command: tuple[str, ...]) -> None:
    url = changed_url(database.admin_url, user="t_worker", password="pass-word-xyz")

    result = cli(*command, "--json", url=url)

    assert result.exit_code == 2
    assert "refuses the password" in json.loads(result.stderr)["error"]["message"]
    assert "pass-word-xyz" not in result.output


@pytest.mark.parametrize("command", [("status",), ("migrate",), ("migrate", "--check")])
def test_a_database_that_does_not_answer_is_exit_3(command: tuple[str, ...]) -> None:
    result = cli(*command, "--json", url="postgresql://kim:pass-word-xyz@127.0.0.1:1/billing")

    assert result.exit_code == 3
    assert json.loads(result.stderr)["error"]["kind"] == "database_gone"
    assert "pass-word-xyz" not in result.output


def started(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    return subprocess.run(
        [*COMMAND, *arguments], env=kept | environ, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )


def test_every_wrong_setting_is_named_and_nothing_starts() -> None:
    result = started("run", "--json", BILLING_DATABASE_URL="mysql://kim:pass-word-xyz@h/d", BILLING_LOG_LEVEL="LOUD")

    error = json.loads(result.stderr)["error"]
    named = " ".join(detail["where"] for detail in error["details"])
    assert (result.returncode, error["kind"], result.stdout) == (2, "settings", "")
    assert {"BILLING_DATABASE_URL", "BILLING_LOG_LEVEL", "BILLING_PORTONE_STORE_ID"} <= set(re.findall(r"\w+", named))
    assert "pass-word-xyz" not in result.stderr


def test_a_worker_does_not_start_on_a_role_that_could_change_the_ledger(database: DatabaseUrls) -> None:
    result = started("run", **worker_settings(database.owner_url))

    assert result.returncode == 2
    assert "must not bill" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_worker_that_is_told_to_stop_ends_with_0(database: DatabaseUrls) -> None:
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" SET synchronous_commit = on')

    with running("run", **worker_settings(database.worker_url)) as (worker, lines):
        while "daemon.started" not in lines.get(timeout=WAIT_SECONDS):
            continue
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(WAIT_SECONDS)

    assert code == 0


def test_a_worker_s_crash_could_leave_no_core(database: DatabaseUrls) -> None:
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" SET synchronous_commit = on')

    with running("run", **worker_settings(database.worker_url)) as (worker, lines):
        while "daemon.started" not in lines.get(timeout=WAIT_SECONDS):
            continue
        limits = Path(f"/proc/{worker.pid}/limits").read_text()

    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_a_simulated_portone_serves_until_interrupted() -> None:
    with running("simulator", "--port", "0", "--api-secret", "s", "--json") as (simulator, lines):
        ready = json.loads(lines.get(timeout=WAIT_SECONDS))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{ready['url']}/payments/none", timeout=WAIT_SECONDS)
        simulator.send_signal(signal.SIGINT)
        code = simulator.wait(WAIT_SECONDS)

    assert (refused.value.code, ready["store_id"], code) == (401, "store-simulator", 0)


def test_a_port_in_use_is_told() -> None:
    with running("simulator", "--port", "0", "--json") as (_, lines):
        port = json.loads(lines.get(timeout=WAIT_SECONDS))["url"].rpartition(":")[2]
        second = started("simulator", "--port", port)

    assert second.returncode == 2
    assert "cannot listen" in second.stderr


def test_help_comes_at_once_and_loads_no_driver() -> None:
    slow = ("asyncpg", "aiohttp", "httpx", "pydantic", "starlette", "uvicorn")
    code = f"import sys, billing_worker.cli; print([name for name in {slow!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    began = time.perf_counter()
    result = started("--help")

    assert loaded.stdout == "[]\n"
    assert result.returncode == 0
    # Half a second is what is promised; a machine that is busy with other tests takes a few times as long.
    assert time.perf_counter() - began < 3


def worker_settings(url: str) -> dict[str, str]:
    return {
        "BILLING_DATABASE_URL": url,
        "BILLING_PORTONE_BASE_URL": "http://127.0.0.1:1",
        "BILLING_PORTONE_API_SECRET": "simulator-secret",
        "BILLING_PORTONE_STORE_ID": "store-test",
        "BILLING_PORTONE_LIVE": "false",
        "BILLING_HTTP_ADDRESS": "127.0.0.1:0",
    }


@contextmanager
def running(*arguments: str, **environ: str) -> Iterator[tuple["subprocess.Popen[str]", "queue.Queue[str]"]]:
    """The program under way, and the lines of its stdout as they come."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    with subprocess.Popen([*COMMAND, *arguments], env=kept | environ, stdout=subprocess.PIPE, text=True) as program:
        lines: queue.Queue[str] = queue.Queue()
        stdout = program.stdout
        assert stdout is not None
        threading.Thread(target=lambda: [lines.put(line) for line in stdout], daemon=True).start()
        try:
            yield program, lines
        finally:
            program.kill()
