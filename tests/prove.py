"""The evidence behind the promises: runs every layer, prints one table, and says whether anything was found.

`--long` is the campaign of hours. `--write` keeps the figures in tests/evidence and writes them into docs/proof.md.
Exit code 1: something was found.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import prove_figures, prove_page

ROOT = Path(__file__).resolve().parent.parent
EVIDENCE = ROOT / "tests" / "evidence"


@dataclass(frozen=True, slots=True)
class Part:
    """One layer: its command, and the options that make a run of hours of it."""

    name: str
    command: tuple[str, ...]
    short: tuple[str, ...]
    long: tuple[str, ...]
    minutes_max: float = 10.0  # of the short run; a layer that hangs is a layer that found something


# In the order of how soon each says no.
PARTS = (
    Part("model", ("-m", "tests.formal"), (), ("--long",)),
    Part("simulation", ("-m", "tests.simulation", "--jobs", "2"), ("--seeds", "5000"), ("--seeds", "500000")),
    Part("crashes", ("-m", "tests.crash"), ("--kills", "600"), ("--kills", "30000")),
    Part("teeth", ("-m", "tests.teeth"), (), ("--matrix",)),
    Part("fuzzing", ("-m", "tests.fuzz"), ("--minutes", "1"), ("--minutes", "30")),
)
# Too long for every change: its last result is shown, with its date.
MUTATION = Part("mutation", ("-m", "tests.mutation"), (), ())
MUTATION_RESULT = ROOT / "tests" / "mutation" / "result.json"
# What a command ends with that lacks a tool of its own and has said which.
LACKS_A_TOOL = 77


@dataclass(frozen=True, slots=True)
class Run:
    """What a layer came to: figures for people, and what it found."""

    part: str
    seconds: float
    figures: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    skipped: str = ""


def main(arguments: Sequence[str]) -> int:
    """Run the chosen layers one after the other; the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    began = time.monotonic()
    runs = []
    for part in PARTS:
        if options.only and part.name not in options.only:
            continue
        console.rule(part.name)
        runs.append(_run(part, long=options.long))
    if not options.only:
        runs.append(_run(MUTATION, long=True) if options.long else _last_mutation())
    if options.write:
        for run in runs:
            _keep(run, long=options.long)
        prove_page.write()
    console.print(_table(runs))
    found = [f"{run.part}: {finding}" for run in runs for finding in run.findings]
    for finding in found:
        console.print(f"[red]{finding}[/]", highlight=False)
    console.print(f"{len(runs)} layers, {len(found)} findings, {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the campaign of hours")
    parser.add_argument("--only", action="append", choices=[part.name for part in PARTS], help="only this layer")
    parser.add_argument("--write", action="store_true", help="keep the figures and write them into docs/proof.md")
    return parser


def _run(part: Part, *, long: bool) -> Run:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / "result.json"
        command = [sys.executable, *part.command, *(part.long if long else part.short), "--json", str(written)]
        try:
            ended = subprocess.run(command, cwd=ROOT, check=False, timeout=None if long else part.minutes_max * 60)
        except subprocess.TimeoutExpired:
            return Run(part.name, time.monotonic() - began, findings=[f"not done in {part.minutes_max:g} minutes"])
        seconds = time.monotonic() - began
        if ended.returncode == LACKS_A_TOOL:
            return Run(part.name, seconds, skipped="a tool is missing, see above")
        if not written.exists():
            return Run(part.name, seconds, findings=[f"ended with {ended.returncode} and no result"])
        figures, findings = prove_figures.READ[part.name](json.loads(written.read_text(encoding="utf-8")))
    if ended.returncode and not findings:
        findings = [f"ended with {ended.returncode}"]
    return Run(part.name, seconds, figures, findings)


def _last_mutation() -> Run:
    if not MUTATION_RESULT.exists():
        return Run(MUTATION.name, 0.0, findings=["no result is kept: run make mutation"])
    figures, findings = prove_figures.of_mutation(json.loads(MUTATION_RESULT.read_text(encoding="utf-8")))
    return Run(MUTATION.name, 0.0, figures, findings)


def _keep(run: Run, *, long: bool) -> None:
    EVIDENCE.mkdir(exist_ok=True)
    kept = asdict(run) | {
        "ran_on": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    path = EVIDENCE / f"{run.part}.{'long' if long else 'short'}.json"
    path.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _table(runs: Sequence[Run]) -> Table:
    table = Table("layer", "figure", "value", "found", "seconds", title="What the promises rest on")
    for run in runs:
        figures = run.figures or {"": f"skipped: {run.skipped}" if run.skipped else ""}
        for place, (name, value) in enumerate(figures.items()):
            ends = (str(len(run.findings)), f"{run.seconds:.0f}") if place == 0 else ("", "")
            table.add_row(run.part if place == 0 else "", name, value, *ends)
        table.add_section()
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
