"""status: what it says of the sending, where nothing is sent whatever anybody has ordered."""

import json
from typing import Any

import pytest

from tests.command_line import Cli, command_line
from tests.conftest import DatabaseUrls, OwnServer, execute

COPIES = {
    "another server": ("UPDATE billing.deployment SET system_identifier = 1", "copied to another server"),
    "another database": ("UPDATE billing.deployment SET database_oid = 1", "a copy of one on the same server"),
}
BROKEN_LINES = {
    "index": ("DROP INDEX billing.attempts_one_open", "attempts_one_open is missing"),
    "trigger": ("ALTER TABLE billing.ledger DISABLE TRIGGER ledger_chain", "ledger_chain is not always enabled"),
}
# Of those that need nothing in the database.
READERS = (
    ("status",),
    ("exceptions",),
    ("subscriptions", "list"),
    ("ledger", "tail"),
    ("ledger", "verify"),
    ("ledger", "seal"),
)


def sending(cli: Cli) -> dict[str, Any]:
    found = json.loads(cli("status", "--json").stdout)["sending"]
    assert isinstance(found, dict)
    return found


def said(cli: Cli) -> str:
    """What people read of the sending: its lines, up to the next name."""
    lines = cli("status").stdout.splitlines()
    [first] = [number for number, line in enumerate(lines) if line.startswith("sending")]
    [last] = [number for number, line in enumerate(lines) if line.startswith("deployment")]
    return "\n".join(lines[first:last])


@pytest.mark.usefixtures("billed")
def test_sending_is_on_where_nothing_keeps_it_from_it(cli: Cli) -> None:
    assert (sending(cli)["on"], sending(cli)["prevented_by"]) == (True, [])
    assert said(cli).split() == ["sending", "on"]


@pytest.mark.parametrize(("change", "why"), [*COPIES.values(), *BROKEN_LINES.values()], ids=[*COPIES, *BROKEN_LINES])
def test_where_a_worker_would_send_nothing_status_says_so_and_why(
    cli: Cli, billed: DatabaseUrls, change: str, why: str
) -> None:
    # given
    execute(billed.admin_url, change)

    # when
    found, shown = sending(cli), said(cli)

    # then
    [reason] = found["prevented_by"]
    assert (found["on"], found["halted"]) == (False, False)
    assert why in reason
    assert "NOTHING IS SENT" in shown
    assert why in shown


def test_every_reason_is_said_and_the_order_of_a_person_too(cli: Cli, billed: DatabaseUrls) -> None:
    # given
    for change, _ in (COPIES["another server"], BROKEN_LINES["trigger"]):
        execute(billed.admin_url, change)
    assert cli("halt", "--reason", "restored", "--by", "kim").exit_code == 0

    # when
    found, shown = sending(cli), said(cli)

    # then
    assert len(found["prevented_by"]) == shown.count("NOTHING IS SENT") == 2
    assert "HALTED, by kim" in shown


def test_an_order_to_send_is_not_repeated_where_nothing_is_sent(cli: Cli, billed: DatabaseUrls) -> None:
    assert cli("resume-sending", "--reason", "x", "--by", "kim").exit_code == 0
    execute(billed.admin_url, COPIES["another server"][0])

    assert "on, by kim" not in said(cli)


def test_a_primary_that_takes_no_writes_is_read_and_said_to_send_nothing(cli: Cli, billed: DatabaseUrls) -> None:
    execute(billed.admin_url, f'ALTER DATABASE "{billed.name}" SET default_transaction_read_only = on')

    assert "takes no writes" in "".join(sending(cli)["prevented_by"])
    assert cli("halt", "--reason", "x", "--by", "kim").exit_code == 2


def test_a_replica_may_be_read_and_is_said_to_send_nothing(own_server: OwnServer) -> None:
    # given
    cli = command_line(BILLING_DATABASE_URL=own_server.database.worker_url)
    (own_server.server.log_path.parent / "data" / "standby.signal").touch()
    own_server.server.restart_immediate()

    # when
    found, written = sending(cli), cli("halt", "--reason", "x", "--by", "kim")
    read = [cli(*command).exit_code for command in READERS]

    # then
    assert found["on"] is False
    assert "replica" in "".join(found["prevented_by"])
    assert read == [0] * len(READERS)
    assert written.exit_code == 2


def test_what_reads_is_done_on_a_copy_too(cli: Cli, billed: DatabaseUrls) -> None:
    execute(billed.admin_url, COPIES["another server"][0])

    result = cli("status", "--json")

    assert json.loads(result.stdout)["deployment"]["deployment"] == "main"
    assert "main, test, since" in cli("status").stdout
