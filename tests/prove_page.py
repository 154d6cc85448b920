"""Writes the parts of docs/proof.md that are not prose: what is assumed, what was run, what was broken on purpose.

Run it as `python -m tests.prove_page` in the root of the checkout; a test compares the page with what it would write.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.contract import assumptions

ROOT = Path(__file__).resolve().parent.parent
PAGE_FILE = ROOT / "docs" / "proof.md"
EVIDENCE = ROOT / "tests" / "evidence"
LAYERS = ("model", "simulation", "crashes", "teeth", "fuzzing", "mutation")

_PART = re.compile(r"(<!-- (\w+): [^>]*-->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with its parts written anew."""
    parts = {"assumptions": assumptions.table, "figures": _figures, "teeth": _teeth}
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]().strip()}\n\n{found[3]}", text)


def _figures() -> str:
    return "\n".join(_figure_lines())


def _figure_lines() -> Iterator[str]:
    if not any(EVIDENCE.glob("*.json")):
        yield "No run is kept yet: `make prove` prints its own."
        return
    yield "| layer | figure | make prove | make prove-long |"
    yield "| --- | --- | --- | --- |"
    for layer in LAYERS:
        short, long = _kept(layer, "short"), _kept(layer, "long")
        if not (short["figures"] or long["figures"]):
            continue
        for place, name in enumerate(dict.fromkeys([*short["figures"], *long["figures"]])):
            cells = (short["figures"].get(name, ""), long["figures"].get(name, ""))
            yield f"| {layer if place == 0 else ''} | {name} | {cells[0]} | {cells[1]} |"
        spans = [_span(kept) for kept in (short, long)]
        yield f"| | took | {spans[0]} | {spans[1]} |"


def _kept(layer: str, run: str) -> dict[str, dict[str, str]]:
    path = EVIDENCE / f"{layer}.{run}.json"
    kept: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"figures": {}}
    return kept


def _span(kept: dict[str, object]) -> str:
    if "seconds" not in kept:
        return ""
    return f"{float(str(kept['seconds'])) / 60:.1f} min, {kept['ran_on']} ({kept['machine']})"


def _teeth() -> str:
    path = EVIDENCE / "teeth.md"
    if not path.exists():
        return "No matrix is kept yet: `make teeth` shows each version to the layer that must catch it."
    return path.read_text(encoding="utf-8")


def write() -> None:
    """Write the page."""
    PAGE_FILE.write_text(page(PAGE_FILE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
