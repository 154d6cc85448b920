"""The bell: rings the workers' sweeps when a row is due, since ringing each second for forty days proves no more.

It reads the tables and decides only when somebody is woken. Which workers and which sweeps is chance, and what nobody
took is rung for again, at widening intervals.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from tests.simulation.crew import FIRST, Crew
from tests.simulation.loop import Turn
from tests.simulation.store_twin import StoreTwin
from tests.simulation.store_twin_tables import Row
from tests.simulation.world import World

WAIT_FIRST, WAIT_WIDEST = 0.3, 900.0
# Who looks at clocks, orders and the database does so every few seconds in life, whatever else is due.
UNWATCHED_MAX = 45.0


class Bell:
    """One for all workers."""

    def __init__(
        self, world: World, twin: StoreTwin, crews: Callable[[], list[Crew]], *, lead_seconds: float = 0.0
    ) -> None:
        self._lead = timedelta(seconds=lead_seconds)
        self._world = world
        self._books = twin._books
        self._crews = crews
        self._wait = WAIT_FIRST
        self._next: Turn | None = None
        self._poked = False
        self._watched_at = 0.0

    def poke(self) -> None:
        """Rows have changed."""
        if not self._poked:
            self._poked = True
            self._wait = WAIT_FIRST
            self._world.loop.call_soon(self._set, context=self._world.loop.driver.context)

    def _moments(self) -> dict[str, datetime]:
        """When the first row of each kind is due."""
        books = self._books
        firsts = {
            "renew": min((self._opens_at(row) for row in books.subscriptions.lively.values()), default=None),
            "listen": min((hint["received_at"] for hint in books.hints.values() if not hint["read_at"]), default=None),
            "charge": min((row["claimable_at"] for row in books.cycles.lively.values()), default=None),
            "reconcile": min((row["look_at"] for row in books.attempts.lively.values()), default=None),
        }
        return {name: moment for name, moment in firsts.items() if moment is not None}

    def _opens_at(self, subscription: Row) -> datetime:
        due_at: datetime = subscription["next_due_at"]
        return due_at - self._lead if subscription["mode"] == "schedule" else due_at

    def _set(self) -> None:
        self._poked = False
        if self._next is not None:
            self._next.cancel()
        chance = self._world.random.random()
        first = min(self._moments().values(), default=None)
        seconds = (first - self._world.primary.now()).total_seconds() if first else WAIT_WIDEST
        seconds = seconds + 2.0 * chance if seconds > 0.0 else self._wait * (0.5 + chance)
        self._next = self._world.loop.call_later(seconds, self._ring, context=self._world.loop.driver.context)

    def _ring(self) -> None:
        chance, now = self._world.random, self._world.primary.now()
        names = {name for name, moment in self._moments().items() if moment <= now}
        self._wait = min(self._wait * 2.0, WAIT_WIDEST)
        crews = [crew for crew in self._crews() if crew.awake]
        often = 0.5 if self._world.loop.now - self._watched_at > UNWATCHED_MAX else 0.06
        for place, crew in enumerate(chance.sample(crews, len(crews))):
            if place == 0 or chance.random() < 0.2:
                watches = chance.random() < often or self._wait > 4.0
                if watches:
                    self._watched_at = self._world.loop.now
                rung = names | FIRST if watches else names
                self._world.loop.call_soon(crew.ring, frozenset(rung), context=crew.host.context)
        self._set()
