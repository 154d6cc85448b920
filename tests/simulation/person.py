"""A person with the command line: halts sending and resumes it, sets a cycle aside, and decides about what is held.

Orders go straight to the database, whatever the workers do meanwhile, and are given again where it is not there.
"""

from collections.abc import Callable
from datetime import timedelta

from tests.simulation.crew import FIRST, Crew
from tests.simulation.pool import Server
from tests.simulation.portone_books import PortOneBooks
from tests.simulation.store_twin_subscriptions import CHANGEABLE
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
        self,
        world: World,
        server: Server,
        portone: PortOneBooks,
        crews: Callable[[], list[Crew]],
        *,
        sets_aside: float,
        new_card: Callable[[str], str],
    ) -> None:
        self._world = world
        self._server = server
        self._portone = portone
        self._crews = crews
        self._sets_aside = sets_aside
        self._new_card = new_card

    def halt(self) -> None:
        """Stop all sending."""
        self._order("halted")

    def resume(self) -> None:
        """Let it go on, be it that a failover has brought an old order back."""
        self._order("on")

    def has_seen_opened(self, attempt: Row) -> None:
        """An attempt is new: now and then its cycle is set aside while nobody knows what has become of it."""
        if self._sets_aside and self._world.faulty and self._world.random.random() < self._sets_aside:
            # A booking is out for days.
            longest = 20.0 if attempt["time_to_pay"] is None else self._world.random.choice((20.0, 3 * DAY))
            self._later(self._world.random.uniform(0.5, longest), self._set_aside, attempt)

    def has_seen_held(self, cycle: Row) -> None:
        """A cycle is on the list of exceptions: it is decided about on the next day."""
        self._later(DECIDES_AFTER_SECONDS, self._decide, cycle)

    def _set_aside(self, attempt: Row) -> None:
        now = self._world.primary.now()
        self._run("hold_cycle", [attempt["shard"]], attempt["payment_id"], "seen by a person", NAME, now)

    def _decide(self, cycle: Row) -> None:
        payment_id, shard = cycle["payment_id"], cycle["shard"]
        if self._portone.may_be_believed(payment_id) or self._portone.running_keys(payment_id):
            return  # The next look settles it.
        now = self._world.primary.now()
        look_at = now + timedelta(seconds=DAY)
        self._run("skip_cycle", [shard], payment_id, "decided by a person", NAME, look_at, now)

    def change(self, business_key: str, what: str) -> None:
        """Another price, another card, another mode, or an end."""
        named = [row for row in self._server.twin.table("subscriptions") if row["business_key"] == business_key]
        if self._server.down or any(self._server.is_locked(row["shard"], row["subscription_id"]) for row in named):
            self._later(AGAIN_SECONDS, self.change, business_key, what)
            return
        [row], now = named, self._world.primary.now()
        if row["status"] == "cancelled":
            return
        self._world.tell(f"a person changes {business_key}: {what}")
        self._world.counts[f"changes {what}"] += 1
        if what == "cancel":
            self._run("cancel_subscription", row["shard"], business_key, "asked by phone", NAME, now)
            return
        new = dict(row)
        match what:
            case "price":
                new["amount_minor"] = row["amount_minor"] + self._world.random.choice((-50, 10, 5000))
            case "card":
                new["billing_key"] = self._new_card(row["billing_key"])
            case _:
                new["mode"] = "charge" if row["mode"] == "schedule" else "schedule"
        columns = ([new[name]] for name in CHANGEABLE)
        self._run("change_subscriptions", [row["shard"]], [row["subscription_id"]], *columns, now)

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
