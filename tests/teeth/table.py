"""What a run came to: figures, findings, and the matrix of which layer catches which bug, by what, and how fast."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.teeth.bugs import Bug

CAUGHT = "caught"
MISSED = "missed"
SLIP = "slip"
STALE = "stale"

_COLUMNS = ("unit", "integration", "simulation", "crash", "formal")


@dataclass(frozen=True, slots=True)
class Result:
    """What one layer made of one bug. An empty bug is the tree as it is."""

    bug: str
    layer: str
    outcome: str
    by: str
    seconds: float


def summary(bugs: Sequence[Bug], results: Sequence[Result], layers: Collection[str]) -> dict[str, Any]:
    """The figures, what was found, and every result: what `--json` writes. layers are the ones that were asked."""
    shown = Counter(result.layer for result in results if result.bug)
    return {
        "findings": list(_findings(bugs, results, layers)),
        "bugs": len(bugs),
        "caught": count_caught(bugs, results),
        "layers": {layer: {"shown": count, "caught": _caught_by(layer, results)} for layer, count in shown.items()},
        "slowest_seconds": max((result.seconds for result in results if result.bug), default=0.0),
        "results": [asdict(result) for result in results],
    }


def count_caught(bugs: Sequence[Bug], results: Sequence[Result]) -> int:
    """How many of the bugs a layer caught. The model on paper executes none of our code, and so catches none."""
    caught = {result.bug for result in results if result.outcome == CAUGHT and result.layer != "formal"}
    return sum(bug.name in caught for bug in bugs)


def _findings(bugs: Sequence[Bug], results: Sequence[Result], layers: Collection[str]) -> Iterator[str]:
    """What keeps this from being green: red without a bug, patches that are no bugs, and bugs that went through."""
    for result in results:
        if not result.bug and (result.outcome != MISSED or result.by):
            yield f"{result.layer} is not green without any bug: {result.by}"
        if result.outcome in {STALE, SLIP} and result.bug:
            yield f"{result.bug}: {result.outcome}: {result.by}"
    outcomes = {(result.bug, result.layer): result for result in results}
    for bug in bugs:
        named = outcomes.get((bug.name, bug.layer))
        if named is None and bug.layer in layers:
            yield f"{bug.name}: {bug.layer}, which must catch it, was not shown it"
        if named is not None and named.outcome == MISSED:
            yield f"{bug.name}: not caught by {bug.layer} {named.by}".rstrip()
        others = [
            result for key, result in outcomes.items() if key[0] == bug.name and key[1] not in {bug.layer, "formal"}
        ]
        if others and all(result.outcome == MISSED for result in [*others, *([named] if named else [])]):
            yield f"{bug.name}: caught by no layer"


def _caught_by(layer: str, results: Sequence[Result]) -> int:
    return sum(result.layer == layer and result.outcome == CAUGHT and bool(result.bug) for result in results)


def markdown(bugs: Sequence[Bug], results: Sequence[Result]) -> str:
    """The page: a line for each bug, a column for each layer, and below it what saw it."""
    latest = {(result.bug, result.layer): result for result in results}
    shown = [layer for layer in _COLUMNS if any(result.layer == layer for result in results)]
    lines = ["| bug | what it would do | " + " | ".join(shown) + " |", "| --- | --- |" + " --- |" * len(shown)]
    for bug in bugs:
        cells = [_cell(latest.get((bug.name, layer)), named=layer == bug.layer) for layer in shown]
        lines.append(f"| {bug.name} | {bug.harm} | " + " | ".join(cells) + " |")
    lines += ["", _legend(bugs, latest, shown), "", "### What saw it first", ""]
    lines += [f"- **{bug.name}**: {told}" for bug in bugs if (told := _witnesses(bug, latest, shown))]
    return "\n".join(lines) + "\n"


def _cell(result: Result | None, *, named: bool) -> str:
    if result is None:
        return "**?**" if named else "·"
    if result.outcome != CAUGHT:
        return "–" if result.outcome == MISSED else "?"
    told = f"{max(result.seconds, 1):.0f} s"
    return f"**{told}**" if named else told


def _legend(bugs: Sequence[Bug], latest: dict[tuple[str, str], Result], shown: Sequence[str]) -> str:
    counts = []
    for layer in shown:
        seen = [bug for bug in bugs if (bug.name, layer) in latest]
        caught = sum(latest[bug.name, layer].outcome == CAUGHT for bug in seen)
        counts.append(f"{layer} {caught} of {len(seen)}")
    return (
        "Seconds until the layer, run as a whole, was red; in bold the layer that CI shows the bug to. "
        "– it does not see it; · it does not execute what is broken; ? no answer. "
        f"Caught: {count_caught(bugs, list(latest.values()))} of {len(bugs)} bugs; {'; '.join(counts)}."
    )


def _witnesses(bug: Bug, latest: dict[tuple[str, str], Result], shown: Sequence[str]) -> str:
    seen = [(layer, latest.get((bug.name, layer))) for layer in shown]
    return "; ".join(f"{layer}: `{result.by}`" for layer, result in seen if result and result.outcome == CAUGHT)
