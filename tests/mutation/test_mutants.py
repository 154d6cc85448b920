"""The maker of mutants: what it changes, what it leaves alone, and that the list of survivors names what it makes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutation import __main__ as command
from tests.mutation import mutants

MODULE = '''"""A module."""

import re

TABLE = {"a": 1, "b": 2}
WORD = re.compile(r"one|two")


def decide(number: int) -> str:
    """Say which."""
    if number > 1:
        raise ValueError("too many of them")
    return "few" if number else "none"
'''


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[mutants.Mutant]]:
    monkeypatch.setattr(mutants, "ROOT", tmp_path)

    def of(source: str) -> list[mutants.Mutant]:
        (tmp_path / "module.py").write_text(source, encoding="utf-8")
        return mutants.mutants_of("module.py")

    return of


def test_decisions_tables_and_patterns_are_changed(made: Callable[[str], list[mutants.Mutant]]) -> None:
    changes = {(each.function, each.becomes) for each in made(MODULE)}

    assert changes >= {
        ("", 'TABLE = {"a": 1, }'),
        ("", 'WORD = re.compile(r"two")'),
        ("decide", "if number >= 1:"),
        ("decide", "if True:"),
        ("decide", "if False:"),
        ("decide", "return None"),
        ("decide", 'return "few" if (number) and False else "none"'),
    }


def test_every_mutant_is_another_program_and_none_is_made_twice(made: Callable[[str], list[mutants.Mutant]]) -> None:
    found = made(MODULE)

    assert len({each.source for each in found}) == len(found)
    assert all(each.source != MODULE for each in found)
    for each in found:
        compile(each.source, each.path, "exec")


def test_docstrings_annotations_and_imports_are_left_alone(made: Callable[[str], list[mutants.Mutant]]) -> None:
    touched = {each.was for each in made(MODULE)}

    assert not touched & {'"""A module."""', "import re", "def decide(number: int) -> str:", '"""Say which."""'}


def test_only_the_words_of_an_exception_may_survive_by_rule(made: Callable[[str], list[mutants.Mutant]]) -> None:
    accepted = {each.was for each in made(MODULE) if each.accepted}

    assert accepted == {'raise ValueError("too many of them")'}


@pytest.mark.slow
@pytest.mark.parametrize("path", command.mutated_paths())
def test_every_survivor_that_is_listed_can_still_be_made(path: str) -> None:
    listed = {key for key in command.listed_survivors() if key[0] == path}

    assert not listed or listed <= {each.key for each in mutants.mutants_of(path)}


def test_every_survivor_is_listed_with_a_reason_and_in_a_file_that_is_mutated() -> None:
    for (path, *_), reason in command.listed_survivors().items():
        assert path in command.mutated_paths()
        assert len(reason.split()) >= 3
