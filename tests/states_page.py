"""Writes docs/states.md from the tables of states.py: every status, what it means, and where it may go.

Run it as `python -m tests.states_page` in the root of the checkout after a table was changed; a test compares the two.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from billing_worker.billing import states

PAGE_FILE = Path(__file__).resolve().parent.parent / "docs" / "states.md"

INTRODUCTION = """\
# Statuses and moves

Written by `python -m tests.states_page` from `billing_worker/billing/states.py`; a test keeps it true. A status that is
not here does not exist, and a move that is not here is refused: by the rules, by the guarded updates that write it, and
where Postgres can know it, by its constraints. How a charge goes through them: [charge-cycle.md](charge-cycle.md).
"""

_MEMBER = re.compile(r'^    [A-Z_]+ = "(\w+)"(?:  # (.*))?$', re.MULTILINE)


def page() -> str:
    """The whole page."""
    sections = [
        INTRODUCTION,
        *_machine("Subscription", states.SubscriptionStatus, states.SUBSCRIPTION_MOVES, first="active"),
        *_list("Modes", states.Mode),
        *_machine("Cycle", states.CycleStatus, states.CYCLE_MOVES, first="due"),
        *_machine("Attempt", states.AttemptStatus, states.ATTEMPT_MOVES, first="open"),
        *_list("Ledger entries", states.EntryKind),
        *_list("Sources", states.Source),
    ]
    return "\n".join(sections)


def _machine(
    title: str, kind: type[StrEnum], moves: Mapping[StrEnum, frozenset[StrEnum]], *, first: str
) -> Iterator[str]:
    yield f"## {title}\n\n{inspect.getdoc(kind)}\n"
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {first}"
    for old in kind:
        for new in sorted(moves[old]):
            yield f"    {old} --> {new}"
        if not moves[old]:
            yield f"    {old} --> [*]"
    yield "```\n\n| status | meaning | may become |\n| --- | --- | --- |"
    for status, meaning in _meanings(kind):
        targets = ", ".join(sorted(moves[kind(status)])) or "nothing else"
        yield f"| `{status}` | {meaning} | {targets} |"
    yield ""


def _list(title: str, kind: type[StrEnum]) -> Iterator[str]:
    yield f"## {title}\n\n{inspect.getdoc(kind)}\n\n| word | meaning |\n| --- | --- |"
    for word, meaning in _meanings(kind):
        yield f"| `{word}` | {meaning} |"
    yield ""


def _meanings(kind: type[StrEnum]) -> list[tuple[str, str]]:
    """Each member with the comment beside it, in the order of the source."""
    found = _MEMBER.findall(inspect.getsource(kind))
    assert [word for word, _ in found] == [str(member) for member in kind]
    return found


if __name__ == "__main__":
    PAGE_FILE.write_text(page(), encoding="utf-8")
