"""The seeded bugs: each a protocol that somebody could have written, as a few exact replacements in a copy of the tree.

They stand in the .toml files beside this one. Nothing of them is ever applied to the working tree, and nothing is
shipped.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
LISTS = tuple(_HERE / f"{name}.toml" for name in ("sent", "believed", "written", "booked", "pulled"))


@dataclass(frozen=True, slots=True)
class Edit:
    """In this file, this text, which stands there exactly once, becomes that one."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """One broken protocol.

    harm: what it would do to somebody, in a sentence. layer: who must catch it, within budget_seconds. tests: what of a
    layer of tests must go red. paper: the variant of the checked model that makes the same mistake.
    """

    name: str
    harm: str
    edits: tuple[Edit, ...]
    layer: str
    tests: tuple[str, ...] = ()
    paper: str = ""
    budget_seconds: float = 30.0

    @property
    def touches_sql(self) -> bool:
        """Whether a statement of ours is changed, which only a real Postgres can judge."""
        return any(edit.file.endswith(".sql") for edit in self.edits)


class StaleEditError(Exception):
    """The code has moved on: the text that a bug replaces is not there exactly once."""


def every_bug(lists: Iterable[Path] = LISTS) -> tuple[Bug, ...]:
    """The bugs of the lists, in their order."""
    return tuple(_bug(written) for path in lists for written in tomllib.loads(path.read_text(encoding="utf-8"))["bug"])


def broken_text(text: str, edit: Edit) -> str:
    """The file's text with the edit made. Raises StaleEditError."""
    found = text.count(edit.old)
    if found != 1:
        raise StaleEditError(f"{edit.file} has it {found} times: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def broken_files(bug: Bug, root: Path) -> dict[Path, str]:
    """What the bug makes of the files below root. Raises StaleEditError."""
    texts: dict[Path, str] = {}
    for edit in bug.edits:
        path = root / edit.file
        texts[path] = broken_text(texts.get(path) or path.read_text(encoding="utf-8"), edit)
    return texts


def _bug(written: dict[str, Any]) -> Bug:
    edits = tuple(Edit(**edit) for edit in written.pop("edits"))
    return Bug(edits=edits, tests=tuple(written.pop("tests", ())), **written)
