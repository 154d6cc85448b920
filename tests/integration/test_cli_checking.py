"""check-config: what it finds unfit, what it warns of, and that it shows no secret."""

import json
from typing import Any

import pytest
from typer.testing import Result

from tests.command_line import SECRET, STORE, Cli, portone_settings
from tests.conftest import DatabaseUrls, execute


def checks(result: Result) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def keep_promises(database: DatabaseUrls) -> None:
    """The server of the tests forgets commits in a crash, and check-config would say so."""
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" SET synchronous_commit = on')


def test_a_sound_configuration_is_told_with_its_secrets_masked(cli: Cli, portone: str, database: DatabaseUrls) -> None:
    keep_promises(database)

    as_json = cli("check-config", "--json", **portone_settings(portone))
    table = cli("check-config", **portone_settings(portone))

    assert [check["problems"] for check in json.loads(as_json.stdout)["checks"]] == [[], []]
    assert as_json.exit_code == table.exit_code == 0
    by_name = {row["name"]: row for row in json.loads(as_json.stdout)["settings"]}
    assert (by_name["BILLING_PORTONE_STORE_ID"]["value"], by_name["BILLING_LOG_LEVEL"]["source"]) == (STORE, "default")
    for output in (as_json.output, table.output):
        assert SECRET not in output
        assert "billing-tests" not in output


def test_a_refused_secret_is_told_apart_from_silence(cli: Cli, portone: str, database: DatabaseUrls) -> None:
    keep_promises(database)

    refused = cli("check-config", "--json", **portone_settings(portone, BILLING_PORTONE_API_SECRET="wrong-secret"))
    silent = cli("check-config", "--json", **portone_settings("http://127.0.0.1:1"))

    assert (refused.exit_code, checks(refused)["portone"]["answers"]) == (1, True)
    assert "refuses the secret" in checks(refused)["portone"]["problems"][0]
    assert (silent.exit_code, checks(silent)["portone"]["answers"]) == (3, False)


def test_a_role_with_too_many_rights_is_told(cli: Cli, portone: str, database: DatabaseUrls) -> None:
    result = cli("check-config", "--json", **portone_settings(portone, BILLING_DATABASE_URL=database.owner_url))

    assert result.exit_code == 1
    assert any("billing_owner" in problem for problem in checks(result)["database"]["problems"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("log_statement", "mod"),
        ("log_min_duration_statement", "250ms"),
        ("log_min_duration_sample", "10ms"),
        ("log_transaction_sample_rate", "0.5"),
        ("log_parameter_max_length_on_error", "64B"),
        ("pgaudit.log_parameter", "on"),
    ],
)
def test_a_server_that_would_log_billing_keys_is_warned_of(
    cli: Cli, portone: str, database: DatabaseUrls, setting: str, value: str
) -> None:
    keep_promises(database)
    execute(database.admin_url, f"ALTER DATABASE \"{database.name}\" SET {setting} = '{value}'")

    warned = cli("check-config", "--json", **portone_settings(portone))
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" SET log_parameter_max_length = 0')
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" RESET log_parameter_max_length_on_error')
    execute(database.admin_url, f'ALTER DATABASE "{database.name}" RESET pgaudit.log_parameter')
    silenced = cli("check-config", "--json", **portone_settings(portone))

    (warning,) = checks(warned)["database"]["warnings"]
    assert f"{setting} is {value}" in warning
    assert (warned.exit_code, silenced.exit_code) == (0, 0)
    assert checks(silenced)["database"]["warnings"] == []


def test_a_database_that_is_not_there_is_told(cli: Cli, portone: str) -> None:
    nowhere = "postgresql://kim:pass-word-xyz@127.0.0.1:1/billing"

    result = cli("check-config", "--json", **portone_settings(portone, BILLING_DATABASE_URL=nowhere))

    assert (result.exit_code, checks(result)["database"]["answers"]) == (3, False)
    assert "pass-word-xyz" not in result.output
