"""Commands in a copy of the tree: run with the copy's own modules, and stopped when their time is over."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A run that is told to stop takes its servers down with it, which takes a moment.
LEAVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; without an exit code it had to be stopped."""

    exit_code: int | None
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """What it said last."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "no output"


def run(command: Sequence[str], tree: Path, seconds_max: float, environ: Mapping[str, str] | None = None) -> Ran:
    """Run a command in the copy."""
    whole = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"} | (environ or {})
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=tree,
        env=whole,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=seconds_max)
            return Ran(child.returncode, output, time.monotonic() - began)
        except subprocess.TimeoutExpired:
            return Ran(None, _stopped(child), time.monotonic() - began)


def _stopped(child: "subprocess.Popen[str]") -> str:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        os.killpg(child.pid, number)
        try:
            return child.communicate(timeout=LEAVE_SECONDS)[0]
        except subprocess.TimeoutExpired:
            continue
    return ""
