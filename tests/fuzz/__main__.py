"""The long run: coverage-guided fuzzing of what is read from outside, by the same claims as the tests.

    .venv/bin/python -m tests.fuzz --minutes 10
    .venv/bin/python -m tests.fuzz --minutes 60 --targets answer_bytes csv_bytes

Needs atheris, which exists for Linux only and is therefore in no lock file: the first run installs it beside the
environment, into .venv/fuzz. What is found is printed and kept in .venv/fuzz/found; make it an example of a test.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.targets import TARGETS, seeds

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / ".venv" / "fuzz"
ATHERIS = "atheris>=3.0,<4"
LACKS_A_TOOL = 77  # what tests/prove.py takes for "skipped"; no verdict ends with it

_LAST_STATUS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_DONE = re.compile(r"Done (\d+) runs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz every target for its share of the time. Ends with 1 where a claim did not hold."""
    options = _parser().parse_args(arguments)
    if not _have_atheris():
        print(f"no fuzzing: {ATHERIS} cannot be installed here (it exists for Linux and CPython 3.11 to 3.14)")
        return LACKS_A_TOOL
    seconds = max(1, round(options.minutes * 60 / len(options.targets)))
    results = [_fuzz(target, seconds) for target in options.targets]
    print(f"{'target':20}{'executions':>12}{'a second':>10}{'branches':>10}{'inputs':>8}{'found':>7}")
    for result in results:
        print(
            f"{result['target']:20}{result['executions']:12,}{result['per_second']:10,}"
            f"{result['branches']:10,}{result['inputs']:8,}{result['found']:7}"
        )
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return int(any(result["found"] for result in results))


def _have_atheris() -> bool:
    """Install it, where it is not yet. pip says why it cannot."""
    sys.path.append(str(HOME / "lib"))
    if importlib.util.find_spec("atheris"):
        return True
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*command, "--target", str(HOME / "lib"), ATHERIS], check=False)
    return installed.returncode == 0


def _fuzz(target: str, seconds: int) -> dict[str, int | str]:
    corpus, found = HOME / "corpus" / target, HOME / "found" / target
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=4096", "-max_len=8192"]
    command = [sys.executable, "-m", "tests.fuzz.targets", target, *limits, f"-artifact_prefix={found}/", str(corpus)]
    started = time.monotonic()
    # A hundred thousand examples in a database help nobody, and the tests' own limits are for the tests.
    environment = os.environ | {
        "PYTHONPATH": str(HOME / "lib"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(HOME / "hypothesis"),
    }
    told = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout
    elapsed = time.monotonic() - started
    new = set(found.iterdir()) - before
    if new or not _LAST_STATUS.search(told):
        print(told[-6000:])
    statuses = _LAST_STATUS.findall(told) or [("0", "0", "0", "0")]
    done = _DONE.search(told)
    executions = int(done.group(1)) if done else int(statuses[-1][0])
    return {
        "target": target,
        "executions": executions,
        "per_second": round(executions / elapsed),
        "branches": int(statuses[-1][1]),
        "inputs": int(statuses[-1][3]),
        "found": len(new),
        "seconds": round(elapsed),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--targets", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS), metavar="TARGET")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
