"""The commands about subscriptions, against a real Postgres."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import Result

from billing_worker.billing.channels import KPN
from billing_worker.billing.intake import IntakeDefaults, read_rows
from billing_worker.cli.database import on_database
from billing_worker.cli.importing import Judgement, Rules, bring_in
from tests.command_line import Cli
from tests.conftest import DatabaseUrls, execute, fetch_value

TODAY = datetime.now(ZoneInfo("Asia/Seoul")).date()
KEY = "billing-key-0190b0c1-secret-1"
HEADER = "business_key,customer_id,customer_name,billing_key,order_name,amount,anchor_on,start_on\n"


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "subscriptions.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def row(
    key: str, *, amount: str = "9900", billing_key: str = KEY, anchor_on: object = TODAY, start_on: str = ""
) -> str:
    return f"{key},customer-{key},홍길동,{billing_key},월간 구독,{amount},{anchor_on},{start_on}\n"


def report(result: Result) -> dict[str, Any]:
    loaded = json.loads(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


def test_a_file_is_imported_and_again_changes_nothing(
    cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls
) -> None:
    file = write_file(HEADER + row("s-1") + row("s-2"))

    first = cli("subscriptions", "import", file, "--json")
    before = fetch_value(database.admin_url, "SELECT md5(string_agg(s::text, '|')) FROM billing.subscriptions s")
    second = cli("subscriptions", "import", file, "--json")

    assert (first.exit_code, report(first)["added"], report(first)["applied"]) == (0, 2, True)
    assert (second.exit_code, report(second)["added"], report(second)["unchanged"]) == (0, 0, 2)
    after = fetch_value(database.admin_url, "SELECT md5(string_agg(s::text, '|')) FROM billing.subscriptions s")
    assert after == before


def test_an_import_moves_no_date_backwards(cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls) -> None:
    file = write_file(HEADER + row("s-1"))
    cli("subscriptions", "import", file)
    execute(
        database.admin_url,
        "UPDATE billing.subscriptions SET next_cycle_number = 4, next_due_at = next_due_at + interval '3 months'",
    )

    result = cli("subscriptions", "import", write_file(HEADER + row("s-1", amount="11000")), "--json")

    assert report(result)["changed"] == [
        {"business_key": "s-1", "changes": [{"field": "amount", "old": "9900", "new": "11000"}]}
    ]
    facts = "SELECT concat(next_cycle_number, ' ', amount_minor, ' ', next_due_at > now() + interval '2 months')"
    assert fetch_value(database.admin_url, f"{facts} FROM billing.subscriptions") == "4 11000 t"


def test_a_file_with_one_bad_row_is_not_imported_at_all(
    cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls
) -> None:
    file = write_file(HEADER + row("s-1") + row("s-2", amount="9900.5"))

    as_json = cli("subscriptions", "import", file, "--json")
    for_people = cli("subscriptions", "import", file)

    assert as_json.exit_code == for_people.exit_code == 2
    assert [(fault["line"], fault["column"]) for fault in report(as_json)["faults"]] == [(3, "amount")]
    assert "amount" in for_people.stderr
    assert "Nothing was imported" in for_people.stderr
    assert fetch_value(database.admin_url, "SELECT count(*) FROM billing.subscriptions") == 0


def test_a_refused_change_takes_the_good_rows_with_it(
    cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls
) -> None:
    cli("subscriptions", "import", write_file(HEADER + row("s-1")))
    moved = row("s-1", anchor_on=TODAY + timedelta(days=3))

    result = cli("subscriptions", "import", write_file(HEADER + row("s-2") + moved), "--json")

    assert result.exit_code == 2
    assert [(fault["line"], fault["column"]) for fault in report(result)["faults"]] == [(3, "anchor_on")]
    assert fetch_value(database.admin_url, "SELECT count(*) FROM billing.subscriptions") == 1


def test_old_periods_are_not_collected_unless_asked_for(
    cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls
) -> None:
    old = TODAY - timedelta(days=800)
    file = write_file(HEADER + row("s-1", anchor_on=old))

    refused = cli("subscriptions", "import", file, "--json")
    started = write_file(HEADER + row("s-2", anchor_on=old, start_on=str(TODAY)))
    from_today = cli("subscriptions", "import", started, "--json")
    agreed = cli("subscriptions", "import", write_file(HEADER + row("s-1", anchor_on=old)), "--collect-past", "--json")

    assert refused.exit_code == 2
    assert "--collect-past" in report(refused)["faults"][0]["reason"]
    assert (from_today.exit_code, agreed.exit_code) == (0, 0)
    due = "SELECT string_agg((next_due_at < now() - interval '2 years')::text, ' ' ORDER BY business_key)"
    assert fetch_value(database.admin_url, f"{due} FROM billing.subscriptions") == "true false"


def test_a_dry_run_writes_nothing(cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls) -> None:
    file = write_file(HEADER + row("s-1"))

    result = cli("subscriptions", "import", file, "--dry-run", "--json")

    assert (report(result)["added"], report(result)["applied"]) == (1, False)
    assert fetch_value(database.admin_url, "SELECT count(*) FROM billing.subscriptions") == 0


def test_more_rows_than_one_statement_takes_are_imported(
    cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls
) -> None:
    file = write_file(HEADER + "".join(row(f"s-{number}") for number in range(2_500)))

    first = cli("subscriptions", "import", file, "--json")
    second = cli("subscriptions", "import", file, "--json")

    assert report(first)["added"] == report(second)["unchanged"] == 2_500
    assert fetch_value(database.admin_url, "SELECT count(*) FROM billing.subscriptions") == 2_500


def test_two_imports_of_one_file_at_once_add_each_row_once(
    write_file: Callable[[str], str], database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DATABASE_URL", database.worker_url)
    text = HEADER + "".join(row(f"s-{number}") for number in range(1_500))
    plans = read_rows(text, profile=KPN, defaults=IntakeDefaults()).plans

    def bring(_: int) -> Judgement:
        return on_database(lambda opened: bring_in(opened, plans, rules=Rules()))

    with ThreadPoolExecutor(3) as threads:
        judgements = list(threads.map(bring, range(3)))

    assert sorted(len(judgement.added) for judgement in judgements) == [0, 0, 1_500]
    assert sorted(judgement.unchanged for judgement in judgements) == [0, 1_500, 1_500]
    assert fetch_value(database.admin_url, "SELECT count(*) FROM billing.subscriptions") == 1_500


def test_a_new_billing_key_is_a_named_change_and_never_printed(cli: Cli, write_file: Callable[[str], str]) -> None:
    cli("subscriptions", "import", write_file(HEADER + row("s-1")))
    renewed = write_file(HEADER + row("s-1", billing_key="another-secret-key"))

    results = [cli("subscriptions", "import", renewed, "--dry-run"), cli("subscriptions", "import", renewed, "--json")]
    shown = [cli("subscriptions", "show", "s-1"), cli("subscriptions", "show", "s-1", "--json")]

    assert [change["field"] for change in report(results[1])["changed"][0]["changes"]] == ["billing_key"]
    for result in (*results, *shown):
        assert result.exit_code == 0
        assert "secret" not in result.output


def test_a_file_that_is_no_file_is_bad_input(cli: Cli, tmp_path: Path) -> None:
    result = cli("subscriptions", "import", str(tmp_path / "nowhere.csv"), "--json")

    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] == "input"


ADD = (
    "subscriptions",
    "add",
    *("--business-key", "s-1"),
    *("--customer-id", "c-1"),
    *("--customer-name", "홍길동"),
    *("--anchor-on", str(TODAY)),
    *("--order-name", "월간 구독"),
    *("--billing-key-file", "-"),
)


def test_adding_reads_the_billing_key_from_stdin(cli: Cli, database: DatabaseUrls) -> None:
    result = cli(*ADD, "--amount", "9900", "--json", stdin=KEY + "\n")

    assert (result.exit_code, report(result)["added"]) == (0, 1)
    assert fetch_value(database.admin_url, "SELECT billing_key FROM billing.subscriptions") == KEY


def test_adding_changes_a_known_subscription_only_when_told_to(cli: Cli, database: DatabaseUrls) -> None:
    cli(*ADD, "--amount", "9900", stdin=KEY)

    refused = cli(*ADD, "--amount", "11000", stdin=KEY)
    agreed = cli(*ADD, "--amount", "11000", "--change", stdin=KEY)

    assert (refused.exit_code, agreed.exit_code) == (2, 0)
    assert "--amount" in refused.stderr
    assert fetch_value(database.admin_url, "SELECT amount_minor FROM billing.subscriptions") == 11_000


def test_a_bad_option_of_adding_is_named_as_an_option(cli: Cli) -> None:
    result = cli(*ADD, "--amount", "9,900", "--period-unit", "fortnight", stdin=KEY)

    assert result.exit_code == 2
    assert "--amount" in result.stderr
    assert "--period-unit" in result.stderr


def test_without_anybody_to_ask_the_billing_key_must_be_in_a_file(cli: Cli) -> None:
    result = cli(*(part for part in ADD if part not in {"--billing-key-file", "-"}), "--amount", "9900")

    assert result.exit_code == 2
    assert "--billing-key-file" in result.stderr


def test_a_list_is_read_page_by_page(cli: Cli, write_file: Callable[[str], str]) -> None:
    cli("subscriptions", "import", write_file(HEADER + row("s-1") + row("s-2") + row("s-3")))

    first = report(cli("subscriptions", "list", "--limit", "2", "--json"))
    second = report(cli("subscriptions", "list", "--limit", "2", "--after", first["next_after"], "--json"))
    none = report(cli("subscriptions", "list", "--status", "cancelled", "--json"))

    assert [one["business_key"] for one in first["subscriptions"]] == ["s-1", "s-2"]
    assert [one["business_key"] for one in second["subscriptions"]] == ["s-3"]
    assert (second["next_after"], none["subscriptions"]) == (None, [])
    assert first["subscriptions"][0]["next_due_at"].endswith("Z")


def test_tables_show_seoul_time_and_grouped_won(cli: Cli, write_file: Callable[[str], str]) -> None:
    cli("subscriptions", "import", write_file(HEADER + row("s-1", amount="1234567")))

    result = cli("subscriptions", "list")

    assert f"{TODAY} 10:00:00+09:00" in result.stdout
    assert "1,234,567 KRW" in result.stdout


def test_a_cancelled_subscription_stays_cancelled_whatever_is_imported(
    cli: Cli, write_file: Callable[[str], str]
) -> None:
    file = write_file(HEADER + row("s-1"))
    cli("subscriptions", "import", file)

    ended = cli("subscriptions", "cancel", "s-1", "--reason", "고객 요청", "--by", "kim", "--json")
    again = cli("subscriptions", "cancel", "s-1", "--reason", "고객 요청", "--by", "kim", "--json")
    same = cli("subscriptions", "import", file, "--json")
    changed = cli("subscriptions", "import", write_file(HEADER + row("s-1", amount="1")), "--json")
    resumed = cli("subscriptions", "resume", "s-1", "--reason", "back", "--json")

    assert (report(ended)["cancelled_now"], report(again)["cancelled_now"]) == (True, False)
    assert (same.exit_code, report(same)["cancelled"]) == (0, ["s-1"])
    assert (changed.exit_code, report(changed)["faults"][0]["column"]) == (2, "business_key")
    assert (resumed.exit_code, json.loads(resumed.stderr)["error"]["kind"]) == (2, "cancelled")


def test_the_mode_is_given_changed_and_shown(cli: Cli, write_file: Callable[[str], str]) -> None:
    cli("subscriptions", "import", write_file(HEADER + row("s-1")))
    booked = HEADER.replace("start_on", "start_on,mode") + row("s-1").replace("\n", ",schedule\n")

    changed = report(cli("subscriptions", "import", write_file(booked), "--json"))
    shown = report(cli("subscriptions", "show", "s-1", "--json"))
    ended = report(cli("subscriptions", "cancel", "s-1", "--reason", "x", "--json"))

    assert changed["changed"][0]["changes"] == [{"field": "mode", "old": "charge", "new": "schedule"}]
    assert shown["subscription"]["mode"] == "schedule"
    assert (ended["cancelled_now"], ended["bookings_revoking"]) == (True, 0)


def test_a_held_subscription_is_resumed(cli: Cli, write_file: Callable[[str], str], database: DatabaseUrls) -> None:
    cli("subscriptions", "import", write_file(HEADER + row("s-1")))
    execute(database.admin_url, "UPDATE billing.subscriptions SET status = 'held', held_reason = 'zone'")

    result = cli("subscriptions", "resume", "s-1", "--reason", "mended", "--json")

    assert report(result) == {"business_key": "s-1", "resumed_now": True, "status": "active"}


@pytest.mark.parametrize("command", [("show",), ("cancel", "--reason", "x"), ("resume", "--reason", "x")])
def test_an_unknown_subscription_is_not_found(cli: Cli, command: tuple[str, ...]) -> None:
    result = cli("subscriptions", *command, "nobody", "--json")

    assert result.exit_code == 4
    assert json.loads(result.stderr)["error"]["kind"] == "not_found"
