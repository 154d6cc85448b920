"""Schedule mode's rows of the crash table, hit on purpose: a booking is paid once, whoever dies around it.

What a death leaves is followed twice: at once, while the booking can still be made, found or taken back, and only when
its time is over, as after an outage. Time is moved for PortOne and for every worker that is started after that.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.crash import bookings
from tests.crash.bookings import AHEAD
from tests.crash.doomed_worker import Doom
from tests.crash.front import Front
from tests.crash.harness import Stage

KILLED = -9
OVER = AHEAD + timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Left:
    """What a death leaves: our statuses, whether PortOne's name of the booking is known, and what PortOne has."""

    cycle: str
    attempt: str | None
    named: bool
    schedules: tuple[str, ...]


CLAIMED = Left("due", None, named=False, schedules=())
UNSENT = Left("collecting", "open", named=False, schedules=())
UNHEARD = Left("collecting", "open", named=False, schedules=("SCHEDULED",))
BOOKED = Left("collecting", "open", named=True, schedules=("SCHEDULED",))
TAKEN_BACK = Left("collecting", "open", named=True, schedules=("REVOKED",))
REVOKED = Left("due", "revoked", named=True, schedules=("REVOKED",))
CHARGED = Left("collecting", "open", named=True, schedules=("SUCCEEDED",))
PAID = Left("paid", "paid", named=True, schedules=("SUCCEEDED",))
FAILED = Left("collecting", "open", named=True, schedules=("FAILED",))
DECLINED = Left("due", "declined", named=True, schedules=("FAILED",))

DEATHS = {
    "before the intent": (Doom("before", "open_attempts"), CLAIMED),
    "after the intent": (Doom("after", "open_attempts"), UNSENT),
    "before the booking leaves": (Doom("before", "book"), UNSENT),
    "after the answer": (Doom("after", "book"), UNHEARD),
    "before the booking is noted": (Doom("before", "note_booked"), UNHEARD),
    "noted and not told": (Doom("after", "note_booked"), BOOKED),
}

# Of the worker that follows a booking whose intent stands and which PortOne has never seen.
DEATHS_OF_RESENDER = {
    "before the list is asked for": (Doom("before", "schedules_of"), UNSENT),
    "nothing found, and not acted upon": (Doom("after", "find"), UNSENT),
    "before the resend is noted": (Doom("before", "note_resend"), UNSENT),
    "the resend noted and not sent": (Doom("after", "note_resend"), UNSENT),
    "the resend answered, and not noted": (Doom("after", "book"), UNHEARD),
}

# Of the worker that follows a booking whose answer nobody has heard.
DEATHS_OF_FINDER = {
    "found in the list": (Doom("after", "schedules_of"), UNHEARD),
    "found, and not noted": (Doom("before", "note_booked"), UNHEARD),
    "found and noted, and not told": (Doom("after", "note_booked"), BOOKED),
}

# Of the worker that takes a booking back.
DEATHS_OF_REVOKER = {
    "before the look": (Doom("before", "find_schedule"), BOOKED),
    "after the look": (Doom("after", "find"), BOOKED),
    "before the revocation leaves": (Doom("before", "revoke"), BOOKED),
    "after the revocation": (Doom("after", "revoke"), TAKEN_BACK),
    "before it is settled": (Doom("before", "settle_attempts"), TAKEN_BACK),
    "settled and not told": (Doom("after", "settle_attempts"), REVOKED),
}

# Of the worker that learns what PortOne did at the booking's time.
DEATHS_OF_LOOKER = {
    "the schedule read, and not the payment": (Doom("after", "find_schedule"), CHARGED),
    "the payment found, and not settled": (Doom("after", "find"), CHARGED),
    "the finding not written": (Doom("before", "settle_attempts"), CHARGED),
    "the finding written, and not told": (Doom("after", "settle_attempts"), PAID),
}
DEATHS_AT_DECLINES = {
    "the decline found, and not settled": (Doom("after", "find"), FAILED),
    "the decline written, and not told": (Doom("after", "settle_attempts"), DECLINED),
}

FOLLOWED = pytest.mark.parametrize("late", [False, True], ids=["followed at once", "followed when its time is over"])


@FOLLOWED
@pytest.mark.parametrize("death", DEATHS)
async def test_whoever_books_may_die_anywhere_and_the_period_is_paid_once(stage: Stage, death: str, late: bool) -> None:
    doom, left = DEATHS[death]
    (key,) = await ahead(stage, "bk-ok-1")

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await ends_paid(stage, key, late=late)
    # By the booking where it could still be made, by one direct charge where it was too late for that.
    charged_directly = late and not left.schedules
    assert await posts(stage) == {"schedule": not charged_directly, "billing-key": charged_directly}


@FOLLOWED
@pytest.mark.parametrize("death", DEATHS_OF_RESENDER)
async def test_whoever_books_again_may_die_anywhere(stage: Stage, death: str, late: bool) -> None:
    doom, left = DEATHS_OF_RESENDER[death]
    (key,) = await ahead(stage, "bk-ok-1")
    await dies(stage, Doom("before", "book"))
    await stage.ask_now()

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await ends_paid(stage, key, late=late)


@FOLLOWED
@pytest.mark.parametrize("death", DEATHS_OF_FINDER)
async def test_whoever_finds_a_booking_may_die_anywhere(stage: Stage, death: str, late: bool) -> None:
    doom, left = DEATHS_OF_FINDER[death]
    (key,) = await ahead(stage, "bk-ok-1")
    await dies(stage, Doom("after", "book"))
    await stage.ask_now()

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await ends_paid(stage, key, late=late)
    assert await posts(stage) == {"schedule": 1, "billing-key": 0}


@FOLLOWED
@pytest.mark.parametrize("death", DEATHS_OF_REVOKER)
async def test_whoever_takes_a_booking_back_may_die_anywhere_and_the_new_price_is_paid_once(
    stage: Stage, death: str, late: bool
) -> None:
    doom, left = DEATHS_OF_REVOKER[death]
    (key,) = await booked(stage, "bk-ok-1")
    await bookings.change_price(stage, key)

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await ends_paid(stage, key, late=late)
    # What nobody had taken back when its time came was charged at the price that it was booked at.
    too_late = late and left.schedules == ("SCHEDULED",)
    assert await amounts(stage) == [9_900 if too_late else 12_000]


@FOLLOWED
@pytest.mark.parametrize("death", DEATHS_OF_REVOKER)
async def test_whoever_takes_a_cancelled_booking_back_may_die_anywhere(stage: Stage, death: str, late: bool) -> None:
    doom, left = DEATHS_OF_REVOKER[death]
    (key,) = await booked(stage, "bk-ok-1")
    await bookings.cancel(stage, key)

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await follow(stage, late=late)
    too_late = late and left.schedules == ("SCHEDULED",)
    assert (await stage.cycle(key))["status"] == ("paid" if too_late else "skipped")
    assert len(await amounts(stage)) == too_late


@pytest.mark.parametrize("death", DEATHS_OF_LOOKER)
async def test_whoever_learns_what_came_of_a_booking_may_die_anywhere(stage: Stage, death: str) -> None:
    doom, left = DEATHS_OF_LOOKER[death]
    (key,) = await booked(stage, "bk-ok-1")
    await stage.pass_time(OVER)

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await ends_paid(stage, key, late=False)
    assert await posts(stage) == {"schedule": 1, "billing-key": 0}


@pytest.mark.parametrize("death", DEATHS_AT_DECLINES)
async def test_whoever_learns_of_a_declined_booking_may_die_anywhere_and_direct_charges_follow(
    stage: Stage, death: str
) -> None:
    doom, left = DEATHS_AT_DECLINES[death]
    (key,) = await booked(stage, "bk-soft-funds-1")
    await stage.pass_time(OVER)

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    # The booking and one charge are declined; the second charge is paid.
    await ends_paid(stage, key, late=False)
    assert await posts(stage) == {"schedule": 1, "billing-key": 2}


# A webhook that nobody acknowledged comes again, and one that was kept is read by whoever comes.
DEATHS_AROUND_HINTS = {
    "before it is kept": (Doom("before", "keep_hints"), 0),
    "kept and not acknowledged": (Doom("after", "keep_hints"), 1),
    "before it is read": (Doom("before", "read_hints", nth=2), 0),
    "read, and nobody was rung for": (Doom("after", "read_hints"), 1),
}


@pytest.mark.parametrize("death", DEATHS_AROUND_HINTS)
async def test_whoever_takes_a_webhook_in_may_die_anywhere(stage: Stage, front: Front, death: str) -> None:
    doom, kept = DEATHS_AROUND_HINTS[death]
    (key,) = await stage.add(["bk-ok-1"])

    await dies(stage, doom)

    assert await hints(stage) == kept
    await stage.ask_now()
    stage.start()
    await stage.ends_true()
    assert (await stage.cycle(key))["status"] == "paid"
    assert await hints(stage) == 1


async def ahead(stage: Stage, billing_key: str) -> list[str]:
    """A subscription whose first month is due in a while, and booked by whoever comes first."""
    return await bookings.add_ahead(stage, [billing_key], lambda _: AHEAD)


async def booked(stage: Stage, billing_key: str) -> list[str]:
    """The same, booked already."""
    keys = await ahead(stage, billing_key)
    worker = stage.start()
    await worker.said("attempt.booked")
    worker.kill()
    await worker.ended()
    return keys


async def dies(stage: Stage, doom: Doom) -> None:
    """Run a worker to the end that it is doomed to."""
    assert await stage.start(doom).ended() == KILLED


async def what_is_left(stage: Stage, key: str) -> Left:
    """The statuses of the subscription's cycle and newest attempt, and of what PortOne has."""
    attempts: list[dict[str, Any]] = await stage.attempts(key)
    return Left(
        cycle=(await stage.cycle(key))["status"],
        attempt=attempts[-1]["status"] if attempts else None,
        named=bool(attempts and attempts[-1]["schedule_id"]),
        schedules=tuple(one["status"] for one in await stage.portone.schedules()),
    )


async def follow(stage: Stage, *, late: bool) -> None:
    """A worker that nothing befalls, now or when the time is over: everything ends, and both sides agree."""
    if late:
        await stage.pass_time(OVER)
    await stage.ask_now()
    stage.start()
    if not late:
        await stage.nothing_to_do()
        stage.kill_all()
        await stage.pass_time(OVER)
        stage.start()
    await stage.ends_true()


async def ends_paid(stage: Stage, key: str, *, late: bool) -> None:
    """The period is paid once."""
    await follow(stage, late=late)
    assert (await stage.cycle(key))["status"] == "paid"
    assert len(await amounts(stage)) == 1


async def amounts(stage: Stage) -> list[int]:
    """What PortOne really took."""
    return [charge["amount"] for charge in (await stage.portone.truth())["charges"]]


async def posts(stage: Stage) -> dict[str, int]:
    """How many keys of each call have arrived."""
    keys = {(one["path"].rpartition("/")[2], one["idempotency_key"]) for one in await stage.portone.posts()}
    return {call: sum(each == call for each, _ in keys) for call in ("schedule", "billing-key")}


async def hints(stage: Stage) -> int:
    """How many webhooks have been kept."""
    rows = await stage.fetch("SELECT count(*) AS kept FROM billing.webhook_inbox")
    return int(rows[0]["kept"])
