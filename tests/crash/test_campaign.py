"""A small campaign: workers die by the hundred, Postgres with them, and PortOne's truth is the ledger.

`make crashes` runs a large one, with every calamity and every failpoint in it.
"""

import os
import secrets

import pytest

from tests.crash.campaign import KILLS_A_ROUND, Campaign, Plan
from tests.crash.figures import CHARGES, IN_FLIGHT, KILLS, ROUNDS


@pytest.mark.timeout(600)
async def test_whatever_befalls_the_workers_the_ledger_is_what_portone_charged() -> None:
    seed = int(os.environ.get("BILLING_TEST_SEED", secrets.randbelow(1_000_000)))
    print(f"BILLING_TEST_SEED={seed} repeats the choices of this run")
    kills = int(os.environ.get("BILLING_TEST_KILLS", 2 * KILLS_A_ROUND))

    told = await Campaign(Plan(kills=kills, seed=seed, lanes=2)).run()

    print(told.table(failpoints_all=0, cuts_all=0))
    assert told.findings == []
    assert told.counts[ROUNDS] >= 2
    assert told.counts[KILLS] > kills * 0.7
    assert told.counts[IN_FLIGHT] > 0
    assert told.counts[CHARGES] > 0
