"""What people and programs read."""

import json
from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest

from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure

AT = datetime(2026, 3, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_people_read_seoul_time_with_its_offset() -> None:
    assert output.shown(AT) == "2026-03-01 10:00:00+09:00"


def test_programs_read_rfc_3339_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    seoul = AT.astimezone(timezone(timedelta(hours=9)))

    output.line({"at": seoul, "on": date(2026, 3, 1), "charge_at": time(10, 0), "name": "월간"})

    text = capsys.readouterr().out
    assert json.loads(text) == {"at": "2026-03-01T01:00:00.000005Z", "on": "2026-03-01", "charge_at": "10:00:00"} | {
        "name": "월간"
    }
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [(1_234_567, "KRW", "1,234,567 KRW"), (123_456, "USD", "1,234.56 USD"), (None, None, "")],
)
def test_money_is_shown_in_groups_with_its_currency(amount_minor: int | None, currency: str | None, text: str) -> None:
    assert output.money({"amount_minor": amount_minor, "currency": currency}) == text


def test_what_a_terminal_would_obey_is_made_visible() -> None:
    assert output.shown("\x1b[31m월간") == "\N{REPLACEMENT CHARACTER}[31m월간"


def test_a_value_that_nobody_meant_to_print_is_no_json() -> None:
    with pytest.raises(TypeError, match="bytes"):
        output.document({"key": b"secret"})


def test_a_failure_is_a_sentence_or_an_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(Exit.GONE, "database_gone", "Postgres does not answer", remedy="start it")

    output.tell(failure, as_json=False)
    output.tell(failure, as_json=True)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Error: Postgres does not answer\nWhat to do: start it\n")
    error = json.loads(printed.err.splitlines()[2])["error"]
    assert (error["kind"], error["remedy"], error["exit_code"]) == ("database_gone", "start it", 3)
