"""How soon the ledger has what became of a booking: with webhooks, with the feed alone, and with looks alone.

PortOne charges each booking at its own time, the webhook is posted to the worker, and the ledger's entry is committed.
Both ends are read afterwards and no sample is picked: when the inbox says that a webhook came, and when Postgres
committed the entry, by one machine's clock.
"""

import argparse
import asyncio
import datetime as dt
from dataclasses import dataclass

import asyncpg
import httpx

from billing_worker.billing.periods import Cadence, PeriodUnit
from billing_worker.billing.states import Mode
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.simulator.options import PRACTICE_WEBHOOK_SECRET
from tests.benchmarks import premises
from tests.benchmarks.premises import Planned, Running

# Bookings are made before the first of them is charged.
AHEAD_SECONDS = 40.0
WEBHOOKS = {"WEBHOOK_ADDRESS": "127.0.0.1:0", "WEBHOOK_SECRETS": PRACTICE_WEBHOOK_SECRET}
# With the shipped patience no period is booked seconds before its time, and the shipped pace is not what is measured.
BOOKED_LATE = {
    "SCHEDULE_NEAR_SECONDS": "15",
    "SEND_WINDOW_SECONDS": "1",
    "PORTONE_CONNECT_SECONDS": "1",
    "PORTONE_READ_SECONDS": "2",
    "PORTONE_REQUESTS_PER_SECOND": "1000",
    "PORTONE_BURST": "1000",
    "CLAIM_BATCH_MAX": "200",
}
_PAID = "SELECT count(*) FROM billing.ledger WHERE kind = 'paid'"
_SAMPLES = """
SELECT extract(epoch FROM pg_xact_commit_timestamp(l.xmin) - a.paid_at)::float AS since_charged,
       extract(epoch FROM pg_xact_commit_timestamp(l.xmin) - i.received_at)::float AS since_arrival
FROM billing.ledger l
JOIN billing.attempts a USING (shard, attempt_id)
LEFT JOIN LATERAL (SELECT min(received_at) AS received_at FROM billing.webhook_inbox w
                   WHERE w.payment_id = l.payment_id AND w.event_type = 'Transaction.Paid') AS i ON true
WHERE l.kind = 'paid' AND a.time_to_pay IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of learning what became of a booking, by settings."""

    name: str
    settings: dict[str, str]
    wait_seconds: float  # the longest that it takes by design
    over_seconds_min: float = 0.0  # the feed's is of whole rounds, or the figure would be that of the moment

    @property
    def is_told(self) -> bool:
        """Whether PortOne posts webhooks."""
        return "WEBHOOK_ADDRESS" in self.settings


def ways(arguments: argparse.Namespace) -> list[Way]:
    """The three, each alone."""
    feed, grace = arguments.feed_seconds, arguments.grace_seconds
    shared = BOOKED_LATE | {"SCHEDULE_GRACE_SECONDS": str(grace)}
    # Long after all that is measured, so that nothing is learnt by the look that is due anyway.
    late = shared | {"SCHEDULE_GRACE_SECONDS": "1800"}
    by_feed = {"FEED_SOURCE": "payments", "FEED_SECONDS": str(feed)}
    return [
        Way("webhooks alone (no feed)", late | WEBHOOKS | {"FEED_SOURCE": "off"}, 5.0),
        Way(f"webhooks off, the feed every {feed:g} s", late | by_feed, feed + 5.0, 2 * feed),
        Way(f"webhooks off, no feed, looks {grace:g} s after the time", shared | {"FEED_SOURCE": "off"}, grace + 5.0),
    ]


def measure(arguments: argparse.Namespace) -> None:
    """Print one block a way."""
    print(f"\n{arguments.samples} bookings that PortOne charges at their times; to the committed entry `paid`")
    for way in ways(arguments):
        asyncio.run(_measure(way, arguments.samples, max(arguments.over_seconds, way.over_seconds_min)))


async def _measure(way: Way, samples: int, over_seconds: float) -> None:
    with (
        EmbeddedPostgres(durable=True, settings={"track_commit_timestamp": "on"}) as postgres,
        premises.simulator() as portone_url,
    ):
        step = dt.timedelta(seconds=over_seconds / samples)
        await premises.migrate_and_add(postgres.url(), _ahead(samples, step))
        with premises.worker(postgres, portone_url, **way.settings) as worker:
            if way.is_told:
                await _be_told(worker, portone_url)
            connection = await asyncpg.connect(postgres.url())
            try:
                enough_seconds = AHEAD_SECONDS + over_seconds + 3 * way.wait_seconds + 30
                await premises.until_counted(connection, _PAID, samples, seconds_max=enough_seconds)
                rows = await connection.fetch(_SAMPLES)
            finally:
                await connection.close()
    print(f"{way.name}: {len(rows)} samples, {samples / over_seconds:.1f} charged a second")
    if way.is_told:
        arrived = [row["since_arrival"] for row in rows if row["since_arrival"] is not None]
        print(f"  from the webhook's arrival ({len(arrived)})  {premises.quantiles(arrived)}")
    print(f"  from PortOne's charge             {premises.quantiles(row['since_charged'] for row in rows)}", flush=True)


def _ahead(samples: int, step: dt.timedelta) -> list[Planned]:
    """Subscriptions whose first month is charged soon, some each second."""
    first_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=AHEAD_SECONDS)
    planned = []
    for number in range(samples):
        due_at = (first_at + number * step).replace(microsecond=0)
        cadence = Cadence(PeriodUnit.MONTH, 1, due_at.date(), "UTC", due_at.time())
        planned.append((premises.plan(number, cadence, mode=Mode.SCHEDULE), due_at))
    return planned


async def _be_told(worker: Running, portone_url: str) -> None:
    url = f"http://{await worker.webhook_address()}/webhooks/portone"
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{portone_url}/_control/webhooks", json={"urls": [url]})
        response.raise_for_status()
