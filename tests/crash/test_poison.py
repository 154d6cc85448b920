"""A row that kills whoever works on it is set aside after so many claims, and takes no other row with it."""

import itertools

from billing_worker.billing.model import shard_of
from tests.crash.doomed_worker import Poison
from tests.crash.harness import Stage

CLAIMS_MAX = 2  # the strictest bound that a setting may give
MATES = 12
DEATHS_MAX = 4 * CLAIMS_MAX


async def test_a_row_that_kills_its_worker_is_held_and_its_batch_mates_are_collected(stage: Stage) -> None:
    keys = await stage.add(billing_keys_of_one_shard(1 + MATES))
    poison, *mates = keys

    deaths = await restart_until_it_lives(stage, Poison(poison))

    await stage.ends_true()
    assert deaths == CLAIMS_MAX
    assert [row["business_key"] for row in await stage.fetch("SELECT business_key FROM billing.exceptions")] == [poison]
    assert (await stage.cycle(poison))["held_reason"] == f"claimed {CLAIMS_MAX} times without an attempt"
    assert {(await stage.cycle(key))["status"] for key in mates} == {"paid"}


async def test_with_two_workers_the_poison_is_still_held_alone(stage: Stage) -> None:
    keys = await stage.add(billing_keys_of_one_shard(1 + MATES))
    poison, *mates = keys
    limits = {"FRUITLESS_CLAIMS_MAX": str(CLAIMS_MAX), "CLAIM_BATCH_MAX": "5"}

    for _ in range(DEATHS_MAX):
        workers = [stage.start(Poison(poison), **limits) for _ in range(2)]
        deaths = [await stage.died_before_rest(worker) for worker in workers]
        stage.kill_all()
        if not any(deaths):
            break

    stage.start()
    await stage.ends_true()
    assert (await stage.cycle(poison))["status"] == "held"
    assert {(await stage.cycle(key))["status"] for key in mates} == {"paid"}


async def restart_until_it_lives(stage: Stage, poison: Poison) -> int:
    """Start a worker after every death, as systemd does. Returns how many died."""
    for deaths in range(DEATHS_MAX):
        worker = stage.start(poison, FRUITLESS_CLAIMS_MAX=str(CLAIMS_MAX))
        if not await stage.died_before_rest(worker):
            return deaths
    raise AssertionError(f"still dying after {DEATHS_MAX} workers")


def billing_keys_of_one_shard(count: int) -> list[str]:
    """Billing keys whose subscriptions are claimed together."""
    names = (f"bk-ok-{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if shard_of(f"sub-{name}") == 0), count))
