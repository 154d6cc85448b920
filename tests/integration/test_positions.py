"""Positions of lists: after a failover nobody goes on from a place that was written to the server that is lost."""

from datetime import timedelta
from typing import Any

from billing_worker.store import positions
from billing_worker.store.positions import Position, Reading
from tests.rig import Rig

MINUTE = timedelta(minutes=1)


async def claimed(rig: Rig) -> Position:
    now = rig.clock.now()
    position = await positions.claim_position(
        rig.database.claims, "feed payments", now=now, lease_until=now + 2 * MINUTE, first=now - MINUTE
    )
    assert position is not None
    return position


async def keep(rig: Rig, position: Position, place: str) -> Position | None:
    now = rig.clock.now()
    reading = Reading(now - MINUTE, now, started_at=now, place=place)
    return await positions.keep_place(rig.database.claims, position, reading, now=now, lease_until=now + 3 * MINUTE)


async def row(rig: Rig) -> Any:
    return await rig.admin.fetchrow("SELECT * FROM billing.positions")


async def fail_over_to(rig: Rig, before: Any) -> None:
    """A replica that has the row as it was then is made primary."""
    await rig.admin.execute("DELETE FROM billing.positions")
    await rig.admin.execute("INSERT INTO billing.positions SELECT ($1::billing.positions).*", before)


async def test_each_page_is_written_after_the_one_before_it(rig: Rig) -> None:
    # given
    first = await keep(rig, await claimed(rig), "page 1")
    assert first is not None

    # when
    second = await keep(rig, first, "page 2")

    # then
    assert second is not None
    assert (await row(rig))["place"] == "page 2"


async def test_who_wrote_a_page_to_a_server_that_is_lost_writes_no_later_one(rig: Rig) -> None:
    # given
    position = await claimed(rig)
    replica = await row(rig)
    first = await keep(rig, position, "page 1")
    assert first is not None
    await fail_over_to(rig, replica)

    # when
    second = await keep(rig, first, "page 2")

    # then
    assert second is None
    assert (await row(rig))["place"] is None


async def test_an_epoch_that_is_given_out_again_after_a_failover_is_not_its_first_owners(rig: Rig) -> None:
    # given
    await positions.end_reading(
        rig.database.claims,
        await claimed(rig),
        reached=rig.clock.now(),
        now=rig.clock.now(),
        claimable_at=rig.clock.now(),
    )
    replica = await row(rig)
    lost = await claimed(rig)
    await fail_over_to(rig, replica)
    await rig.pass_time(seconds=1)
    owner = await claimed(rig)
    assert owner.epoch == lost.epoch

    # when
    now = rig.clock.now()
    moved = await positions.end_reading(rig.database.claims, lost, reached=now, now=now, claimable_at=now)

    # then
    assert not moved
    assert (await row(rig))["position"] == owner.position
