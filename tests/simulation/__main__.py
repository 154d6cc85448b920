"""Runs many seeds of the simulation and prints one table: what was run, what went wrong on purpose, and what was found.

`python -m tests.simulation --seeds 5000`. A failure prints its seed and the command that replays it. The exit code is
1 on any finding, and on any cell that can be hit and was not.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.simulation.faults import CELLS, all_cells, why_impossible
from tests.simulation.run import Result, as_text, simulate, simulate_without_trace
from tests.simulation.scenario import plan_of
from tests.simulation.tally import Tally

# So many seeds are handed to a core at once, in an order that does not depend on the number of cores.
CHUNK = 10


def main(arguments: list[str]) -> int:
    """Run, print, and judge."""
    options = _options(arguments)
    if options.impossible:
        _print_impossible()
        return 0
    if options.seed is not None:
        return _replay(options.seed, trace=options.trace)
    started = time.monotonic()
    tally = Tally()
    for result in _results(range(options.start, options.start + options.seeds), options.jobs):
        tally.add(result)
        for finding in result.findings[:5]:
            print(f"seed {result.seed}: {finding}\n    python -m tests.simulation --seed {result.seed} --trace")
        if result.findings and options.stop_at_first:
            break
    seconds = time.monotonic() - started
    # A few seeds cannot reach every cell; the run that is judged has at least one for each.
    judge_cells = not options.stop_at_first and tally.seeds >= 2 * len(CELLS)
    print(tally.table(seconds=seconds, jobs=options.jobs, judge_cells=judge_cells))
    if options.json:
        figures = tally.figures(seconds=seconds, jobs=options.jobs)
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return int(bool(tally.findings) or (judge_cells and bool(tally.empty_cells())))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5000, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="how many cores to use; the results do not depend on it")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print all that happens")
    parser.add_argument("--stop-at-first", action="store_true", help="stop at the first finding; judge no cells")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--impossible", action="store_true", help="list the cells that cannot be hit, and why")
    return parser.parse_args(arguments)


def _replay(seed: int, *, trace: bool) -> int:
    plan = plan_of(seed)
    result = simulate(seed)
    print(as_text(plan))
    if trace:
        print("\n".join(result.lines))
    for finding in result.findings:
        print(f"FOUND {finding}")
    print(f"{len(result.findings)} findings, {result.virtual_seconds / 3600:.1f} virtual hours, trace {result.sha256}")
    return int(bool(result.findings))


def _results(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        for seed in seeds:
            yield simulate_without_trace(seed)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=None) as pool:
        yield from pool.imap(simulate_without_trace, seeds, chunksize=CHUNK)


def _print_impossible() -> None:
    reasons: Counter[str] = Counter()
    for cell in all_cells():
        if reason := why_impossible(cell):
            reasons[reason] += 1
    for reason, count in reasons.most_common():
        print(f"{count:5}  {reason}")
    print(f"{len(CELLS):5}  can be hit")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
