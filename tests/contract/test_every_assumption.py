"""The list of assumptions and the tests that carry their numbers stay together."""

import ast
from pathlib import Path

from tests.contract.assumptions import ASSUMPTIONS, table


def _carried() -> dict[str, list[str]]:
    """The names of the tests that carry each number, read from the source so that a skipped one counts too."""
    carried: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "assumption":
                    for number in mark.args:
                        carried.setdefault(ast.literal_eval(number), []).append(f"{path.name}::{node.name}")
    return carried


def test_every_assumption_has_a_test_and_every_number_is_on_the_list():
    assert set(_carried()) == {each.number for each in ASSUMPTIONS}


def test_numbers_count_up_and_none_is_given_twice():
    assert [each.number for each in ASSUMPTIONS] == [f"A{n}" for n in range(1, len(ASSUMPTIONS) + 1)]


def test_the_table_has_a_row_for_each():
    assert len(table().splitlines()) == len(ASSUMPTIONS) + 2
