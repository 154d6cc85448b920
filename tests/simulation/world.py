"""The world of one run: its loop, its hosts and clocks, its chance, and everything that is counted or told about it.

Everything that happens is told in the same words for the same seed; the trace's sha256 is how two runs are compared.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from random import Random

from tests.simulation.clocks import ServerClock
from tests.simulation.faults import OF_HOST, Cell, Fault, Point, Side
from tests.simulation.loop import Host, VirtualLoop

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Aim:
    """A fault that strikes the nth time its crash point is reached."""

    cell: Cell
    nth: int


@dataclass(frozen=True, slots=True)
class Rate:
    """A fault that strikes its crash point with a chance, each time."""

    cell: Cell
    chance: float


class Finding(Exception):  # noqa: N818 - it is no error of the simulation
    """Something that must never happen has happened."""


class World:
    """Everything that the twins and the workers of one run share."""

    def __init__(self, seed: int, started_at: datetime, *, aims: Iterable[Aim], rates: Iterable[Rate]) -> None:
        self.random = Random(seed)
        self.loop = VirtualLoop(Random(seed + 1))
        self.started_at = started_at
        self.primary = ServerClock(self.loop, started_at, 0.0)
        self.portone_clock = ServerClock(self.loop, started_at, self.random.uniform(-2.0, 2.0))
        self.postgres_host = Host("postgres")
        self.portone_host = Host("portone")
        self.cells: Counter[Cell] = Counter()
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        self.lines: list[str] = []
        self._faulty = True
        self._aims: dict[tuple[Point, Side], list[list[object]]] = {}
        self._rates: dict[tuple[Point, Side], list[Rate]] = {}
        for aim in aims:
            self._aims.setdefault((aim.cell.point, aim.cell.side), []).append([aim.nth, aim.cell])
        for rate in rates:
            self._rates.setdefault((rate.cell.point, rate.cell.side), []).append(rate)

    # --- telling ---------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """One line of the trace."""
        self.lines.append(f"{self.loop.now:.4f} {text}")

    def find(self, text: str) -> None:
        """Something that must never happen."""
        self.tell(f"FINDING {text}")
        self.findings.append(f"{text} (at {self.loop.now:.3f} s)")

    def sha256(self) -> str:
        """The trace in one number."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    # --- faults ----------------------------------------------------------------------------------------------------

    def end_faults(self) -> None:
        """From now on nothing goes wrong any more."""
        self._faulty = False
        self._aims.clear()
        self._rates.clear()

    @property
    def faulty(self) -> bool:
        """Whether something may still go wrong."""
        return self._faulty

    def reach(self, point: Point, side: Side, host: Host) -> Fault | None:
        """The fault that strikes here now, if one does."""
        if not self._faulty:
            return None
        where = (point, side)
        aims = self._aims.get(where)
        if aims is not None:
            for aim in aims:
                aim[0] -= 1  # type: ignore[operator]
                cell = aim[1]
                if aim[0] <= 0 and self._can_strike(cell.fault, host):  # type: ignore[operator, attr-defined]
                    aims.remove(aim)
                    return self._strikes(cell, host)  # type: ignore[arg-type]
        rates = self._rates.get(where)
        if rates is not None:
            chance = self.random.random()
            for rate in rates:
                chance -= rate.chance
                if chance < 0.0:
                    return self._strikes(rate.cell, host) if self._can_strike(rate.cell.fault, host) else None
        return None

    def _can_strike(self, fault: Fault, host: Host) -> bool:
        return fault not in OF_HOST or not (host.dead or host.frozen)

    def _strikes(self, cell: Cell, host: Host) -> Fault:
        self.cells[cell] += 1
        self.counts[cell.fault] += 1
        self.tell(f"fault {cell} on {host.name}")
        return cell.fault

    # --- time ------------------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> "asyncio.Future[None]":
        """A future that is done after so many seconds."""
        waiting = self.loop.create_future()
        self.loop.call_later(seconds, _done, waiting)
        return waiting

    def delay(self) -> float:
        """How long a packet takes: a millisecond or a few, and now and then much longer."""
        chance = self.random.random()
        return 0.0005 + 0.004 * chance if chance < 0.98 else self.random.uniform(0.05, 2.5)


def _done(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
