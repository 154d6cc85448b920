"""docs/cli.md says all that the command line takes and how it ends."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from billing_worker import daemon
from billing_worker.cli import app
from billing_worker.cli.exits import MEANINGS, Exit

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that can be run, by its whole name."""
    children = getattr(command, "commands", {})
    if not children:
        yield name, command
    for child_name, child in children.items():
        yield from commands(child, f"{name} {child_name}".strip())


ALL = dict(commands(get_command(app)))


def section_of(name: str) -> str:
    """What stands below the command's own heading."""
    parts = re.split(r"^### `(.+?)`.*$", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_documented_with_every_option(name: str) -> None:
    options = [option for parameter in ALL[name].params for option in parameter.opts if option.startswith("--")]

    section = section_of(name)

    assert [option for option in options if option not in ("--help", "--json") and f"`{option}" not in section] == []


@pytest.mark.parametrize("name", ALL)
def test_every_command_prints_json_on_request(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[name].params)


def test_no_command_is_documented_that_there_is_not() -> None:
    assert set(re.findall(r"^### `(.+?)`", DOCUMENT, flags=re.MULTILINE)) == set(ALL)


def test_every_exit_code_is_documented_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", DOCUMENT, flags=re.MULTILINE))

    assert rows == {str(int(code)): meaning for code, meaning in MEANINGS.items()}
    assert set(MEANINGS) == set(Exit)


def test_a_worker_that_leaves_early_ends_with_the_documented_code() -> None:
    assert daemon.EXIT_LEFT_EARLY == Exit.LEFT_EARLY
