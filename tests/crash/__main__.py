"""`python -m tests.crash`: the crash campaign, its table, and its figures as JSON. Ends with 1 if it found anything."""

import argparse
import asyncio
import secrets
import signal
import sys
from pathlib import Path

from tests.crash.campaign import Campaign, Plan, conclude
from tests.crash.figures import Figures
from tests.crash.fleet import FAILPOINTS
from tests.crash.strikes import AIMS, CALAMITIES

OF_ALL = {"failpoints_all": len(FAILPOINTS), "cuts_all": len(AIMS)}


def main() -> int:
    """Run a campaign."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=600, help="how many workers to kill (600)")
    parser.add_argument("--seed", type=int, default=None, help="repeats every choice, though not the scheduling")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no round after so many minutes")
    parser.add_argument("--lanes", type=int, default=3, help="servers side by side (3)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file too")
    parser.add_argument("--calamity", choices=list(CALAMITIES), default="", help="this one in every round")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    plan = Plan(kills=given.kills, seed=seed, minutes_max=given.minutes, lanes=given.lanes, calamity=given.calamity)
    print(f"crash campaign, --seed {seed} (it repeats the choices; the scheduling of an operating system it cannot)")
    campaign = Campaign(plan)
    told = asyncio.run(ended_in_order(campaign))
    conclude(told, plan)
    print(told.table(**OF_ALL))
    if given.json:
        told.write(given.json, **OF_ALL)
    return 1 if told.findings else 0


async def ended_in_order(campaign: Campaign) -> Figures:
    """Run it. SIGTERM or SIGINT ends it early, with its figures so far and no directory left behind."""
    running = asyncio.ensure_future(campaign.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        campaign.told.found("ended by a signal before it was done")
        return campaign.told


if __name__ == "__main__":
    sys.exit(main())
