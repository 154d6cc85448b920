"""What webhooks are worth and what they cost: how soon the ledger knows, and what a flood of them does to charges.

    .venv/bin/python -m tests.benchmarks.webhooks
    .venv/bin/python -m tests.benchmarks.webhooks --only settled --samples 600

Postgres runs with fsync on and the simulator in a program of its own; both parts use the installed command line.
All of them are on this machine and share its cores.
"""

import argparse

from tests.benchmarks import flood, premises, settled


def main() -> None:
    """Print both parts."""
    arguments = _arguments()
    print(f"{premises.load()}; fsync on")
    if arguments.only != "flood":
        settled.measure(arguments)
    if arguments.only != "settled":
        flood.measure(arguments)
    print(f"\nafterwards: {premises.load()}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.webhooks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["settled", "flood"], help="one part alone")
    of_settled = parser.add_argument_group("how soon the ledger knows")
    of_settled.add_argument("--samples", type=int, default=600, help="bookings of each way of learning")
    of_settled.add_argument("--over-seconds", type=float, default=60.0, help="in which PortOne charges them")
    of_settled.add_argument("--feed-seconds", type=float, default=60.0, help="BILLING_FEED_SECONDS")
    of_settled.add_argument("--grace-seconds", type=float, default=60.0, help="BILLING_SCHEDULE_GRACE_SECONDS")
    of_flood = parser.add_argument_group("the flood")
    of_flood.add_argument("--rate", type=float, default=2000.0, help="webhooks a second, half of them forged")
    of_flood.add_argument("--seconds", type=float, default=60.0, help="how long each part of it lasts")
    of_flood.add_argument("--connections", type=int, default=101, help="an odd number mixes both kinds on each")
    of_flood.add_argument("--charges", type=float, default=100.0, help="requests a second that the worker may make")
    of_flood.add_argument("--latency-ms", type=float, default=50.0, help="how long PortOne takes over each")
    return parser.parse_args()


if __name__ == "__main__":
    main()
