"""adopt, and what the other commands make of a database that was copied."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from billing_worker.cli.database import gone
from billing_worker.store.db import DatabaseMovedError
from tests.command_line import Cli, command_line, portone_settings
from tests.conftest import DatabaseUrls, changed_url, execute, fetch_value

ADOPT = (sys.executable, "-m", "billing_worker", "adopt")
COPIED = "UPDATE billing.deployment SET system_identifier = 1"
A_CYCLE = """
INSERT INTO billing.subscriptions (shard, business_key, customer_id, billing_key, order_name, amount_minor, anchor_on, next_due_at)
VALUES (1, 'a', 'c', 'bk', 'x', 9900, '2026-01-31', now());
INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency,
                            order_name, store_id, payment_id, claimable_at)
SELECT 1, subscription_id, 1, '2026-01-31', '2026-02-28', now(), 9900, 'KRW', 'x', 'store-test', 'rb1' || repeat('a', 27), now()
FROM billing.subscriptions;
"""  # noqa: E501


@pytest.fixture
def cli(billed: DatabaseUrls) -> Cli:
    """The command line, on a database that a worker has billed from."""
    return command_line(BILLING_DATABASE_URL=billed.worker_url, **portone_settings("http://127.0.0.1:9"))


def adopted(database: DatabaseUrls) -> object:
    return fetch_value(database.admin_url, "SELECT count(*) FROM billing.deployment WHERE version > 1")


def test_adopt_writes_down_who_moved_the_database_and_why(cli: Cli, database: DatabaseUrls) -> None:
    execute(database.admin_url, COPIED)

    result = cli("adopt", "--reason", "moved to a new server", "--by", "kim", "--yes", "--json")

    row = fetch_value(database.admin_url, "SELECT to_jsonb(d)::text FROM billing.deployment d WHERE version = 2")
    written, said = json.loads(str(row)), json.loads(result.stdout)
    assert result.exit_code == 0
    assert (written["actor"], written["reason"]) == ("kim", "moved to a new server")
    assert written["system_identifier"] == said["seen"]["system_identifier"] != said["recorded"]["system_identifier"]
    assert written["look_first_before"] is not None


@pytest.mark.parametrize(("answer", "rows"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_adopt_shows_both_and_asks(cli: Cli, database: DatabaseUrls, answer: str, rows: int) -> None:
    execute(database.admin_url, COPIED)

    result = cli("adopt", "--reason", "x", "--by", "kim", stdin=answer)

    assert "written down" in result.stdout
    assert adopted(database) == rows


def test_numbers_that_are_names_have_no_separators(cli: Cli, database: DatabaseUrls) -> None:
    execute(database.admin_url, COPIED)
    system = fetch_value(database.admin_url, "SELECT system_identifier::text FROM pg_control_system()")
    oid = fetch_value(database.admin_url, "SELECT oid::text FROM pg_database WHERE datname = current_database()")

    result = cli("adopt", "--reason", "x", "--by", "kim", "--yes")

    assert str(system) in result.stdout
    assert str(oid) in result.stdout


def test_adopt_that_can_ask_nobody_says_so_and_names_the_option(cli: Cli, database: DatabaseUrls) -> None:
    execute(database.admin_url, COPIED)

    unanswered = cli("adopt", "--reason", "x", "--by", "kim", stdin="")
    declined = cli("adopt", "--reason", "x", "--by", "kim", stdin="n\n")

    assert (unanswered.exit_code, declined.exit_code) == (2, 130)
    assert "there is no terminal to ask at" in unanswered.stderr
    assert "--yes" in unanswered.stderr
    assert adopted(database) == 0


def test_adopt_without_a_stdin_at_all_says_so_too(billed: DatabaseUrls) -> None:
    settings = {"BILLING_DATABASE_URL": billed.worker_url, **portone_settings("http://127.0.0.1:9")}
    command = f"{shlex.join(ADOPT)} --reason x --by kim <&-"

    ended = subprocess.run(command, shell=True, env=os.environ | settings, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert "--yes" in ended.stderr
    assert adopted(billed) == 0


def test_adopt_never_turns_test_cycles_into_live_ones(cli: Cli, database: DatabaseUrls) -> None:
    # given
    empty = cli("adopt", "--reason", "x", "--by", "kim", "--yes", BILLING_PORTONE_LIVE="true")
    execute(database.admin_url, A_CYCLE)

    # when
    result = cli("adopt", "--reason", "x", "--by", "kim", "--yes")

    # then
    assert (empty.exit_code, result.exit_code) == (0, 2)
    assert "never share a database" in result.stderr
    assert adopted(database) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("resume-sending", "--reason", "x", "--by", "kim"),
        ("cycle", "skip", "rb1" + "a" * 27, "--reason", "x", "--by", "kim"),
        ("subscriptions", "cancel", "a", "--reason", "x", "--by", "kim"),
    ],
)
def test_what_writes_is_not_done_on_a_copy(cli: Cli, database: DatabaseUrls, command: tuple[str, ...]) -> None:
    # given
    original = cli(*command)
    execute(database.admin_url, COPIED)

    # when
    copied = cli(*command)

    # then
    assert original.exit_code in {0, 4}
    assert copied.exit_code == 2
    assert "billing-worker adopt" in copied.stderr


def test_check_config_names_a_copy_and_its_remedy(cli: Cli, database: DatabaseUrls) -> None:
    execute(database.admin_url, COPIED)

    result = cli("check-config", "--json")

    [problem] = json.loads(result.stdout)["checks"][0]["problems"]
    assert "billing-worker adopt" in problem


def test_a_copy_may_be_halted_before_it_is_adopted(cli: Cli, database: DatabaseUrls) -> None:
    execute(database.admin_url, COPIED)

    result = cli("halt", "--reason", "restored", "--by", "kim")

    assert result.exit_code == 0
    assert json.loads(cli("status", "--json").stdout)["sending"]["halted"] is True


def test_a_copy_without_a_row_is_looked_at_first_once_it_is_adopted(cli: Cli, database: DatabaseUrls) -> None:
    execute(database.admin_url, "DELETE FROM billing.deployment")

    result = cli("adopt", "--reason", "restored", "--by", "kim", "--yes")

    assert result.exit_code == 0
    assert fetch_value(database.admin_url, "SELECT look_first_before > now() FROM billing.deployment") is True


def test_check_config_names_a_database_that_is_not_there_and_its_remedy(cli: Cli, database: DatabaseUrls) -> None:
    elsewhere = {"BILLING_DATABASE_URL": changed_url(database.worker_url, database="no_such_database")}

    result = cli("check-config", "--json", **elsewhere)

    [problem] = json.loads(result.stdout)["checks"][0]["problems"]
    assert "there is no database of that name" in problem
    assert "migrate" not in problem


@pytest.mark.parametrize(
    ("begun", "words"), [(False, "nothing was changed"), (True, "what the command had done before stands")]
)
def test_a_command_that_is_cut_off_by_a_move_says_what_stands(begun: bool, words: str) -> None:
    failure = gone(DatabaseMovedError("the server is a replica"), begun=begun)

    assert failure.message == f"the server is a replica; {words}"
