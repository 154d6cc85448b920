"""What many runs came to: counters, the cells, and one table of them."""

import hashlib
from collections import Counter
from statistics import median
from typing import Any

from tests.simulation.faults import CELLS, Cell, Fault
from tests.simulation.run import Result

# So many findings and cells are printed; the rest is counted.
SHOWN_MAX = 20


class Tally:
    """The sum of results, in the order of their seeds."""

    def __init__(self) -> None:
        self.seeds = 0
        self.virtual_seconds = 0.0
        self.counts: Counter[str] = Counter()
        self.cells: Counter[Cell] = Counter()
        self.findings: list[tuple[int, str]] = []
        self._traces = hashlib.sha256()

    def add(self, result: Result) -> None:
        """One more."""
        self.seeds += 1
        self.virtual_seconds += result.virtual_seconds
        self.counts.update(result.counts)
        self.cells.update(result.cells)
        self.findings += [(result.seed, finding) for finding in result.findings]
        self._traces.update(result.sha256.encode())

    def empty_cells(self) -> list[Cell]:
        """The cells that can be hit and were not."""
        return [cell for cell in CELLS if not self.cells[cell]]

    def figures(self, *, seconds: float, jobs: int) -> dict[str, Any]:
        """Everything as plain numbers."""
        hits = [self.cells[cell] for cell in CELLS]
        return {
            "seeds": self.seeds,
            "seconds": round(seconds, 1),
            "jobs": jobs,
            "seeds_per_second": round(self.seeds / max(seconds, 0.001), 1),
            "virtual_hours": round(self.virtual_seconds / 3600),
            "kills": self.counts["kills"],
            "freezes": self.counts["freezes"],
            "stops": self.counts["stops"],
            "failovers": self.counts["failovers"],
            "faults": sum(self.cells.values()),
            "faults_by_kind": {fault.value: self.counts[fault] for fault in Fault},
            "requests": self.counts["requests"],
            "charges": self.counts["charges"],
            "declines": self.counts["declines"],
            "refusals": self.counts["attempt refused"],
            "voided": self.counts["attempt voided"],
            "late_successes": self.counts["late successes"],
            "cells": len(CELLS),
            "cells_empty": len(self.empty_cells()),
            "cell_hits_min": min(hits),
            "cell_hits_median": median(hits),
            "findings": len(self.findings),
            "trace_sha256": self._traces.hexdigest(),
        }

    def table(self, *, seconds: float, jobs: int, judge_cells: bool) -> str:
        """The figures for people."""
        figures = self.figures(seconds=seconds, jobs=jobs)
        kinds = figures.pop("faults_by_kind")
        lines = [
            f"{name.replace('_', ' '):20} {value:>14}" for name, value in figures.items() if name != "trace_sha256"
        ]
        lines += ["", "faults by kind"]
        lines += [f"  {name:28} {count:>8}" for name, count in kinds.items()]
        empty = self.empty_cells()
        if empty and judge_cells:
            lines += ["", f"{len(empty)} cells were not hit:", *(f"  {cell}" for cell in empty[:SHOWN_MAX])]
        if self.findings:
            seeds = sorted({seed for seed, _ in self.findings})
            lines += ["", f"FOUND in {len(seeds)} seeds: {', '.join(map(str, seeds[:SHOWN_MAX]))}"]
        return "\n".join([*lines, "", f"trace {figures['trace_sha256']}"])
