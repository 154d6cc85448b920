"""The protocol as designed is safe in its two models, and every loosening of it is found. Needs spin and gcc."""

import pytest

from tests.formal import checker
from tests.formal.__main__ import main
from tests.formal.checker import MODELS, UnfinishedError
from tests.formal.questions import ASSUMPTIONS, DESIGN, LONG_RUN, LOOSENED, Question

SECONDS_MAX = 240  # on a machine that does much else; seconds on an idle one

pytestmark = pytest.mark.timeout(SECONDS_MAX + 60)

needs_spin = pytest.mark.skipif(bool(checker.missing_tools()), reason=checker.missing_tools() or "not needed")


def _name(question: Question) -> str:
    return question.name.replace(" ", "-")


@needs_spin
@pytest.mark.parametrize("question", DESIGN, ids=_name)
def test_the_design_keeps_its_promises_in_every_state(question):
    finding = checker.ask(question, seconds_max=SECONDS_MAX)

    assert finding.safe, "\n".join(finding.story)
    assert finding.states > 50_000, "the model has lost its ways"


@needs_spin
@pytest.mark.parametrize("question", LOOSENED + ASSUMPTIONS, ids=_name)
def test_a_loosened_protocol_is_found_unsafe_and_the_story_is_told(question):
    finding = checker.ask(question, seconds_max=SECONDS_MAX)

    assert not finding.safe, question.says
    assert any(line.startswith("worker") for line in finding.story)


@needs_spin
def test_a_search_that_does_not_end_is_no_answer():
    [largest, *_] = DESIGN

    with pytest.raises(UnfinishedError):
        checker.ask(largest, seconds_max=SECONDS_MAX, memory_mb_max=140)


def test_every_switch_that_is_asked_about_is_one_of_the_model():
    for question in LONG_RUN:
        text = (MODELS / question.model).read_text()
        for switch in question.switches:
            assert f"#ifdef {switch}\n" in text or f"defined({switch})" in text, (question.name, switch)


def test_every_question_has_a_name_of_its_own():
    assert len({question.name for question in LONG_RUN}) == len(LONG_RUN)


@pytest.mark.parametrize("there", [(), ("spin",), ("gcc",)])
def test_without_its_tools_the_check_ends_as_skipped_and_says_what_is_missing(there, tmp_path, monkeypatch, capsys):
    for name in there:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    exit_code = main([])

    assert exit_code == 77
    told = capsys.readouterr().out
    assert all(name in told for name in {"spin", "gcc"} - set(there))
