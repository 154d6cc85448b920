"""The world of one run: everything the simulator remembers, in memory, so that a reset is a new world.

A request keeps the world it arrived in to its end: what an old one still does after a reset is not in the new truth.
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from billing_worker.simulator.agenda import Agenda
from billing_worker.simulator.bank import Bank, Happening
from billing_worker.simulator.clock import SimulatedClock
from billing_worker.simulator.conduct import Conduct
from billing_worker.simulator.courier import Courier
from billing_worker.simulator.feed import Feed
from billing_worker.simulator.holds import Holds
from billing_worker.simulator.idempotency import IdempotencyMemory
from billing_worker.simulator.kept import KeptLists
from billing_worker.simulator.keys import KeyRing
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.simulator.rules import PG_RULES
from billing_worker.simulator.schedules import Schedules
from billing_worker.simulator.traffic import Traffic
from billing_worker.simulator.views import Views
from billing_worker.simulator.webhooks import Webhooks

VIOLATIONS_KEPT = 10_000  # enough to see a pattern; the count goes on


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of the contract that a client broke and that a real provider may not have told it of."""

    kind: str
    payment_id: str
    idempotency_key: str | None
    at: datetime
    explanation: str


class World:
    """One store at PortOne with the PG behind it."""

    def __init__(self, options: SimulatorOptions, courier: Courier) -> None:
        self.options = options
        self.clock = SimulatedClock()
        self.agenda = Agenda(self.clock)
        self.keys = KeyRing(self.clock.now())
        self.bank = Bank(self.agenda, self._happened)
        self.schedules = Schedules()
        self.feed = Feed()
        self.kept = KeptLists()
        self.webhooks = Webhooks(lambda: self.options, self.clock, self.agenda, courier)
        self.memory = IdempotencyMemory(options.key_memory_seconds)
        self.conduct = Conduct(options.seed)
        self.holds = Holds()
        self.traffic = Traffic(options.request_log_size)
        self.views = Views(options)
        self.pg = PG_RULES[options.pg]
        self.violations: deque[Violation] = deque(maxlen=VIOLATIONS_KEPT)
        self.violations_count = 0
        self._chance = random.Random(options.seed)  # noqa: S311 - jitter, not a secret

    def now(self) -> datetime:
        """The instant, with everything done that was due by now."""
        now = self.clock.now()
        self.agenda.do_what_is_due(now)
        return now

    def stop(self) -> None:
        """Let nothing more happen by itself, and send nothing more."""
        self.agenda.stop()
        self.webhooks.stop()

    def _happened(self, happening: Happening) -> None:
        self.feed.record(happening)
        self.webhooks.happened(happening)

    def violated(self, kind: str, *, payment_id: str, idempotency_key: str | None, explanation: str) -> None:
        """Put a broken rule on record."""
        self.violations_count += 1
        self.violations.append(Violation(kind, payment_id, idempotency_key, self.clock.now(), explanation))

    async def pause(self, extra_seconds: float = 0.0) -> None:
        """Take as long as the options say, and so much more."""
        seconds = extra_seconds + self.options.latency_ms / 1000
        if self.options.jitter_ms:
            seconds += self._chance.uniform(0.0, self.options.jitter_ms) / 1000
        if seconds > 0:
            await asyncio.sleep(seconds)


class Simulator:
    """The world of now, and the way to a new one."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._courier = Courier()
        self.world = World(options, self._courier)
        self.authorization = f"PortOne {options.api_secret}".encode()

    def reset(self, changes: dict[str, Any]) -> None:
        """Begin anew with some options changed. Raises ValueError or TypeError when the changes are no options."""
        if changes.keys() & {"api_secret", "store_id"}:
            raise ValueError("api_secret and store_id stay for the whole run")
        old, self.world = self.world, World(changed(self.world.options, changes), self._courier)
        old.stop()
        old.holds.release()

    async def close(self) -> None:
        """End: nothing happens by itself any more, and no connection is left open."""
        self.world.stop()
        await self.world.webhooks.stopped()
        await self._courier.close()


def changed(options: SimulatorOptions, changes: dict[str, Any]) -> SimulatorOptions:
    """Options with some of them changed, lists as JSON has them included."""
    given: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in changes.items()}
    return replace(options, **given)
