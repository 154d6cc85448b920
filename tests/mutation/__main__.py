"""Mutation testing of the rules of billing and of the reading of PortOne's answers.

    .venv/bin/python -m tests.mutation                              every module, both cores
    .venv/bin/python -m tests.mutation --since origin/main          the modules that changed
    .venv/bin/python -m tests.mutation --json tests/mutation/result.json

Ends with 1 when a mutant survives that tests/mutation/survivors.toml does not explain, or when one that is listed there
dies: then the line is stale.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation import arena
from tests.mutation.mutants import ROOT, Mutant, mutants_of

SURVIVORS = ROOT / "tests" / "mutation" / "survivors.toml"
SCORE_PERCENT_MIN = 95.0

Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Tally:
    """What became of the mutants of one file."""

    made: int = 0
    killed: int = 0
    only_words: int = 0  # survivors that change what a person reads
    listed: int = 0  # survivors with a reason
    unlisted: list[Mutant] = field(default_factory=list)

    @property
    def score_percent(self) -> float:
        """Of the mutants that change more than the words of an exception, how many were killed."""
        judged = self.made - self.only_words
        return 100.0 * self.killed / judged if judged else 100.0


def mutated_paths() -> list[str]:
    """The modules whose decisions the tests must pin down."""
    package = ROOT / "billing_worker"
    readers = (package / "portone" / "fields.py", *sorted((package / "portone").glob("wire*.py")))
    return [str(path.relative_to(ROOT)) for path in (*sorted((package / "billing").glob("*.py")), *readers)]


def listed_survivors() -> dict[Key, str]:
    """The committed list, each with its reason."""
    listed = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivor", [])
    return {(each["path"], each["function"], each["was"], each["becomes"]): each["reason"] for each in listed}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the mutants, try them, and say what survived."""
    options = _parser().parse_args(arguments)
    paths = [path for path in _chosen_paths(options) if path in mutated_paths()]
    if not paths:
        print("no mutated module among these")
        return 0
    with tempfile.TemporaryDirectory() as cache:
        return _run(paths, options, cache)


def _run(paths: Sequence[str], options: argparse.Namespace, cache: str) -> int:
    started = time.monotonic()
    mutants = [mutant for path in paths for mutant in mutants_of(path)]
    tallies = {path: Tally() for path in paths}
    if options.again:
        earlier = json.loads(Path(options.again).read_text(encoding="utf-8"))
        wanted = {tuple(key) for key in earlier["unlisted"]}
        mutants = [mutant for mutant in mutants if mutant.key in wanted]
        tallies = {path: _earlier_tally(earlier["files"][path]) for path in paths}
    print(f"{len(mutants)} mutants of {len(paths)} files", flush=True)
    listed = listed_survivors()
    survivors: set[Key] = set()

    def tell(mutant: Mutant, killed: bool) -> None:
        if not killed:
            survivors.add(mutant.key)
        _count(tallies[mutant.path], mutant, killed=killed, listed=mutant.key in listed)

    files = options.tests or arena.test_files()
    tests = arena.try_all(mutated_paths(), mutants, files=files, workers=options.workers, cache=cache, tell=tell)
    tried = {mutant.key for mutant in mutants}
    judged = (key for key in listed if key[0] in paths and (key in tried or not options.again))
    stale = [key for key in judged if key not in survivors]
    _print_result(tallies, stale)
    minutes = (time.monotonic() - started) / 60
    print(f"{tests} tests, {minutes:.1f} minutes with {options.workers} workers")
    if options.json:
        _write_result(Path(options.json), tallies, minutes=minutes)
    total = _total(tallies)
    return int(bool(total.unlisted or stale) or total.score_percent < SCORE_PERCENT_MIN)


def _earlier_tally(figures: dict[str, int]) -> Tally:
    """What an earlier run is sure of: all but what survived it unlisted, which is tried again and counted anew."""
    return Tally(
        made=figures["mutants"] - figures["survived_unlisted"],
        killed=figures["killed"],
        only_words=figures["survived_words_only"],
        listed=figures["survived_listed"],
    )


def _count(tally: Tally, mutant: Mutant, *, killed: bool, listed: bool) -> None:
    tally.made += 1
    if killed:
        tally.killed += 1
    elif mutant.accepted:
        tally.only_words += 1
    elif listed:
        tally.listed += 1
    else:
        tally.unlisted.append(mutant)
        _say(f"survived: {mutant.path}:{mutant.line} {mutant.function}")
        _say(f"  was     {mutant.was}\n  becomes {mutant.becomes}")


def _say(text: str) -> None:
    # pytest has the other one while its session lasts.
    print(text, file=sys.__stdout__, flush=True)


def _total(tallies: dict[str, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.made += tally.made
        total.killed += tally.killed
        total.only_words += tally.only_words
        total.listed += tally.listed
        total.unlisted.extend(tally.unlisted)
    return total


def _print_result(tallies: dict[str, Tally], stale: Sequence[Key]) -> None:
    print(f"\n{'file':44}{'mutants':>8}{'killed':>8}{'words':>7}{'listed':>8}{'others':>8}{'score':>8}")
    for path, tally in (*tallies.items(), ("all", _total(tallies))):
        counts = f"{tally.made:8}{tally.killed:8}{tally.only_words:7}{tally.listed:8}{len(tally.unlisted):8}"
        print(f"{path:44}{counts}{tally.score_percent:7.1f}%")
    for path, function, was, becomes in stale:
        print(f"stale, it is killed or cannot be made any more: {path} {function}: {was} => {becomes}")


def _write_result(file: Path, tallies: dict[str, Tally], *, minutes: float) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    told = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit.strip(),
        "minutes": round(minutes, 1),
        "all": _figures(_total(tallies)),
        "unlisted": [mutant.key for mutant in _total(tallies).unlisted],
        "files": {path: _figures(tally) for path, tally in tallies.items()},
    }
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _figures(tally: Tally) -> dict[str, float]:
    return {
        "mutants": tally.made,
        "killed": tally.killed,
        "survived_words_only": tally.only_words,
        "survived_listed": tally.listed,
        "survived_unlisted": len(tally.unlisted),
        "score_percent": round(tally.score_percent, 2),
    }


def _chosen_paths(options: argparse.Namespace) -> list[str]:
    if options.since:
        command = ["git", "diff", "--name-only", options.since, "--"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return options.paths or mutated_paths()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--paths", nargs="+", metavar="FILE", help="these modules only")
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="these tests only: quicker, and more survives")
    parser.add_argument("--since", metavar="COMMIT", help="the modules that differ from this commit only")
    parser.add_argument(
        "--again",
        metavar="FILE",
        help="only what survived unlisted in the run that wrote this JSON, added to its figures",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many forks at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
