"""The layers that a broken copy is shown to: what is run of each, and what counts as having been caught.

A copy is caught by a test that goes red in its own body or by a fault that an oracle names. What does not load, collect
or set up is a slip of the patch, and no catch.
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree as ET

from tests.formal.checker import UnfinishedError, ask, missing_tools
from tests.formal.questions import ASSUMPTIONS, DESIGN, LOOSENED
from tests.teeth import commands
from tests.teeth.bugs import Bug
from tests.teeth.commands import Ran

NOT_IN_TIME = "not within its time"

# Slips of a patch look like this. A wrong amount, a row too many and a wait that never ends do not.
_SLIP = re.compile(
    r"\b(ImportError|ModuleNotFoundError|SyntaxError|NameError|UnboundLocalError|PostgresSyntaxError|Undefined\w+Error"
    r"|Ambiguous\w+Error|IndeterminateDatatypeError|DatatypeMismatchError)\b"
)

_FINDING = re.compile(r"^seed \d+: (.*)$", re.MULTILINE)
_ROW = re.compile(r"rb1[0-9a-z]{27}(-g[0-9]+)?| \(at [0-9.]+ s\)")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a layer made of a copy: by names the test or the fault; slip is set where the patch itself is at fault."""

    caught: bool
    by: str
    seconds: float
    slip: bool = False


class Layer(Protocol):
    """One way of looking at a copy."""

    name: str

    def sees(self, bug: Bug) -> bool:
        """Whether the layer executes what the bug breaks."""

    def look(self, tree: Path, bugs: Sequence[Bug], *, server: str, whole: bool, seconds_max: float) -> Seen:
        """Run in that tree what is chosen for the bugs, or the whole layer. server is a superuser's DSN."""


class Pytest:
    """A directory of tests, stopped at the first red one."""

    def __init__(self, name: str, whole: Sequence[str], *, shares_server: bool = False) -> None:
        self.name = name
        self._whole = tuple(whole)
        self._shares_server = shares_server

    def sees(self, bug: Bug) -> bool:
        """Rules alone run no SQL; every other test runs all there is."""
        return self.name != "unit" or not all(edit.file.endswith(".sql") for edit in bug.edits)

    def look(self, tree: Path, bugs: Sequence[Bug], *, server: str, whole: bool, seconds_max: float) -> Seen:
        """Run pytest and read its report."""
        chosen = self._whole if whole else chosen_tests(self.name, bugs)
        assert chosen, f"no test of {self.name} is named for this bug"
        # Tests that change roles must not meet on one server, and only a whole layer has them beside others.
        environ = {"BILLING_TEST_DATABASE_URL": server} if self._shares_server and not whole else {}
        with tempfile.TemporaryDirectory(prefix="teeth-report-") as name:
            report = Path(name) / "report.xml"
            options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
            options += [f"--timeout={max(seconds_max * 0.8, 1):.0f}", f"--junitxml={report}"]
            ran = commands.run([sys.executable, "-m", "pytest", *options, *chosen], tree, seconds_max, environ)
            return seen_in_report(report, ran)


class Simulation:
    """Seeds of the deterministic simulation, until the first fault."""

    name = "simulation"

    def __init__(self, *, seeds: int, seeds_whole: int) -> None:
        self._seeds = seeds
        self._seeds_whole = seeds_whole

    def sees(self, bug: Bug) -> bool:
        """In the place of Postgres and of its pools the simulation has twins."""
        unseen = ("sql/", "billing_worker/store/db.py")
        return not any(edit.file.startswith(unseen) for edit in bug.edits)

    def look(self, tree: Path, bugs: Sequence[Bug], *, server: str, whole: bool, seconds_max: float) -> Seen:
        """Run seeds and read the fault's name."""
        seeds = self._seeds_whole if whole else self._seeds
        command = [sys.executable, "-m", "tests.simulation", "--seeds", str(seeds), "--stop-at-first"]
        return seen_in_simulation(commands.run(command, tree, seconds_max))


class OnPaper:
    """The checked model's variant with the same mistake. It shows what the mistake does, not that a test sees it."""

    name = "formal"

    def sees(self, bug: Bug) -> bool:
        """Whether the model has such a variant, and there is a checker to ask."""
        return bool(bug.paper) and not missing_tools()

    def look(self, tree: Path, bugs: Sequence[Bug], *, server: str, whole: bool, seconds_max: float) -> Seen:
        """Ask about the bug's variant; about the design itself where there are several bugs, or none."""
        names = {bug.paper for bug in bugs}
        [question] = [each for each in LOOSENED + ASSUMPTIONS if {each.name} == names] or DESIGN[:1]
        began = time.monotonic()
        try:
            found = ask(question, seconds_max=seconds_max)
        except UnfinishedError as error:
            return Seen(caught=False, by=str(error), seconds=time.monotonic() - began, slip=True)
        by = "" if found.safe else question.says
        return Seen(caught=not found.safe, by=by, seconds=time.monotonic() - began)


def chosen_tests(layer: str, bugs: Iterable[Bug]) -> list[str]:
    """The tests of a layer that are named for the bugs, each once."""
    named = (test for bug in bugs for test in bug.tests if test.startswith(f"{layer}/"))
    return list(dict.fromkeys(f"tests/{test}" for test in named))


def seen_in_report(report: Path, ran: Ran) -> Seen:
    """What pytest saw, by its report in JUnit's form."""
    if ran.exit_code in {0, None}:
        return Seen(caught=False, by="" if ran.exit_code == 0 else NOT_IN_TIME, seconds=ran.seconds)
    for case in ET.parse(report).iter("testcase") if report.exists() and ran.exit_code == 1 else ():
        for kind in ("failure", "error"):
            found = case.find(kind)
            if found is None:
                continue
            message = found.get("message", "")
            # An error is a fixture's or a module's; only a test's own body can show a broken promise.
            if kind == "error" or _SLIP.search(f"{message}\n{found.text}"):
                return Seen(caught=False, by=f"{case.get('name')}: {message[:200]}", seconds=ran.seconds, slip=True)
            return Seen(caught=True, by=case.get("name", "").partition("[")[0], seconds=ran.seconds)
    return Seen(caught=False, by=ran.last_line, seconds=ran.seconds, slip=True)


def seen_in_simulation(ran: Ran) -> Seen:
    """What the simulation's oracles found first, without the names of its rows."""
    if ran.exit_code in {0, None}:
        return Seen(caught=False, by="" if ran.exit_code == 0 else NOT_IN_TIME, seconds=ran.seconds)
    found = _FINDING.search(ran.output)
    if found is None or _SLIP.search(found[1]):
        return Seen(caught=False, by=found[1] if found else ran.last_line, seconds=ran.seconds, slip=True)
    return Seen(
        caught=True,
        by=_ROW.sub(lambda row: "…" if row[0].startswith("rb1") else "", found[1])[:120],
        seconds=ran.seconds,
    )


# What is left out spends its time on the command line, the demo, packaging and the plans of queries.
_INTEGRATION = (
    "claims",
    "charger",
    "charger_races",
    "settling",
    "settler",
    "reconciler",
    "second_thoughts",
    "corrections",
    "identity_guards",
    "renewer",
    "schema",
    "roles",
    "stores",
    "watcher",
    "portone_client",
    "ledger_chain",
    "failover",
    "warnings",
    "last_lines",
    "restored",
)
_CRASH = ("acknowledgements", "crash_points", "frozen_worker", "sigterm")

LAYERS: tuple[Layer, ...] = (
    Pytest("unit", ("tests/unit",)),
    Pytest("integration", tuple(f"tests/integration/test_{name}.py" for name in _INTEGRATION), shares_server=True),
    Pytest("crash", tuple(f"tests/crash/test_{name}.py" for name in _CRASH)),
    Simulation(seeds=150, seeds_whole=2000),
    OnPaper(),
)
