"""The commands compare and differences, against a real Postgres and the simulated PortOne."""

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import Result

from tests.command_line import SECRET, STORE, Cli, portone_settings
from tests.conftest import DatabaseUrls, execute

FOREIGN = "shoporder000001"


@pytest.fixture
def compared(cli: Cli, portone: str) -> Cli:
    """The command line with the simulated PortOne."""

    def call(*arguments: str) -> Result:
        return cli(*arguments, **portone_settings(portone))

    return call


def post(url: str, path: str, body: dict[str, Any]) -> None:
    headers = {"Authorization": f"PortOne {SECRET}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.status == 200


def test_nothing_differs_in_an_empty_database(cli: Cli) -> None:
    result = cli("differences")

    assert (result.exit_code, result.stdout) == (0, "Nothing differs\n")


def test_a_difference_is_listed_with_what_it_is(cli: Cli, database: DatabaseUrls) -> None:
    # given
    execute(
        database.admin_url,
        "INSERT INTO billing.differences (class, payment_id, what, first_seen_at, last_seen_at, ended_at) VALUES "
        "('foreign', 'shoporder1', '900 KRW were paid', now(), now(), NULL), "
        "('unknown_cycle', 'rb1', 'paid', now(), now(), now())",
    )

    # when
    people, program, ended_too = cli("differences"), cli("differences", "--json"), cli("differences", "--all", "--json")

    # then
    assert people.exit_code == 1
    assert "900 KRW were paid" in people.stdout
    assert [row["class"] for row in json.loads(program.stdout)["differences"]] == ["foreign"]
    assert len(json.loads(ended_too.stdout)["differences"]) == 2


def test_a_comparison_of_books_that_agree_finds_nothing(compared: Cli) -> None:
    # when
    payments, schedules = compared("compare", "--days", "2"), compared("compare", "--schedules", "--json")

    # then
    assert (payments.exit_code, payments.stdout) == (0, "Nothing differs\n")
    assert (schedules.exit_code, json.loads(schedules.stdout)) == (0, {"differences": []})


def test_a_schedule_of_somebody_else_is_shown(compared: Cli, portone: str) -> None:
    # given
    order = {"billingKey": "bk-ok-1", "orderName": "x", "amount": {"total": 900}, "currency": "KRW"}
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    post(portone, f"/payments/{FOREIGN}/schedule", {"storeId": STORE, "payment": order, "timeToPay": at})

    # when
    result, again = compared("compare", "--schedules", "--json"), compared("differences")

    # then
    [found] = json.loads(result.stdout)["differences"]
    assert (result.exit_code, found["class"], found["payment_id"]) == (1, "schedule_foreign", FOREIGN)
    assert (again.exit_code, FOREIGN in again.stdout) == (1, True)


def test_a_comparison_beside_a_running_one_is_refused(compared: Cli, database: DatabaseUrls) -> None:
    # given
    execute(
        database.admin_url,
        "INSERT INTO billing.positions (name, position, reading_from, reading_until, started_at, claimable_at, "
        "moved_at) VALUES ('compare payments', now(), now(), now(), now(), now() + interval '1 minute', now())",
    )

    # when
    result = compared("compare")

    # then
    assert result.exit_code == 2
    assert "under way" in result.stderr


def test_a_portone_that_does_not_answer_is_told(cli: Cli) -> None:
    result = cli("compare", **portone_settings("http://127.0.0.1:9"))

    assert result.exit_code == 3
    assert "did not answer" in result.stderr
