"""One database, one store: another store's cycles are neither claimed nor looked at, and its database is refused."""

import pytest

from billing_worker.store import control
from billing_worker.workers import fitness
from tests.builders import STORE_ID
from tests.rig import Rig


async def test_another_store_s_cycle_is_not_charged_at_ours(rig: Rig) -> None:
    # given
    await rig.owe()
    await rig.admin.execute("UPDATE billing.cycles SET store_id = 'store-other'")

    # when
    counts = await rig.charge()

    # then
    assert counts.rows == 0
    assert await rig.posts() == []
    assert (await rig.cycle())["status"] == "due"


async def test_another_store_s_attempt_is_not_looked_for_at_ours(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-drop-uncharged-xall-1")
    await rig.charge()
    sent = len(await rig.posts())
    await rig.admin.execute("UPDATE billing.cycles SET store_id = 'store-other'")

    # when
    await rig.reconcile_after(minutes=5)
    await rig.reconcile_after(days=2)

    # then
    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["status"] == "open"


async def test_a_database_of_another_store_is_refused_at_the_start(rig: Rig) -> None:
    # given
    await rig.owe()

    # when
    ours = await control.other_stores(rig.database.claims, STORE_ID)
    with pytest.raises(fitness.StartUpRefusedError) as refused:
        await fitness.refuse_unfit(rig.database, "store-other")

    # then
    assert ours == []
    assert f"this database bills store {STORE_ID}, not store-other" in str(refused.value)
