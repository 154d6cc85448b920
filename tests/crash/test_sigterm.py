"""SIGTERM: nothing new is begun, what is in flight is finished, what was not sent is given back.

The end comes within the grace.
"""

import signal
import time
from datetime import UTC, datetime

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.builders import eventually
from tests.crash.doomed_worker import Doom
from tests.crash.harness import HURRIED, Stage
from tests.crash.workers import Worker

DRAINED = 0
LEFT_EARLY = 70

GRACE_SECONDS = float(HURRIED["SHUTDOWN_GRACE_SECONDS"])
LEAVING_SECONDS = 3.0  # beside the grace: the web server's last answers and the end of the interpreter

# For a test in which PortOne is slow: what must outlast a call lasts longer, and no send is late.
PATIENT = {"SEND_WINDOW_SECONDS": "5", "ATTEMPT_LEASE_SECONDS": "24", "SHUTDOWN_GRACE_SECONDS": "20"}
# What a booking's settings must outlast where a charge may take so long.
PATIENT |= {"SCHEDULE_NEAR_SECONDS": "16", "SCHEDULE_LOST_AFTER_SECONDS": "11"}

OPEN_NOW = "SELECT payment_id FROM billing.attempts WHERE status = 'open'"


async def test_charges_in_flight_are_finished_and_settled_and_no_other_is_begun(stage: Stage) -> None:
    keys = await stage.add([f"bk-ok-{number}" for number in range(10)])
    await stage.portone.hold("after_charge")
    worker = stage.start_installed(PORTONE_IN_FLIGHT_MAX="4", CLAIM_BATCH_MAX="4")
    assert await stage.portone.in_flight(4, wait_seconds=20, stage="held_after_charge") == 4

    worker.send(signal.SIGTERM)
    await worker.said("daemon.draining")
    await stage.portone.release()

    assert await worker.ended() == DRAINED
    assert len(await stage.portone.posts()) == 4
    attempts = [attempt for key in keys for attempt in await stage.attempts(key)]
    # Half as many again may have been opened ahead of their turn; they were not sent.
    assert [attempt["source"] for attempt in attempts if attempt["status"] == "paid"] == ["answer"] * 4
    assert [attempt["status"] for attempt in attempts if attempt["status"] != "paid"] in ([], ["open"], ["open"] * 2)
    untouched = [cycle for key in keys if (cycle := await stage.cycle(key))["status"] == "due"]
    assert len(untouched) == 10 - len(attempts)
    assert {cycle["fruitless_claims"] for cycle in untouched} == {0}


async def test_an_attempt_that_waits_for_its_turn_is_handed_over_while_others_are_still_in_flight(stage: Stage) -> None:
    await stage.add([f"bk-ok-{number}" for number in range(10)])
    await stage.portone.hold("after_charge")
    worker = stage.start_installed(PORTONE_IN_FLIGHT_MAX="3", CLAIM_BATCH_MAX="10", PORTONE_READ_SECONDS="5", **PATIENT)
    assert await stage.portone.in_flight(3, wait_seconds=20, stage="held_after_charge") == 3
    await eventually(lambda: stage.fetch(f"{OPEN_NOW} OFFSET 3"))

    worker.send(signal.SIGTERM)

    (handed_over,) = await eventually(lambda: stage.fetch(f"{OPEN_NOW} AND look_at <= clock_timestamp()"))
    assert worker.exit_code is None
    await stage.portone.release()
    assert await worker.ended() == DRAINED
    assert [dict(row) for row in await stage.fetch(OPEN_NOW)] == [dict(handed_over)]
    assert len(await stage.portone.posts()) == 3


async def test_what_was_claimed_when_the_signal_came_is_given_back_at_once(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    # It goes on with the claim, hears the signal while Postgres writes, and has the cycle when it must not open it.
    worker = await stopped_at(stage, Doom("before", "claim_due_cycles", signal.SIGSTOP))

    worker.send(signal.SIGTERM)
    worker.send(signal.SIGCONT)

    assert await worker.ended() == DRAINED
    released = await stage.cycle(key)
    assert (released["status"], released["claim_epoch"], released["fruitless_claims"]) == ("due", 1, 0)
    assert released["claimable_at"] <= datetime.now(UTC)
    assert await stage.portone.posts() == []


async def test_an_intent_that_stood_when_the_signal_came_is_handed_to_the_reconciler_at_once(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    worker = await stopped_at(stage, Doom("before", "open_attempts", signal.SIGSTOP))

    worker.send(signal.SIGTERM)
    worker.send(signal.SIGCONT)

    assert await worker.ended() == DRAINED
    (attempt,) = await stage.attempts(key)
    assert attempt["status"] == "open"
    assert (attempt["look_at"] - attempt["opened_at"]).total_seconds() < float(HURRIED["ATTEMPT_LEASE_SECONDS"]) / 2
    assert await stage.portone.posts() == []
    # Another worker need not wait for any lease.
    stage.start()
    await stage.ends_true(seconds_max=10)


async def test_a_second_signal_leaves_at_once_and_everything_is_recovered(stage: Stage) -> None:
    keys = await stage.add([f"bk-ok-{number}" for number in range(5)])
    await stage.portone.hold("after_charge")
    worker = stage.start_installed()
    await stage.portone.in_flight(5, wait_seconds=20, stage="held_after_charge")

    worker.send(signal.SIGTERM)
    await worker.said("daemon.draining")
    asked_again_at = time.monotonic()
    worker.send(signal.SIGTERM)

    assert await worker.ended() == LEFT_EARLY
    assert time.monotonic() - asked_again_at < 1
    assert {(await stage.attempts(key))[0]["status"] for key in keys} == {"open"}
    await stage.portone.release()
    await stage.ask_now()
    stage.start()
    await stage.ends_true()


async def test_with_postgres_gone_it_leaves_within_the_grace_and_says_that_something_is_left(
    stage: Stage, postgres: EmbeddedPostgres
) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    await stage.portone.hold("after_charge")
    worker = stage.start_installed()
    await stage.portone.in_flight(1, wait_seconds=20, stage="held_after_charge")
    postgres.kill()
    await stage.portone.release()
    await worker.said("settler.database_gone")

    signalled_at = time.monotonic()
    worker.send(signal.SIGTERM)

    assert await worker.ended() == LEFT_EARLY
    assert time.monotonic() - signalled_at < GRACE_SECONDS + LEAVING_SECONDS
    postgres.start()
    assert (await stage.attempts(key))[0]["status"] == "open"
    await stage.ask_now()
    stage.start()
    await stage.ends_true()


async def stopped_at(stage: Stage, doom: Doom) -> Worker:
    """A worker that has stopped itself there."""
    worker = stage.start(doom)
    await worker.stopped()
    return worker
