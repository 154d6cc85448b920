"""What each layer's result comes to: a few figures for people, and what it found."""

from collections.abc import Callable, Mapping
from typing import Any

Figures = dict[str, str]


def chance_below(trials: int) -> str:
    """What that many independent trials without a fault bound the chance of one per trial by, at 95 % confidence."""
    return f"below {1 - 0.05 ** (1 / trials):.1e} at 95 %" if trials else "not bounded"


def of_model(raw: list[dict[str, Any]]) -> tuple[Figures, list[str]]:
    """Of the protocol on paper."""
    safe = [row for row in raw if row["question"]["safe"]]
    unsafe = [row for row in raw if not row["question"]["safe"]]
    figures = {
        "statements that must hold, and do": f"{sum(row['expected'] for row in safe)} of {len(safe)}",
        "loosened protocols that must fail, and do": f"{sum(row['expected'] for row in unsafe)} of {len(unsafe)}",
        "states": f"{sum(row['states'] for row in raw):,}",
    }
    return figures, [f"{row['question']['name']} is not as expected" for row in raw if not row["expected"]]


def of_simulation(raw: Mapping[str, Any]) -> tuple[Figures, list[str]]:
    """Of the workers in virtual time."""
    years = raw["virtual_hours"] / 24 / 365
    figures = {
        "seeds": f"{raw['seeds']:,} ({raw['seeds_per_second']:g} a second)",
        "virtual time": f"{raw['virtual_hours']:,} hours, {years:,.0f} years",
        "faults": f"{raw['faults']:,}",
        "kills, freezes, failovers": f"{raw['kills']:,}, {raw['freezes']:,}, {raw['failovers']:,}",
        "cells of crash point and fault, the least hit": f"{raw['cells']}, {raw['cell_hits_min']} times",
        "charges, declines": f"{raw['charges']:,}, {raw['declines']:,}",
        "seeds with a fault of ours": f"{raw['findings']} ({chance_below(raw['seeds'])})",
    }
    found = [f"{raw['findings']} findings, see above"] if raw["findings"] else []
    return figures, found + ([f"{raw['cells_empty']} cells were not hit"] if raw["cells_empty"] else [])


def of_crashes(raw: Mapping[str, Any]) -> tuple[Figures, list[str]]:
    """Of real workers and a real Postgres."""
    faults, work, kills = raw["faults"], raw["work"], raw["faults"]["kills"]
    figures = {
        "kills, with charges in flight": f"{kills:,}, {faults['kills with charges in flight']:,}"
        f" ({raw['kills_per_minute']} a minute)",
        "other faults": f"{sum(faults.values()) - kills - faults['kills with charges in flight']:,}",
        "lagging replicas promoted, older backups restored": f"{faults['lagging replicas promoted']:,}, "
        f"{faults['older backups restored']:,}",
        "acknowledged commits lost by these": f"{faults['commits lost by promotions']:,}, "
        f"{faults['commits lost by restores']:,}",
        "named failpoints hit": f"{raw['failpoints']['hit']} of {raw['failpoints']['of']}",
        "charges made": f"{work['charges made']:,}",
        "bookings made, charged by, taken back": f"{work['bookings made']:,}, "
        f"{work['bookings that PortOne charged by']:,}, {work['bookings taken back']:,}",
        "workers frozen with a booking": f"{faults['workers frozen with a booking']:,}",
        "webhooks read; lost, sent twice, forged": f"{work['webhooks read']:,}; "
        f"{faults['webhooks lost on their way']:,}, {faults['webhooks sent twice']:,}, {faults['webhooks forged']:,}",
        "rounds with webhooks, with the feed, of all": f"{work['rounds with webhooks']:,}, "
        f"{work['rounds with the feed']:,}, {work['rounds']:,}",
        "faults of ours": f"{len(raw['findings'])} ({chance_below(kills)} per kill)",
    }
    return figures, list(raw["findings"])


def of_teeth(raw: Mapping[str, Any]) -> tuple[Figures, list[str]]:
    """Of versions that are broken on purpose."""
    figures = {
        "bugs caught by the layer that must": f"{raw['caught']} of {raw['bugs']}",
        "the slowest catch": f"{raw['slowest_seconds']:g} s",
    }
    return figures, list(raw["findings"])


def of_fuzzing(raw: list[dict[str, Any]]) -> tuple[Figures, list[str]]:
    """Of mutated answers, settings and files, with the coverage as guide."""
    figures = {row["target"]: f"{row['executions']:,} executions, {row['branches']:,} branches" for row in raw}
    return figures, [f"{row['found']} inputs found by {row['target']}" for row in raw if row["found"]]


def of_mutation(raw: Mapping[str, Any]) -> tuple[Figures, list[str]]:
    """Of altered rules."""
    told = raw["all"]
    figures = {
        "mutants, killed": f"{told['mutants']:,}, {told['killed']:,}",
        "survivors listed with a reason": f"{told['survived_listed']:,}",
        "score": f"{told['score_percent']:.1f} % (measured {raw['date']} at {raw['commit'][:7]})",
    }
    return figures, [f"{told['survived_unlisted']} survivors without a reason"] if told["survived_unlisted"] else []


READ: Mapping[str, Callable[[Any], tuple[Figures, list[str]]]] = {
    "model": of_model,
    "simulation": of_simulation,
    "crashes": of_crashes,
    "teeth": of_teeth,
    "fuzzing": of_fuzzing,
    "mutation": of_mutation,
}
