"""Who asks PortOne what it has beside us may die at each step: nothing is skipped, and nothing is named twice.

How far a list has been read is written down after what was read has been acted upon, so a death has the same page read
again. Whoever comes next is given the list at once here, as after the dead one's lease.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.builders import eventually
from tests.crash import bookings
from tests.crash.bookings import AHEAD
from tests.crash.doomed_worker import Doom
from tests.crash.harness import Stage

KILLED = -9
FEEDS = {"payments": "payments", "events": "payment_events"}
COMPARISONS = ("compare payments", "compare schedules")
# Beyond what the comparison of payments leaves to the feed.
NO_LONGER_YOUNG = timedelta(minutes=10)

_KEEP_AWAY = """
INSERT INTO billing.positions (name, position, claimable_at, epoch, moved_at)
VALUES ($1, clock_timestamp(), clock_timestamp() + interval '1 year', 1, clock_timestamp())
"""
_POSITION = "SELECT position, reading_until, place FROM billing.positions WHERE name = $1"
_ENTRIES = "SELECT code FROM billing.ledger WHERE kind = $1"


@dataclass(frozen=True, slots=True)
class Fed:
    """What a dead feed leaves: whether the look is ordered, and how far it says that it has read."""

    ordered: bool
    read: str  # "nothing", "begun" or "all"


UNREAD, UNWRITTEN = Fed(ordered=False, read="nothing"), Fed(ordered=True, read="nothing")
BEGUN, ENDED = Fed(ordered=True, read="begun"), Fed(ordered=True, read="all")

DEATHS_OF_FEED = {
    "before it is its turn": ("before", "claim_position", UNREAD),
    "with the list": ("after", "claim_position", UNREAD),
    "before the page": ("before", "page", UNREAD),
    "with the page": ("after", "page", UNREAD),
    "before the look is ordered": ("before", "order_looks", UNREAD),
    "the look ordered, and nobody rung for": ("after", "order_looks", UNWRITTEN),
    "before the place moves": ("before", "keep_place", UNWRITTEN),
    "the place moved": ("after", "keep_place", BEGUN),
    "before the reading ends": ("before", "end_reading", BEGUN),
    "the reading ended": ("after", "end_reading", ENDED),
}

# How often the difference has been named when the worker dies, by the step. Of schedules the first day has none.
DEATHS_OF_COMPARER = {
    "before the page": (Doom("before", "payments"), 0),
    "with the page": (Doom("after", "payments"), 0),
    "before the look is ordered": (Doom("before", "order_looks"), 0),
    "the look ordered": (Doom("after", "order_looks"), 0),
    "before it is named": (Doom("before", "note_differences"), 0),
    "named, and not told": (Doom("after", "note_differences"), 1),
    "before the place moves": (Doom("before", "keep_place"), 1),
    "the place moved": (Doom("after", "keep_place"), 1),
    "before the reading ends": (Doom("before", "end_reading"), 1),
    "the reading ended": (Doom("after", "end_reading"), 1),
    "before what is over ends": (Doom("before", "end_differences"), 1),
    "all done, and not told": (Doom("after", "end_differences"), 1),
}
DEATHS_OF_SCHEDULE_COMPARER = {
    "before the page": (Doom("before", "schedules_page"), 0),
    "with a page": (Doom("after", "schedules_page"), 0),
    "with a day": (Doom("before", "keep_place"), 0),
    "a day behind": (Doom("after", "keep_place"), 0),
    "before it is named": (Doom("before", "note_differences", nth=2), 0),
    "named, and not told": (Doom("after", "note_differences"), 1),
    "before the place moves": (Doom("before", "keep_place", nth=2), 1),
    "the place moved": (Doom("after", "keep_place", nth=2), 1),
    "before the reading ends": (Doom("before", "end_reading"), 1),
    "the reading ended": (Doom("after", "end_reading"), 1),
    "before what is over ends": (Doom("before", "end_differences"), 1),
    "all done, and not told": (Doom("after", "end_differences"), 1),
}


@pytest.mark.parametrize("source", FEEDS)
@pytest.mark.parametrize("death", DEATHS_OF_FEED)
async def test_whoever_follows_the_feed_may_die_anywhere_and_no_change_is_missed(
    stage: Stage, death: str, source: str
) -> None:
    # given: PortOne has charged before the time, so that no look is due and only the feed can tell
    when, boundary, left = DEATHS_OF_FEED[death]
    (key,) = await booked(stage)
    [schedule] = await stage.portone.schedules()
    await stage.portone.console("/schedules/fire", scheduleId=schedule["scheduleId"])
    await only(stage, f"feed {source}")

    # when
    await dies(
        stage, Doom("before" if when == "before" else "after", FEEDS[source] if boundary == "page" else boundary)
    )

    # then
    assert await fed(stage, key, source) == left
    await at_once(stage, f"feed {source}")
    await stage.ask_now()
    stage.start()
    await stage.ends_true()
    assert (await stage.cycle(key))["status"] == "paid"


@pytest.mark.parametrize("death", DEATHS_OF_COMPARER)
async def test_whoever_compares_payments_may_die_anywhere_and_a_difference_is_named_once(
    stage: Stage, death: str
) -> None:
    # given
    doom, named = DEATHS_OF_COMPARER[death]
    await only(stage)
    (key,) = await stage.add(["bk-ok-1"])
    first = stage.start()
    await stage.ends_true()
    first.kill()
    await first.ended()
    payment_id = (await stage.cycle(key))["payment_id"]
    await stage.portone.console("/payments/dispute", paymentId=payment_id)
    await stage.pass_time(NO_LONGER_YOUNG)
    await give(stage, "compare payments")

    # when
    await dies(stage, doom)

    # then
    assert await standing(stage) == ["disputed"] * named
    await compared_again(stage, "compare payments")
    assert await standing(stage) == ["disputed"]
    assert await entered(stage, "mismatch") == ["disputed"]
    await stage.ends_true()
    assert await entered(stage, "disputed") == ["disputed"]


@pytest.mark.parametrize("death", DEATHS_OF_SCHEDULE_COMPARER)
async def test_whoever_compares_schedules_may_die_anywhere_and_a_difference_is_named_once(
    stage: Stage, death: str
) -> None:
    # given
    doom, named = DEATHS_OF_SCHEDULE_COMPARER[death]
    await booked(stage)
    [schedule] = await stage.portone.schedules()
    later = (stage.now + AHEAD + timedelta(minutes=5)).isoformat()
    await stage.portone.console("/schedules/edit", scheduleId=schedule["scheduleId"], timeToPay=later)
    await only(stage, "compare schedules")

    # when
    await dies(stage, doom)

    # then
    assert await standing(stage) == ["schedule_time"] * named
    await compared_again(stage, "compare schedules")
    assert await standing(stage) == ["schedule_time"]
    assert await entered(stage, "mismatch") == ["schedule_time"]


async def booked(stage: Stage) -> list[str]:
    """A subscription of schedule mode whose month is booked, by a worker that is dead and compared nothing."""
    await only(stage)
    keys = await bookings.add_ahead(stage, ["bk-ok-1"], lambda _: AHEAD)
    worker = stage.start()
    await worker.said("attempt.booked")
    await stage.nothing_to_do()
    worker.kill()
    await worker.ended()
    return keys


async def only(stage: Stage, name: str = "") -> None:
    """Let nobody come to any list but this one from now on."""
    source = name.removeprefix("feed ") if name.startswith("feed ") else "off"
    stage.settings |= {"FEED_SOURCE": source}
    if not name:
        for comparison in COMPARISONS:
            await stage.fetch(_KEEP_AWAY, comparison)
    elif source == "off":
        await give(stage, name)


async def give(stage: Stage, name: str) -> None:
    """Let whoever comes first begin this list as one that nobody has read."""
    await stage.fetch("DELETE FROM billing.positions WHERE name = $1", name)


async def at_once(stage: Stage, name: str) -> None:
    """Let the lease on a list, or the wait for its time, be over."""
    await stage.fetch("UPDATE billing.positions SET claimable_at = '-infinity' WHERE name = $1", name)


async def compared_again(stage: Stage, name: str) -> None:
    """Let somebody whom nothing befalls compare all of it."""
    await at_once(stage, name)
    worker = stage.start()
    await worker.said("comparison.ended")


async def dies(stage: Stage, doom: Doom) -> None:
    """Run a worker to the end that it is doomed to."""
    assert await stage.start(doom).ended() == KILLED


async def fed(stage: Stage, key: str, source: str) -> Fed:
    """What the feed has left: an ordered look is due, or somebody has taken it already."""
    [attempt] = await stage.attempts(key)
    rows: list[Any] = await stage.fetch(_POSITION, f"feed {source}")
    read = "nothing"
    if rows and rows[0]["reading_until"] is not None:
        read = "begun"
    elif rows and rows[0]["position"] > attempt["opened_at"]:
        read = "all"
    looked_for = attempt["status"] != "open" or attempt["look_epoch"] > 0 or attempt["look_at"] <= stage.now
    return Fed(ordered=looked_for, read=read)


async def standing(stage: Stage) -> list[str]:
    """The classes of the differences that there ever were, none of which has ended."""
    rows = await stage.fetch("SELECT class, ended_at FROM billing.differences")
    assert all(row["ended_at"] is None for row in rows)
    return [row["class"] for row in rows]


async def entered(stage: Stage, kind: str) -> list[str]:
    """The codes of the ledger's entries of one kind, once there is one."""

    async def there() -> list[str]:
        return [row["code"] for row in await stage.fetch(_ENTRIES, kind)]

    return await eventually(there)
