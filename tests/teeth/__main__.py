"""Teeth: seeds every bug into a copy of the tree and says which layer of tests catches it, by what, and how fast.

`python -m tests.teeth` shows each bug to the layer that must catch it. `--matrix` shows every bug to every layer. Exit
code 1: a bug was not caught within its budget, a replacement is stale, or a layer is red without any bug.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.teeth import table
from tests.teeth.bugs import LISTS, Bug, StaleEditError, every_bug
from tests.teeth.copies import UnsoundCopyError, a_copy
from tests.teeth.layers import LAYERS, Layer, Seen, chosen_tests
from tests.teeth.table import CAUGHT, MISSED, SLIP, STALE, Result

# A layer that sees nothing is run to its end in the matrix, and on the tree without a bug.
WHOLE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Bench:
    """How bugs are tried: on which server, a layer as a whole or only what is named, how many at a time."""

    server: str
    whole: bool
    jobs: int

    def control(self, layer: Layer, bugs: Sequence[Bug]) -> Result:
        """The layer on a tree without a bug: where that is red, nothing is shown by red."""
        with a_copy(server=self.server) as tree:
            seen = layer.look(tree, bugs, server=self.server, whole=self.whole, seconds_max=WHOLE_SECONDS)
        return _result("", layer, seen)

    def attempt(self, bug: Bug, layer: Layer) -> Result:
        """The layer on a tree with the bug in it."""
        seconds_max = WHOLE_SECONDS if self.whole else bug.budget_seconds
        try:
            with a_copy(bug, server=self.server) as tree:
                seen = layer.look(tree, [bug], server=self.server, whole=self.whole, seconds_max=seconds_max)
        except StaleEditError as error:
            return Result(bug.name, layer.name, STALE, str(error), 0.0)
        except UnsoundCopyError as error:
            return Result(bug.name, layer.name, SLIP, str(error), 0.0)
        return _result(bug.name, layer, seen)

    def all(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """The results, each told as soon as it is there."""
        with ThreadPoolExecutor(self.jobs) as threads:
            return [_told(one.result()) for one in as_completed([threads.submit(call) for call in calls])]


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; the exit code."""
    asked = _parser().parse_args(arguments)
    lists = asked.lists or LISTS
    bugs = [bug for bug in every_bug(lists) if not asked.bug or bug.name in asked.bug]
    if asked.list:
        print("\n".join(f"{bug.layer:<12} {bug.name}: {bug.harm}" for bug in bugs))
        return 0
    pairs = [(bug, layer) for bug in bugs for layer in LAYERS if _is_asked(asked, bug, layer)]
    began = time.monotonic()
    with EmbeddedPostgres(durable=False) as server:
        results = _run(Bench(server.url(), asked.matrix, asked.jobs), pairs)
    layers = asked.layer or [layer.name for layer in LAYERS]
    # One that its own layer was to be shown and cannot see stays in the count: it is not caught.
    tried = [bug for bug in bugs if bug.layer in layers or any(bug is other for other, _ in pairs)]
    summary = table.summary(tried, results, layers)
    summary["seconds"] = round(time.monotonic() - began, 1)
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    if asked.markdown:
        earlier = [row for path in asked.add for row in json.loads(path.read_text(encoding="utf-8"))["results"]]
        shown = [*(Result(**row) for row in earlier), *results]
        named = {bug.name for bug in tried} | {result.bug for result in shown}
        page = table.markdown([bug for bug in every_bug(lists) if bug.name in named], shown)
        asked.markdown.write_text(page, encoding="utf-8")
    print("\n".join(summary["findings"]))
    print(f"{summary['caught']} of {summary['bugs']} bugs caught in {summary['seconds']:.0f} s")
    return 1 if summary["findings"] or not pairs else 0


def _is_asked(asked: argparse.Namespace, bug: Bug, layer: Layer) -> bool:
    """Every layer in the matrix; else the one that must catch it, or the one asked for if it has tests named for it."""
    if asked.layer and layer.name not in asked.layer:
        return False
    if asked.matrix:
        return layer.sees(bug)
    return layer.name == bug.layer or bool(asked.layer and chosen_tests(layer.name, [bug]))


def _run(bench: Bench, pairs: Sequence[tuple[Bug, Layer]]) -> list[Result]:
    shown = {layer.name: [bug for bug, other in pairs if other is layer] for layer in LAYERS}
    controls = bench.all(
        [lambda one=layer: bench.control(one, shown[one.name]) for layer in LAYERS if shown[layer.name]]
    )
    # Where a layer is red, or does not end, without any bug, nothing is shown by red.
    if any(control.outcome != MISSED or control.by for control in controls):
        return controls
    return controls + bench.all([lambda bug=bug, layer=layer: bench.attempt(bug, layer) for bug, layer in pairs])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.teeth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lists", type=Path, nargs="+", help="other lists of bugs (TOML) than ours")
    parser.add_argument("--bug", action="append", help="only this bug; may be given more than once")
    parser.add_argument("--layer", action="append", choices=[layer.name for layer in LAYERS], help="only this layer")
    parser.add_argument("--matrix", action="store_true", help="every bug before every layer, each layer as a whole")
    parser.add_argument("--jobs", type=int, default=2, help="how many copies at a time")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--add", type=Path, action="append", default=[], help="earlier results (JSON) for the table")
    parser.add_argument("--list", action="store_true", help="say which bugs there are")
    return parser


def _result(bug: str, layer: Layer, seen: Seen) -> Result:
    outcome = SLIP if seen.slip else CAUGHT if seen.caught else MISSED
    return Result(bug, layer.name, outcome, seen.by, round(seen.seconds, 1))


def _told(result: Result) -> Result:
    outcome = result.outcome if result.bug else "control"
    what = result.bug or "the tree as it is"
    print(f"{outcome:<8} {result.layer:<12} {what:<40} {result.seconds:6.1f} s  {result.by}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
