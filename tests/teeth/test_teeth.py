"""The bugs are still bugs of this code, and what is no catch is not called one."""

from pathlib import Path

import pytest

from tests.formal.questions import ASSUMPTIONS, LOOSENED
from tests.teeth import bugs, copies, layers, table
from tests.teeth.bugs import Bug, Edit, StaleEditError, every_bug
from tests.teeth.commands import Ran
from tests.teeth.copies import ROOT, UnsoundCopyError
from tests.teeth.table import CAUGHT, MISSED, SLIP, STALE, Result

BUGS = every_bug()

REPORT = (
    '<testsuites><testsuite><testcase name="test_a"><{0} message="{1}">why</{0}></testcase></testsuite></testsuites>'
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_what_a_bug_replaces_is_there_exactly_once(bug: Bug) -> None:
    changed = bugs.broken_files(bug, ROOT)

    assert all(text != path.read_text(encoding="utf-8") for path, text in changed.items())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_tests_that_are_named_for_a_bug_are_there(bug: Bug) -> None:
    for named in bug.tests:
        file, _, test = named.partition("::")
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_there_are_bugs_enough_and_each_has_a_name_of_its_own_and_a_layer() -> None:
    assert len(BUGS) >= 24
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert {bug.layer for bug in BUGS} <= {layer.name for layer in layers.LAYERS}


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.paper], ids=lambda bug: bug.name)
def test_the_model_has_the_variant_that_a_bug_names(bug: Bug) -> None:
    assert bug.paper in {question.name for question in LOOSENED + ASSUMPTIONS}


def test_a_text_that_is_there_twice_is_stale() -> None:
    with pytest.raises(StaleEditError):
        bugs.broken_text("a a", Edit("x.py", "a", "b"))


@pytest.mark.parametrize("text", ["def broken(:\n", "print(nobody_has_defined_this)\n"])
def test_a_copy_that_does_not_load_is_no_broken_protocol(tmp_path: Path, text: str) -> None:
    source = tmp_path / "x.py"
    source.write_text(text, encoding="utf-8")

    with pytest.raises(UnsoundCopyError):
        copies.look_over([source])


@pytest.mark.parametrize(
    ("kind", "message", "caught", "slip"),
    [
        ("failure", "assert 2 == 1", True, False),
        ("failure", "NameError: name 'x' is not defined", False, True),
        ("failure", "StatementRefusedError: UndefinedColumnError 42703", False, True),
        ("error", "failed on setup", False, True),
    ],
)
def test_only_a_test_that_goes_red_in_its_own_body_is_a_catch(
    tmp_path: Path, kind: str, message: str, caught: bool, slip: bool
) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(kind, message), encoding="utf-8")

    seen = layers.seen_in_report(report, Ran(1, "1 failed", 0.1))

    assert (seen.caught, seen.slip) == (caught, slip)


@pytest.mark.parametrize(("exit_code", "slip"), [(0, False), (None, False), (2, True), (4, True), (5, True)])
def test_a_run_that_does_not_end_red_is_no_catch(tmp_path: Path, exit_code: int | None, slip: bool) -> None:
    seen = layers.seen_in_report(tmp_path / "none.xml", Ran(exit_code, "no tests ran", 0.1))

    assert (seen.caught, seen.slip) == (False, slip)


BUG = Bug("paid twice", "a customer pays twice", (), "integration")
CONTROL = Result("", "integration", MISSED, "", 1.0)


def _shown(*outcomes: tuple[str, str]) -> list[Result]:
    return [CONTROL, *(Result(BUG.name, layer, outcome, "test_a", 2.0) for layer, outcome in outcomes)]


@pytest.mark.parametrize(
    "outcomes",
    [
        (),
        (("unit", CAUGHT),),
        (("integration", MISSED),),
        (("integration", MISSED), ("unit", CAUGHT)),
        (("integration", SLIP),),
        (("integration", STALE),),
    ],
)
def test_a_bug_that_its_own_layer_has_not_caught_is_a_finding(outcomes: tuple[tuple[str, str], ...]) -> None:
    found = table.summary([BUG], _shown(*outcomes), ["unit", "integration"])["findings"]

    assert any(finding.startswith(BUG.name) for finding in found)


def test_a_bug_whose_layer_was_not_asked_is_no_finding() -> None:
    assert table.summary([BUG], _shown(("unit", CAUGHT)), ["unit"])["findings"] == []


@pytest.mark.parametrize(
    ("outcomes", "caught"),
    [((), 0), ((("integration", CAUGHT), ("unit", CAUGHT)), 1), ((("integration", MISSED), ("formal", CAUGHT)), 0)],
)
def test_the_page_and_the_figures_count_the_same_bugs_as_caught(
    outcomes: tuple[tuple[str, str], ...], caught: int
) -> None:
    results = _shown(*outcomes)

    page = table.markdown([BUG], results)
    figures = table.summary([BUG], results, ["integration"])

    assert (figures["caught"], figures["bugs"]) == (caught, 1)
    assert f"Caught: {caught} of 1 bugs" in page
