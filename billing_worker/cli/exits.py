"""Exit codes: what the program's end tells a script. docs/cli.md lists the same ones, and a test compares."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Every code that a command of ours ends with."""

    OK = 0
    FOUND = 1
    REFUSED = 2
    GONE = 3
    NOT_FOUND = 4
    LEFT_EARLY = 70
    INTERRUPTED = 130


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done, and nothing is wrong",
    Exit.FOUND: "the command did its work and found something wrong or different",
    Exit.REFUSED: "usage, settings or input are wrong, or Postgres refuses the request; nothing was changed",
    Exit.GONE: "Postgres or PortOne does not answer",
    Exit.NOT_FOUND: "there is no such subscription, cycle or attempt",
    Exit.LEFT_EARLY: "run left before everything in flight was finished; the next worker follows it up",
    Exit.INTERRUPTED: "interrupted at the keyboard",
}


@dataclass(frozen=True, slots=True)
class Detail:
    """One of several things that are wrong, for people and for programs."""

    where: str
    what: str


class Failure(Exception):  # noqa: N818 - an end that a command foresees
    """Why a command ends without having done its work. The text holds no secret."""

    def __init__(
        self, code: Exit, kind: str, message: str, *, remedy: str = "", details: tuple[Detail, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.message = message
        self.remedy = remedy
        self.details = details
