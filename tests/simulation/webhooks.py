"""PortOne's webhooks on their way to the inbox: lost, twice, late and out of order, and never more than a hint."""

from tests.simulation.pool import Server
from tests.simulation.world import HOUR, World

LOST, TWICE, LATE = 0.2, 0.2, 0.2
AGAIN_SECONDS = 60.0


class Webhooks:
    """One for the whole run. The endpoint in front of the inbox has tests of its own."""

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server
        self._count = 0

    def send(self, payment_id: str) -> None:
        """Something has become of a payment."""
        chance = self._world.random
        if chance.random() < LOST:
            return
        self._count += 1
        for _ in range(2 if chance.random() < TWICE else 1):
            seconds = chance.uniform(0.0, 5 * HOUR) if chance.random() < LATE else chance.uniform(0.01, 2.0)
            self._later(seconds, f"webhook-{self._count}", payment_id)

    def _arrive(self, name: str, payment_id: str) -> None:
        if self._server.down:
            self._later(AGAIN_SECONDS, name, payment_id)
            return
        now = self._world.primary.now()
        columns = (name, "Transaction.Paid", payment_id, None, None, None, now, now)
        self._world.counts["webhooks"] += 1
        self._server.by_hand("keep_hints", *([value] for value in columns))
        self._server.written()

    def _later(self, seconds: float, name: str, payment_id: str) -> None:
        context = self._world.loop.driver.context
        self._world.loop.call_later(seconds, self._arrive, name, payment_id, context=context)
