"""Two workers at one table, under SIGKILLs by the hundred and failovers of Postgres: PortOne's truth is the ledger."""

import os
import random
import secrets

import pytest

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.crash.doomed_worker import EXIT_GONE
from tests.crash.harness import Stage, mixed_keys
from tests.crash.workers import ForkedWorker

KILLED = -9

KILLS = 200
POSTGRES_RESTARTS = 5
SUBSCRIPTIONS = 250
DAYS_BEHIND = 6  # each subscription owes so many periods, so that work is left until the last kill

BEHAVIOURS = (
    ("ok", 60),
    ("soft-funds", 6),
    ("hard-lost", 3),
    ("drop-charged", 6),
    ("drop-uncharged", 6),
    ("html502-charged", 3),
    ("unparsable", 3),
    ("503", 3),
    ("invisible", 2),
    ("late-success", 3),
    ("flaky", 5),
)

# Slow enough that the work lasts as long as the kills, quick enough that charges are always in flight.
PACE = {
    "PORTONE_REQUESTS_PER_SECOND": "60",
    "PORTONE_BURST": "15",
    "PORTONE_IN_FLIGHT_MAX": "12",
    "CLAIM_BATCH_MAX": "12",
}


class Fleet:
    """Two workers that are always there: who dies is replaced at once."""

    def __init__(self, stage: Stage, server: EmbeddedPostgres, chance: random.Random) -> None:
        self._stage = stage
        self._server = server
        self._chance = chance
        self._workers = [self._start(), self._start()]
        self.kills_in_flight = 0

    async def kill_one(self) -> None:
        """Let some charges be on their way, or not, and kill a worker without warning."""
        wanted = self._chance.randint(0, 12)
        in_flight = await self._stage.portone.in_flight(wanted, wait_seconds=self._chance.uniform(0.0, 0.5))
        place = self._chance.randrange(len(self._workers))
        victim = self._workers[place]
        victim.kill()
        self.kills_in_flight += in_flight > 0
        await victim.ended()
        self._replace_the_dead()

    def restart_postgres(self) -> None:
        """Take the server away as a failover does; a worker that was just starting gives up."""
        self._server.restart_immediate()
        self._replace_the_dead()

    def _replace_the_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.exit_code is not None:
                assert worker.exit_code in (KILLED, EXIT_GONE)
                self._workers[place] = self._start()

    def _start(self) -> ForkedWorker:
        return self._stage.start(**PACE)


@pytest.mark.timeout(300)
async def test_no_kill_and_no_failover_makes_the_ledger_differ_from_the_truth(
    stage: Stage, postgres: EmbeddedPostgres
) -> None:
    seed = int(os.environ.get("BILLING_TEST_SEED", secrets.randbelow(1_000_000)))
    print(f"BILLING_TEST_SEED={seed} repeats the choices of this run")
    chance = random.Random(seed)
    await stage.portone.reset(latency_ms=30.0, jitter_ms=40.0, seed=seed)
    await stage.add(mixed_keys(SUBSCRIPTIONS, BEHAVIOURS, chance), days_behind=DAYS_BEHIND)
    restarts = set(chance.sample(range(KILLS), POSTGRES_RESTARTS))
    fleet = Fleet(stage, postgres, chance)

    for kill in range(KILLS):
        await fleet.kill_one()
        if kill in restarts:
            fleet.restart_postgres()

    # The last two die as well; what is left is for workers that are let live and need not be slow.
    stage.kill_all()
    stage.start()
    stage.start()

    await stage.ends_true(seconds_max=120)
    assert await stage.fetch("SELECT * FROM billing.exceptions") == []
    assert fleet.kills_in_flight > KILLS / 2
