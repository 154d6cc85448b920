"""A person with the command line: halts sending and resumes it, sets a cycle aside, and decides about what is held.

Orders go straight to the database, whatever the workers do meanwhile, and are given again where it is not there.
"""

from collections.abc import Callable
from datetime import timedelta

from tests.simulation.crew import FIRST, Crew
from tests.simulation.pool import Server
from tests.simulation.portone_books import PortOneBooks
from tests.simulation.store_twin_tables import Row
from tests.simulation.world import DAY, HOUR, World

NAME = "person"
# A watcher looks every five seconds.
HEARD_WITHIN_SECONDS = 5.0
AGAIN_SECONDS = 30.0
# By then PortOne has ended whatever it was asked, and shows it.
DECIDES_AFTER_SECONDS = 26 * HOUR


class Person:
    """One for the whole run."""

    def __init__(
        self, world: World, server: Server, portone: PortOneBooks, crews: Callable[[], list[Crew]], *, sets_aside: float
    ) -> None:
        self._world = world
        self._server = server
        self._portone = portone
        self._crews = crews
        self._sets_aside = sets_aside

    def halt(self) -> None:
        """Stop all sending."""
        self._order("halted")

    def resume(self) -> None:
        """Let it go on, be it that a failover has brought an old order back."""
        self._order("on")

    def has_seen_opened(self, attempt: Row) -> None:
        """An attempt is new: now and then its cycle is set aside while nobody knows what has become of it."""
        if self._sets_aside and self._world.faulty and self._world.random.random() < self._sets_aside:
            self._later(self._world.random.uniform(0.5, 20.0), self._set_aside, attempt)

    def has_seen_held(self, cycle: Row) -> None:
        """A cycle is on the list of exceptions: it is decided about on the next day."""
        self._later(DECIDES_AFTER_SECONDS, self._decide, cycle)

    def _set_aside(self, attempt: Row) -> None:
        self._run("hold_cycle", [attempt["shard"]], attempt["payment_id"], "seen by a person", NAME)

    def _decide(self, cycle: Row) -> None:
        payment_id, shard = cycle["payment_id"], cycle["shard"]
        if self._portone.may_be_believed(payment_id) or self._portone.running_keys(payment_id):
            return  # The next look settles it.
        look_at = self._world.primary.now() + timedelta(seconds=DAY)
        self._run("skip_cycle", [shard], payment_id, "decided by a person", NAME, look_at)

    def _order(self, value: str) -> None:
        self._world.tell(f"order: sending is {value}")
        self._world.counts[f"orders {value}"] += 1
        self._run("write_control", "sending", value, "ordered by a person", NAME)
        for crew in self._crews():
            self._later(self._world.random.uniform(0.0, HEARD_WITHIN_SECONDS), self._hear, crew)

    def _hear(self, crew: Crew) -> None:
        if crew.awake:
            self._world.loop.call_soon(crew.ring, FIRST, context=crew.host.context)

    def _run(self, name: str, *arguments: object) -> None:
        if self._server.down:
            self._later(AGAIN_SECONDS, self._run, name, *arguments)
        else:
            self._server.by_hand(name, *arguments)

    def _later(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        self._world.loop.call_later(seconds, call, *arguments, context=self._world.loop.driver.context)
