"""Asks spin one question about the protocol: is the model safe within these bounds, and if not, what happened.

A search that did not come to its end is no answer: it is never taken for "safe".
"""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.formal.questions import Question

MODELS = Path(__file__).parent

MEMORY_MB_MAX = 1900  # of the short run; the long one may take more
DEPTH_MAX = 2_000_000  # steps of one path; beyond it the search counts as unfinished

_STORED = re.compile(r"^\s*([\d.e+]+) states, stored", re.MULTILINE)
_DEPTH = re.compile(r"depth reached (\d+), errors: (\d+)")
_SECONDS = re.compile(r"elapsed time ([\d.e+-]+) seconds")
_MEMORY = re.compile(r"^\s*([\d.]+)\s+total actual memory usage", re.MULTILINE)
_UNFINISHED = re.compile(r"Search not completed|max search depth too small|reached -DMEMLIM|out of memory")
_BROKEN = re.compile(r"assertion violated")


class UnfinishedError(Exception):
    """The checker gave no answer: memory, depth or time ran out, or it failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the checker found, and how far it had to look."""

    question: Question
    safe: bool
    states: int
    depth: int
    seconds: float
    memory_mb: float
    story: tuple[str, ...]  # what happened, step by step, where a promise was broken

    @property
    def expected(self) -> bool:
        """Whether it is what had to be found."""
        return self.safe == self.question.safe


def missing_tools() -> str:
    """What is not installed, in words for whoever runs this; empty where nothing is missing."""
    lacking = [name for name in ("spin", "gcc") if shutil.which(name) is None]
    if not lacking:
        return ""
    return f"the model is not checked: {' and '.join(lacking)} not found (Debian, Ubuntu: apt-get install spin gcc)"


def ask(question: Question, *, seconds_max: float, memory_mb_max: int = MEMORY_MB_MAX) -> Finding:
    """Search every state within the bounds. Raises UnfinishedError where the search does not come to an end."""
    with tempfile.TemporaryDirectory(prefix="billing-model-") as scratch:
        at = Path(scratch)
        shutil.copy(MODELS / question.model, at)
        _run(at, 60, "spin", "-a", *question.flags, question.model)
        # Depth first needs the least memory; breadth first finds the shortest way to go wrong.
        how = ("-O2",) if question.safe else ("-O1", "-DBFS")
        options = ("-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={memory_mb_max}", *how)
        _run(at, 120, "gcc", *options, "-o", "pan", "pan.c")
        said = _run(at, seconds_max, "./pan", "-E", "-n", f"-m{DEPTH_MAX}")
        broken = _BROKEN.search(said) is not None
        if not broken and (_UNFINISHED.search(said) or _DEPTH.search(said) is None):
            raise UnfinishedError(f"{question.name}: {said[-2000:]}")
        return _finding(question, said, story=_story(at, question) if broken else ())


def _finding(question: Question, said: str, *, story: tuple[str, ...]) -> Finding:
    depth = _DEPTH.search(said)
    stored, seconds, memory = (pattern.search(said) for pattern in (_STORED, _SECONDS, _MEMORY))
    assert depth is not None
    return Finding(
        question,
        safe=int(depth[2]) == 0,
        states=int(float(stored[1])) if stored else 0,
        depth=int(depth[1]),
        seconds=float(seconds[1]) if seconds else 0.0,
        memory_mb=float(memory[1]) if memory else 0.0,
        story=story,
    )


def _story(at: Path, question: Question) -> tuple[str, ...]:
    """The lines that the model prints on the way to the broken promise."""
    said = _run(at, 60, "spin", "-t", "-T", *question.flags, question.model)
    told = said.split("spin: ")[0].splitlines()
    return tuple(line.rstrip() for line in told if line.strip())


def _run(at: Path, seconds_max: float, *command: str) -> str:
    try:
        done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=seconds_max, check=False)
    except subprocess.TimeoutExpired:
        raise UnfinishedError(f"{command[0]} took more than {seconds_max:.0f} s") from None
    made = command[:2] == ("spin", "-a")  # a replay says Error where the promise breaks, as it should
    if done.returncode not in (0, 1) or (made and "Error: " in done.stdout):
        raise UnfinishedError(f"{' '.join(command)}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return done.stdout
