"""A small campaign: workers die by the hundred, Postgres with them, and PortOne's truth is the ledger.

`make crashes` runs a large one, with every calamity and every failpoint in it.
"""

import os
import secrets

import pytest

from tests.crash.campaign import KILLS_A_ROUND, Campaign, Plan, conclude
from tests.crash.figures import CHARGES, IN_FLIGHT, KILLS, ROUNDS, WAL_FULL, Figures


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


LARGE = Plan(kills=600, seed=1)


def test_what_a_campaign_did_not_show_is_a_finding() -> None:
    told = Figures(seed=1)

    conclude(told, LARGE)

    assert f"not shown: {WAL_FULL}" in told.findings
    assert told.unseen == []


def test_what_a_campaign_did_not_come_to_because_it_found_something_is_no_finding() -> None:
    told = Figures(seed=1)
    told.found("round 3: sent too late")

    conclude(told, LARGE)

    assert told.findings == ["round 3: sent too late"]
    assert WAL_FULL in told.unseen
    assert f"not shown, since what was found ended it early: {', '.join(told.unseen)}" in told.table(
        failpoints_all=0, cuts_all=0
    )
