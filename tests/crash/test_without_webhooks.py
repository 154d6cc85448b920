"""Webhooks off: whatever PortOne has charged is in the ledger within what the settings promise, in both modes.

Time passes by itself here, and the workers are the installed command line. A booking is known a grace after its time,
and a change that no look waits for within one interval of the feed.
"""

from datetime import timedelta

import pytest

from tests.crash import bookings, oracle
from tests.crash.books import read_books
from tests.crash.harness import HURRIED, Stage

SOON = timedelta(seconds=9)
STEP = timedelta(milliseconds=500)
BOOKED = 12
GRACE_SECONDS = float(HURRIED["SCHEDULE_GRACE_SECONDS"])
# Waits between looks that found nothing yet: PortOne's charge may still be under way at the first.
WIDEST_SECONDS = float(HURRIED["ASK_WIDEST_SECONDS"])
SWEEP_SECONDS = float(HURRIED["SWEEP_SECONDS"])
FEED_SECONDS = 2.0
# What a look takes, and a machine that others use as well.
SLACK_SECONDS = 2.0

_LATE = """
SELECT l.payment_id, extract(epoch FROM l.recorded_at - a.paid_at)::float AS took
FROM billing.ledger l JOIN billing.attempts a USING (shard, attempt_id) WHERE l.kind = 'paid'
"""


@pytest.mark.parametrize("source", ["off", "payments", "events"])
async def test_without_webhooks_every_outcome_is_known_within_a_look_of_its_time(stage: Stage, source: str) -> None:
    # given: both modes, and no address for webhooks
    stage.settings |= {"FEED_SOURCE": source, "FEED_SECONDS": str(FEED_SECONDS)}
    billing_keys = [f"bk-{'soft-funds' if number % 4 == 3 else 'ok'}-{number}" for number in range(BOOKED)]
    ahead = await bookings.add_ahead(stage, billing_keys, lambda number: SOON + number * STEP)
    owed = await stage.add([f"bk-ok-owed-{number}" for number in range(BOOKED)])

    # when
    for _ in range(2):
        stage.start_installed()
    await stage.ends_true(seconds_max=60)

    # then: paid once each, and known in time
    assert [(await stage.cycle(key))["status"] for key in (*ahead, *owed)] == ["paid"] * (2 * BOOKED)
    rows = await stage.fetch(_LATE)
    assert len(rows) == 2 * BOOKED
    bound = GRACE_SECONDS + WIDEST_SECONDS + SWEEP_SECONDS + SLACK_SECONDS
    assert {row["payment_id"]: row["took"] for row in rows if row["took"] > bound} == {}
    assert oracle.faults(await read_books(stage.portone, stage.database)) == {}


@pytest.mark.parametrize("source", ["payments", "events"])
async def test_what_changes_when_no_look_waits_for_it_is_known_within_an_interval_of_the_feed(
    stage: Stage, source: str
) -> None:
    # given: booked for long after, and looked at only then
    stage.settings |= {"FEED_SOURCE": source, "FEED_SECONDS": str(FEED_SECONDS)}
    keys = await bookings.add_ahead(stage, [f"bk-ok-{number}" for number in range(BOOKED)], lambda _: bookings.AHEAD)
    worker = stage.start_installed()
    await worker.said("attempt.booked", times=BOOKED)
    await stage.nothing_to_do()

    # when: PortOne charges at once
    for schedule in await stage.portone.schedules():
        await stage.portone.console("/schedules/fire", scheduleId=schedule["scheduleId"])
    await stage.ends_true()

    # then
    assert [(await stage.cycle(key))["status"] for key in keys] == ["paid"] * BOOKED
    bound = FEED_SECONDS + 2 * SWEEP_SECONDS + SLACK_SECONDS
    assert {row["payment_id"]: row["took"] for row in await stage.fetch(_LATE) if row["took"] > bound} == {}
