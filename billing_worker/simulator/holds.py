"""Holds: gates at which matching charges wait until they are released, so that a test can strike at an exact moment."""

import asyncio
import itertools
from dataclasses import dataclass, field
from enum import StrEnum

from billing_worker.simulator.traffic import Request, Stage, Traffic


class Gate(StrEnum):
    """Where a charge can be held: the card not yet debited, or debited and nobody told."""

    BEFORE_CHARGE = "before_charge"
    AFTER_CHARGE = "after_charge"


_STAGES = {Gate.BEFORE_CHARGE: Stage.HELD_BEFORE_CHARGE, Gate.AFTER_CHARGE: Stage.HELD_AFTER_CHARGE}


@dataclass(frozen=True, slots=True)
class Hold:
    """One gate that is shut. An empty matcher matches everything."""

    hold_id: int
    gate: Gate
    payment_id: str = ""
    billing_key_prefix: str = ""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, gate: Gate, payment_id: str, billing_key: str) -> bool:
        """Whether this charge waits here."""
        return (
            self.gate is gate
            and self.payment_id in ("", payment_id)
            and billing_key.startswith(self.billing_key_prefix)
        )


class Holds:
    """Every gate that is shut."""

    def __init__(self) -> None:
        self._holds: dict[int, Hold] = {}
        self._serial = itertools.count(1)

    def shut(self, gate: Gate, *, payment_id: str, billing_key_prefix: str) -> Hold:
        """Shut a gate for the charges that match."""
        hold = Hold(next(self._serial), gate, payment_id, billing_key_prefix)
        self._holds[hold.hold_id] = hold
        return hold

    def release(self, hold_id: int | None = None) -> int:
        """Open one gate, or all; the number that was opened."""
        opened = [hold for hold in self._holds.values() if hold_id in (None, hold.hold_id)]
        for hold in opened:
            del self._holds[hold.hold_id]
            hold.released.set()
        return len(opened)

    async def wait(self, gate: Gate, request: Request, billing_key: str, traffic: Traffic) -> None:
        """Wait at a gate for as long as one is shut for this charge."""
        while self._holds:
            hold = next((h for h in self._holds.values() if h.matches(gate, request.payment_id, billing_key)), None)
            if hold is None:
                return
            traffic.moved(request, _STAGES[gate])
            await hold.released.wait()
