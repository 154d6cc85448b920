"""What a campaign did and found: counted as it goes, printed as one table, written as JSON."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What is counted, in the order of the table. A campaign in which one of them stays at none has not done its work.
KILLS = "kills"
IN_FLIGHT = "kills with charges in flight"
FREEZES = "workers frozen past their lease"
TERMS = "workers stopped by SIGTERM"
STOPS = "Postgres killed and started"
ENDED = "backends ended"
ENDED_WRITING = "backends ended while they wrote"
CUTS = "connections cut at random"
CUTS_BEFORE = "cut before the statement"
CUTS_AFTER = "cut after the commit"
DISK_FULL = "disk full for tables"
WAL_FULL = "disk full for the WAL"
PROMOTIONS = "lagging replicas promoted"
COMMITS_LOST = "commits lost by promotions"
RESTORES = "older backups restored"
COMMITS_RESTORED = "commits lost by restores"
HOST_JUMPS = "jumps of the host's clock"
PRIMARY_JUMPS = "jumps of the primary's clock"
WEBHOOKS_LOST = "webhooks lost on their way"
WEBHOOKS_AGAIN = "webhooks sent twice"
WEBHOOKS_FORGED = "webhooks forged"
FROZEN_BOOKING = "workers frozen with a booking"
FAULTS = (
    KILLS,
    IN_FLIGHT,
    FREEZES,
    TERMS,
    STOPS,
    ENDED,
    ENDED_WRITING,
    CUTS,
    CUTS_BEFORE,
    CUTS_AFTER,
    DISK_FULL,
    WAL_FULL,
    PROMOTIONS,
    COMMITS_LOST,
    RESTORES,
    COMMITS_RESTORED,
    HOST_JUMPS,
    PRIMARY_JUMPS,
    WEBHOOKS_LOST,
    WEBHOOKS_AGAIN,
    WEBHOOKS_FORGED,
    FROZEN_BOOKING,
)

STARTS = "workers started"
ROUNDS = "rounds"
CYCLES = "periods owed"
POSTS = "charges asked for"
CHARGES = "charges made"
VERDICTS = "verdicts written"
BOOKINGS = "bookings made"
FIRED = "bookings that PortOne charged by"
TAKEN_BACK = "bookings taken back"
TOO_LATE = "bookings charged that were to be taken back"
HINTS = "webhooks read"
ROUNDS_TOLD = "rounds with webhooks"
ROUNDS_FED = "rounds with the feed"
FED = "readings of the feed and comparisons begun"
WORK = (
    ROUNDS,
    STARTS,
    CYCLES,
    POSTS,
    CHARGES,
    VERDICTS,
    BOOKINGS,
    FIRED,
    TAKEN_BACK,
    TOO_LATE,
    ROUNDS_TOLD,
    HINTS,
    ROUNDS_FED,
    FED,
)


@dataclass(slots=True)
class Figures:
    """Of one campaign, all lanes together."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    failpoints: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def found(self, what: str) -> None:
        """Something is wrong: said at once, for a long run, and again at the end."""
        self.findings.append(what)
        print(f"FOUND: {what}", flush=True)

    def knows(self, what: str) -> None:
        """Something about the last finding, for whoever looks for its cause: no finding of its own."""
        self.known.append(what)
        print(f"  {what}", flush=True)

    def as_json(self, *, failpoints_all: int, cuts_all: int) -> dict[str, Any]:
        """Everything, for whoever makes a page of it."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "kills_per_minute": self._kills_per_minute(),
            "faults": {name: self.counts[name] for name in FAULTS},
            "work": {name: self.counts[name] for name in WORK},
            "failpoints": {"hit": len(self.failpoints), "of": failpoints_all, "times": dict(self.failpoints)},
            "aimed_cuts": {"hit": len(self.cuts), "of": cuts_all, "times": dict(self.cuts)},
            "workers_ended_with": dict(self.exits),
            "workers_said": dict(self.said.most_common()),
            "findings": self.findings,
            "known_of_findings": self.known,
            "not_shown_since_it_ended_early": self.unseen,
        }

    def table(self, *, failpoints_all: int, cuts_all: int) -> str:
        """Everything that a person wants to see."""
        rows: list[tuple[str, object]] = [(name, self.counts[name]) for name in (*FAULTS, *WORK)]
        rows += [
            ("failovers noticed by workers", self.said["database.failed_over"]),
            ("named failpoints hit", f"{len(self.failpoints)} of {failpoints_all}"),
            ("aimed cuts fallen", f"{len(self.cuts)} of {cuts_all}"),
            ("seconds", round(self.seconds)),
            ("kills a minute", self._kills_per_minute()),
            ("findings", len(self.findings)),
        ]
        lines = [f"{name:<44} {value:>12}" for name, value in rows]
        lines += [f"FOUND: {finding}" for finding in self.findings]
        if self.unseen:
            lines.append(f"not shown, since what was found ended it early: {', '.join(self.unseen)}")
        return "\n".join(lines)

    def write(self, path: Path, *, failpoints_all: int, cuts_all: int) -> None:
        """As JSON to a file."""
        told = self.as_json(failpoints_all=failpoints_all, cuts_all=cuts_all)
        path.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def _kills_per_minute(self) -> int:
        return round(self.counts[KILLS] * 60 / self.seconds) if self.seconds else 0
