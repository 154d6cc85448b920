"""The page of the evidence is what the evidence says, and its bounds are sums that anybody can check."""

import json

import pytest

from tests import prove, prove_figures, prove_page


def test_the_page_says_what_was_kept() -> None:
    text = prove_page.PAGE_FILE.read_text(encoding="utf-8")

    assert prove_page.page(text) == text, "run python -m tests.prove_page"


@pytest.mark.parametrize(("trials", "chance"), [(600, "5.0e-03"), (30_000, "1.0e-04"), (500_000, "6.0e-06")])
def test_so_many_trials_without_a_fault_bound_its_chance(trials: int, chance: str) -> None:
    assert prove_figures.chance_below(trials) == f"below {chance} at 95 %"


def test_no_trial_bounds_nothing() -> None:
    assert prove_figures.chance_below(0) == "not bounded"


def test_what_was_kept_was_found_without_fault() -> None:
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(prove_page.EVIDENCE.glob("*.json"))]

    assert [run["part"] for run in kept if run["findings"]] == []


def test_a_simulation_with_a_cell_that_was_never_hit_has_found_something() -> None:
    counts = dict.fromkeys(
        ("kills", "freezes", "failovers", "faults", "charges", "declines", "findings", "cell_hits_min"), 0
    )
    raw = counts | {"seeds": 5000, "seeds_per_second": 50.0, "virtual_hours": 9, "cells": 443, "cells_empty": 2}

    _, findings = prove_figures.of_simulation(raw)

    assert findings == ["2 cells were not hit"]


def test_every_layer_can_be_read() -> None:
    assert {part.name for part in prove.PARTS} | {prove.MUTATION.name} == set(prove_figures.READ)
    assert set(prove_page.LAYERS) == set(prove_figures.READ)
