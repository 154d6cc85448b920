"""Settings: what is taken, from where, and how everything wrong is said at once without a secret."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from billing_worker.settings import (
    Settings,
    SettingsFault,
    describe,
    documented,
    load_database_url,
    load_settings,
    relation_problems,
)

DATABASE_URL = "postgresql://worker:hunter2hunter2@db.example.com:5432/billing"
API_SECRET = "s3cret-of-the-console"
REQUIRED = {
    "BILLING_DATABASE_URL": DATABASE_URL,
    "BILLING_PORTONE_API_SECRET": API_SECRET,
    "BILLING_PORTONE_STORE_ID": "store-0001",
}
LOOPBACK = {"BILLING_PORTONE_BASE_URL": "http://127.0.0.1:8080"}


def problems_of(environ: dict[str, str]) -> dict[str, str]:
    """What is said of each variable."""
    with pytest.raises(SettingsFault) as caught:
        load_settings(environ)
    return {problem.name: str(problem) for problem in caught.value.problems}


def write(directory: Path, name: str, text: str) -> Path:
    """A secret file."""
    path = directory / name
    path.write_text(text)
    return path


def test_the_three_required_settings_are_enough() -> None:
    settings = load_settings({**REQUIRED, "PATH": "/bin"})

    assert settings.database_url.get_secret_value() == DATABASE_URL
    assert settings.portone_live is True
    assert settings.recheck_after_seconds == (600, 10_800, 86_400)
    assert settings.dunning_retry_days == (1, 3, 5, 7)
    assert relation_problems(settings) == []


def test_every_setting_can_be_given_as_its_own_default() -> None:
    defaults = {row.name: row.value for row in documented() if row.source == "default"}

    settings = load_settings({**REQUIRED, **defaults})

    assert settings == load_settings(REQUIRED)


def test_settings_that_the_environment_lacks_are_not_looked_for_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_LOG_LEVEL", "DEBUG")

    settings = load_settings(REQUIRED)

    assert settings.log_level == "INFO"


def test_every_problem_is_reported_at_once_and_by_name() -> None:
    environ = {
        "BILLING_PORTONE_API_SECRET": API_SECRET,
        "BILLING_PORTONE_STORE_ID": "channel-key-1",
        "BILLING_PORTONE_READ_SECONDS": "45",
        "BILLING_CLAIM_BATCH_MAX": "many",
        "BILLING_PORTONE_LIVE": "perhaps",
        "BILLING_DUNNING_RETRY_DAYS": "3,1",
        "BILLING_HTTP_ADDRESS": "9464",
        "BILLING_PORTONE_PG": "TOSS",
        "BILLING_PORTONE_IN_FLIGHT_MAX": "1001",
        "BILLING_UNRESOLVED_WARN_SECONDS": "7200",
        "BILLING_PORTONE_STOREID": "store-1",
    }

    problems = problems_of(environ)

    assert set(problems) == set(environ) - {"BILLING_PORTONE_API_SECRET"} | {"BILLING_DATABASE_URL"}
    assert "at least 60" in problems["BILLING_PORTONE_READ_SECONDS"]
    assert "'many'" in problems["BILLING_CLAIM_BATCH_MAX"]
    assert "(200)" in problems["BILLING_CLAIM_BATCH_MAX"]
    assert "did you mean BILLING_PORTONE_STORE_ID?" in problems["BILLING_PORTONE_STOREID"]


@pytest.mark.parametrize(
    "environ",
    [
        {"BILLING_DATABASE_URL": "mysql://root:hunter2hunter2@db/billing"},
        {"BILLING_DATABASE_URL": "postgresql://root:hunter2hunter2@[db/billing"},
        {"BILLING_DATABASE_URL": "postgresql://root:hunter2hunter2@a,b/billing"},
        {"BILLING_DATABASE_URL": "postgresql://root:hunter2hunter2@db/billing\n"},
        {"BILLING_PORTONE_API_SECRET": "hunter2hunter2 hunter2"},
        {"BILLING_PORTONE_BASE_URL": "https://me:hunter2hunter2@evil.example.com"},
        {"BILLING_PORTONE_API_SECERT": "hunter2hunter2"},
        {"BILLING_WORKER_NAME": "hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2"},
    ],
)
def test_a_secret_is_never_shown_however_wrong_or_misplaced_it_is(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsFault) as caught:
        load_settings({**REQUIRED, **environ})

    assert len(caught.value.problems) == 1
    assert "hunter2" not in str(caught.value) + repr(caught.value) + repr(caught.value.problems)
    assert "hunter2" not in str(caught.value.__context__)


def test_a_secret_shows_neither_in_the_settings_nor_in_the_table() -> None:
    settings = load_settings(REQUIRED)

    text = repr(settings) + str(settings) + repr(describe(settings, REQUIRED))

    assert "hunter2" not in text
    assert API_SECRET not in text


def test_settings_made_without_the_loader_hide_what_was_wrong_too() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(
            database_url="mysql://root:hunter2@db",  # type: ignore[arg-type]
            portone_api_secret=API_SECRET,  # type: ignore[arg-type]
            portone_store_id="store-0001",
        )

    assert "hunter2" not in str(caught.value)


def test_several_hosts_need_to_say_which_one_is_meant() -> None:
    url = "postgresql://worker:pw@db1:5432,db2:5432/billing"

    problems = problems_of({**REQUIRED, "BILLING_DATABASE_URL": url})
    settings = load_settings({**REQUIRED, "BILLING_DATABASE_URL": f"{url}?target_session_attrs=read-write"})

    assert "target_session_attrs=read-write" in problems["BILLING_DATABASE_URL"]
    assert settings.database_url.get_secret_value().endswith("read-write")


def test_secrets_are_read_from_files_of_all_three_kinds(tmp_path: Path) -> None:
    own = write(tmp_path, "somewhere", DATABASE_URL + "\n")
    write(tmp_path, "portone_api_secret", API_SECRET + "\r\n")
    rest = {"BILLING_PORTONE_STORE_ID": "store-0001", "BILLING_DATABASE_URL_FILE": str(own)}

    by_directory = load_settings({**rest, "BILLING_SECRETS_DIR": str(tmp_path)})
    by_systemd = load_settings({**rest, "CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert by_directory == by_systemd == load_settings(REQUIRED)
    sources = {row.name: row.source for row in describe(by_systemd, {**rest, "CREDENTIALS_DIRECTORY": str(tmp_path)})}
    assert sources["BILLING_DATABASE_URL"] == "file"
    assert sources["BILLING_PORTONE_STORE_ID"] == "env"
    assert sources["BILLING_LOG_LEVEL"] == "default"


def test_two_places_for_one_secret_are_a_fault_even_when_they_agree(tmp_path: Path) -> None:
    write(tmp_path, "portone_api_secret", API_SECRET)

    problems = problems_of({**REQUIRED, "BILLING_SECRETS_DIR": str(tmp_path)})

    assert list(problems) == ["BILLING_PORTONE_API_SECRET"]
    assert "given twice" in problems["BILLING_PORTONE_API_SECRET"]


def test_a_secret_file_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    environ = {**REQUIRED, "BILLING_DATABASE_URL_FILE": str(tmp_path / "absent")}
    del environ["BILLING_DATABASE_URL"]

    problems = problems_of(environ)

    assert list(problems) == ["BILLING_DATABASE_URL_FILE"]
    assert "No such file" in problems["BILLING_DATABASE_URL_FILE"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 20_000])
def test_a_file_that_is_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "portone_api_secret").write_bytes(content)
    environ = {key: value for key, value in REQUIRED.items() if "SECRET" not in key}

    problems = problems_of({**environ, "BILLING_SECRETS_DIR": str(tmp_path)})

    assert list(problems) == ["portone_api_secret in BILLING_SECRETS_DIR"]


def test_a_secrets_directory_that_is_none_is_reported(tmp_path: Path) -> None:
    problems = problems_of({**REQUIRED, "BILLING_SECRETS_DIR": str(tmp_path / "absent")})

    assert list(problems) == ["BILLING_SECRETS_DIR"]


def test_variables_that_others_put_there_are_let_be() -> None:
    foreign = {
        "BILLING_TEST_DATABASE_URL": "x",
        "BILLING_WORKER_SERVICE_HOST": "10.0.0.1",
        "BILLING_WORKER_SERVICE_PORT_HTTP": "9464",
        "BILLING_WORKER_PORT": "tcp://10.0.0.1:9464",
        "BILLING_WORKER_PORT_9464_TCP_ADDR": "10.0.0.1",
    }

    settings = load_settings({**REQUIRED, **foreign})

    assert settings == load_settings(REQUIRED)


def test_an_optional_setting_left_blank_is_not_given_and_any_other_is_a_problem() -> None:
    blank = load_settings({**REQUIRED, "BILLING_PORTONE_CHANNEL_KEY": "", "BILLING_WORKER_NAME": ""})
    problems = problems_of({**REQUIRED, "BILLING_DUNNING_RETRY_DAYS": "", "BILLING_PORTONE_STORE_ID": ""})

    assert blank.portone_channel_key is None
    assert blank.worker_name is None
    assert set(problems) == {"BILLING_DUNNING_RETRY_DAYS", "BILLING_PORTONE_STORE_ID"}


def test_none_ends_dunning_at_the_first_decline_and_decimals_are_days() -> None:
    never = load_settings({**REQUIRED, "BILLING_DUNNING_RETRY_DAYS": "none"})
    soon = load_settings({**REQUIRED, "BILLING_DUNNING_RETRY_DAYS": "0.5, 1"})

    assert never.dunning_retry_days == ()
    assert soon.dunning_retry_days == (0.5, 1.0)


@pytest.mark.parametrize(
    ("environ", "blamed"),
    [
        ({"BILLING_PORTONE_READ_SECONDS": "59.9"}, "BILLING_PORTONE_READ_SECONDS"),
        ({"BILLING_ATTEMPT_LEASE_SECONDS": "200"}, "BILLING_ATTEMPT_LEASE_SECONDS"),
        ({"BILLING_CLAIM_LEASE_SECONDS": "40"}, "BILLING_CLAIM_LEASE_SECONDS"),
        ({"BILLING_SHUTDOWN_GRACE_SECONDS": "199.9"}, "BILLING_SHUTDOWN_GRACE_SECONDS"),
        ({"BILLING_RESEND_UNTIL_SECONDS": "10001"}, "BILLING_RESEND_UNTIL_SECONDS"),
        (
            {
                "BILLING_RESEND_UNTIL_SECONDS": "10000",
                "BILLING_PORTONE_READ_SECONDS": "600",
                "BILLING_SCHEDULE_NEAR_SECONDS": "800",
                "BILLING_CLOCK_SKEW_MAX_SECONDS": "155",
                "BILLING_ATTEMPT_LEASE_SECONDS": "800",
                "BILLING_SHUTDOWN_GRACE_SECONDS": "800",
            },
            "BILLING_RESEND_UNTIL_SECONDS",
        ),
        (
            {
                "BILLING_RESEND_UNTIL_SECONDS": "10000",
                "BILLING_SEND_WINDOW_SECONDS": "600",
                "BILLING_SCHEDULE_NEAR_SECONDS": "800",
                "BILLING_CLOCK_SKEW_MAX_SECONDS": "120",
                "BILLING_ATTEMPT_LEASE_SECONDS": "800",
                "BILLING_SHUTDOWN_GRACE_SECONDS": "800",
            },
            "BILLING_RESEND_UNTIL_SECONDS",
        ),
        ({"BILLING_VOID_AFTER_SECONDS": "86399"}, "BILLING_VOID_AFTER_SECONDS"),
        ({"BILLING_VOID_AFTER_SECONDS": "9000", **LOOPBACK}, "BILLING_VOID_AFTER_SECONDS"),
        ({"BILLING_CLAIM_BATCH_MAX": "321"}, "BILLING_CLAIM_BATCH_MAX"),
        ({"BILLING_ASK_FIRST_SECONDS": "3601"}, "BILLING_ASK_FIRST_SECONDS"),
        ({"BILLING_UNRESOLVED_WARN_SECONDS": "7200"}, "BILLING_UNRESOLVED_WARN_SECONDS"),
        ({"BILLING_SCHEDULE_NEAR_SECONDS": "110"}, "BILLING_SCHEDULE_NEAR_SECONDS"),
        (
            {"BILLING_SCHEDULE_NEAR_SECONDS": "3600", "BILLING_SCHEDULE_LEAD_SECONDS": "3600"},
            "BILLING_SCHEDULE_NEAR_SECONDS",
        ),
        ({"BILLING_SCHEDULE_LOST_AFTER_SECONDS": "80"}, "BILLING_SCHEDULE_LOST_AFTER_SECONDS"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], blamed: str) -> None:
    problems = problems_of({**REQUIRED, **environ})

    assert list(problems) == [blamed]


@pytest.mark.parametrize(
    "environ",
    [
        {"BILLING_PORTONE_READ_SECONDS": "60"},
        {"BILLING_ATTEMPT_LEASE_SECONDS": "200.5"},
        {"BILLING_SHUTDOWN_GRACE_SECONDS": "200"},
        {"BILLING_CLAIM_LEASE_SECONDS": "41"},
        {"BILLING_RESEND_UNTIL_SECONDS": "10000"},
        {"BILLING_CLAIM_BATCH_MAX": "320"},
        {"BILLING_PORTONE_READ_SECONDS": "0.5", "BILLING_VOID_AFTER_SECONDS": "9001", **LOOPBACK},
        {"BILLING_HTTP_ADDRESS": "[::1]:0"},
    ],
)
def test_settings_just_inside_their_limits_are_taken(environ: dict[str, str]) -> None:
    settings = load_settings({**REQUIRED, **environ})

    assert relation_problems(settings) == []


@pytest.mark.parametrize(
    "environ",
    [
        {"BILLING_SEND_WINDOW_SECONDS": "70"},
        {"BILLING_PORTONE_CONNECT_SECONDS": "25"},
        {"BILLING_PORTONE_READ_SECONDS": "105"},
        {"BILLING_PORTONE_LOOK_READ_SECONDS": "40"},
        {"BILLING_DATABASE_COMMAND_TIMEOUT_SECONDS": "40", "BILLING_CLAIM_LEASE_SECONDS": "90"},
    ],
)
def test_what_takes_longer_needs_a_longer_lease_and_a_longer_grace(environ: dict[str, str]) -> None:
    wider = {"BILLING_ATTEMPT_LEASE_SECONDS": "281", "BILLING_SHUTDOWN_GRACE_SECONDS": "280"}

    problems = problems_of({**REQUIRED, **environ, "BILLING_SHUTDOWN_GRACE_SECONDS": "239"})
    settings = load_settings({**REQUIRED, **environ, **wider})

    assert list(problems) == ["BILLING_ATTEMPT_LEASE_SECONDS", "BILLING_SHUTDOWN_GRACE_SECONDS"]
    assert relation_problems(settings) == []


def test_a_setting_that_is_wrong_by_itself_is_not_blamed_for_a_contradiction_too() -> None:
    problems = problems_of({**REQUIRED, "BILLING_PORTONE_BASE_URL": "ftp://x", "BILLING_PORTONE_READ_SECONDS": "1"})

    assert list(problems) == ["BILLING_PORTONE_BASE_URL"]


def test_commands_that_need_only_postgres_are_given_only_its_address() -> None:
    url = load_database_url({"BILLING_DATABASE_URL": DATABASE_URL})

    assert url.get_secret_value() == DATABASE_URL


@pytest.mark.parametrize("environ", [{}, {"BILLING_DATABASE_URL": "mysql://root:hunter2@db"}])
def test_a_database_address_that_is_wrong_or_missing_is_reported_for_them(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsFault) as caught:
        load_database_url(environ)

    assert [problem.name for problem in caught.value.problems] == ["BILLING_DATABASE_URL"]
    assert "hunter2" not in str(caught.value)


def test_every_setting_says_its_unit_in_its_name_and_its_reason() -> None:
    measures = re.compile(r"_(seconds|days|max|per_second|burst)$")

    numbers = [
        field for field, about in Settings.model_fields.items() if about.annotation in {int, float, tuple[float, ...]}
    ]

    assert [field for field in numbers if not measures.search(field)] == []
    assert [row.name for row in documented() if len(row.description) < 30] == []
