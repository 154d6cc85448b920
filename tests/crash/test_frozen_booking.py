"""A worker that stands still across the firing time of a booking: when it wakes, the period has ended without it.

Here time passes by itself, since whoever is frozen must find that his own has passed as well.
"""

import signal
from datetime import timedelta

import pytest

from tests.builders import eventually
from tests.crash import bookings
from tests.crash.doomed_worker import Doom
from tests.crash.fleet import PACE
from tests.crash.harness import Stage

PATIENCE = {name: PACE[name] for name in ("ATTEMPT_LEASE_SECONDS", "SHUTDOWN_GRACE_SECONDS")}
SOON = timedelta(seconds=6)

WHILE_BOOKING = {
    "with an intent": Doom("after", "open_attempts", signal.SIGSTOP),
    "with PortOne's answer": Doom("after", "book", signal.SIGSTOP),
    "before the note": Doom("before", "note_booked", signal.SIGSTOP),
}
WHILE_REVOKING = {
    "with a look": Doom("after", "find_schedule", signal.SIGSTOP),
    "before the revocation": Doom("before", "revoke", signal.SIGSTOP),
    "after the revocation": Doom("after", "revoke", signal.SIGSTOP),
    "before it is settled": Doom("before", "settle_attempts", signal.SIGSTOP),
}
# What PortOne had been told to take back before the worker stood still.
TAKEN_BACK = ("after the revocation", "before it is settled")


@pytest.mark.parametrize("where", WHILE_BOOKING)
async def test_whoever_books_and_stands_still_past_the_time_sends_nothing_when_he_wakes(
    stage: Stage, where: str
) -> None:
    # given
    (key,) = await bookings.add_ahead(stage, ["bk-ok-1"], lambda _: SOON)
    frozen = stage.start(WHILE_BOOKING[where], **PATIENCE)
    await frozen.stopped()

    # when: another one ends the period after its time, and this one wakes
    stage.start(**PATIENCE)
    await stage.ends_true(seconds_max=40)
    posts = await stage.portone.posts()
    frozen.send(signal.SIGCONT)
    frozen.send(signal.SIGTERM)
    await frozen.ended()

    # then
    await stage.ends_true()
    assert await stage.portone.posts() == posts
    assert (await stage.cycle(key))["status"] == "paid"
    assert len((await stage.portone.truth())["charges"]) == 1


@pytest.mark.parametrize("where", WHILE_REVOKING)
async def test_whoever_takes_back_and_stands_still_past_the_time_takes_back_nothing_else_when_he_wakes(
    stage: Stage, where: str
) -> None:
    # given
    (key,) = await bookings.add_ahead(stage, ["bk-ok-1"], lambda _: SOON)
    first = stage.start(**PATIENCE)
    await first.said("attempt.booked")
    first.kill()
    await bookings.change_price(stage, key)
    frozen = stage.start(WHILE_REVOKING[where], **PATIENCE)
    await frozen.stopped()

    # when
    stage.start(**PATIENCE)
    await stage.ends_true(seconds_max=40)
    frozen.send(signal.SIGCONT)
    frozen.send(signal.SIGTERM)
    await frozen.ended()

    # then
    await stage.ends_true()
    [charge] = (await stage.portone.truth())["charges"]
    assert charge["amount"] == (12_000 if where in TAKEN_BACK else 9_900)
    assert (await stage.cycle(key))["status"] == "paid"


async def test_a_revocation_that_comes_too_late_takes_nothing_back(stage: Stage) -> None:
    # given: the only worker stands still before its revocation, and PortOne charges meanwhile
    (key,) = await bookings.add_ahead(stage, ["bk-ok-1"], lambda _: SOON)
    first = stage.start(**PATIENCE)
    await first.said("attempt.booked")
    first.kill()
    await bookings.change_price(stage, key)
    frozen = stage.start(WHILE_REVOKING["before the revocation"], **PATIENCE)
    await frozen.stopped()

    async def charged() -> bool:
        return bool((await stage.portone.truth())["charges"])

    await eventually(charged)

    # when
    frozen.send(signal.SIGCONT)

    # then
    await stage.ends_true()
    attempts = [(attempt["status"], attempt["amount_minor"]) for attempt in await stage.attempts(key)]
    assert attempts == [("paid", 9_900)]
