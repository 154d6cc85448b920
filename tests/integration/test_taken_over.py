"""A schedule that was taken over from a merchant is a cycle like any other from then on."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import shard_of
from billing_worker.billing.money import Money
from billing_worker.store import attempts, cycles, differences
from tests.conftest import DatabaseUrls
from tests.merchants import AHEAD_DAYS, MINUTE, THEIRS, Shop, a_shop, results, statuses


@pytest.fixture
async def shop(database: DatabaseUrls, tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(database, tmp_path) as made:
        yield made


async def test_without_a_word_to_confirm_nothing_is_written(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    await shop.book()

    # when
    result = await shop.bring_in(("sub-1", THEIRS), confirm=False)

    # then
    assert (result.exit_code, results(result)) == (0, ["may_be_taken_over"])
    assert [await shop.rows(table) for table in ("cycles", "attempts", "ledger", "outbox", "positions")] == [0] * 5


async def test_a_schedule_becomes_the_next_cycle_and_an_open_booking(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    schedule_id = await shop.book()

    # when
    result = await shop.bring_in(("sub-1", THEIRS))

    # then
    cycle, attempt = await shop.rig.cycle(), await shop.rig.attempt()
    assert (result.exit_code, results(result)) == (0, ["taken_over"])
    assert (cycle["payment_id"], cycle["status"], cycle["mode"], cycle["adopted"]) == (
        THEIRS, "collecting", "schedule", True,
    )  # fmt: skip
    assert (cycle["period_start_on"], cycle["due_at"], cycle["cycle_number"]) == (shop.day, shop.at(), 1)
    assert (attempt["schedule_id"], attempt["time_to_pay"], attempt["status"]) == (schedule_id, shop.at(), "open")
    assert attempt["look_at"] == shop.at() + MINUTE
    entries = [(one["kind"], one["code"], one["actor"]) for one in await shop.rig.entries()]
    assert entries == [("intent", "adopted", "kim"), ("scheduled", "adopted", "kim")]
    assert await shop.rig.admin.fetchval("SELECT next_cycle_number FROM billing.subscriptions") == 2
    assert await shop.faults() == []


async def test_the_same_file_given_twice_changes_nothing(shop: Shop) -> None:
    # given
    await shop.taken_over()
    before = [await shop.rows(table) for table in ("cycles", "attempts", "ledger")]

    # when
    again = await shop.bring_in(("sub-1", THEIRS))

    # then
    assert (again.exit_code, results(again)) == (0, ["taken_before"])
    assert [await shop.rows(table) for table in ("cycles", "attempts", "ledger")] == before


async def test_what_portone_charges_at_its_time_is_paid_and_the_next_period_is_ours(shop: Shop) -> None:
    # given
    await shop.taken_over()
    await shop.rig.reconcile()
    untouched = await shop.rig.attempt()

    # when
    await shop.rig.reconcile_after(days=AHEAD_DAYS + 1)
    paid = await shop.rig.cycle()
    await shop.rig.pass_time(days=28)
    await shop.rig.crew.renewer.run_once(shop.rig.clock.now())

    # then
    assert untouched["looks"] == 0
    assert (paid["status"], paid["payment_id"]) == ("paid", THEIRS)
    assert [one["status"] for one in await shop.rig.tries(THEIRS)] == ["PAID"]
    following = await shop.rig.cycle()
    assert (following["cycle_number"], following["adopted"], following["payment_id"][:3]) == (2, False, "rb1")
    assert await shop.faults() == []


@pytest.mark.parametrize("of", [THEIRS, "abc123"])
async def test_a_decline_goes_on_as_direct_charges_on_the_merchants_payment_id(shop: Shop, of: str) -> None:
    # given
    billing_key = "bk-soft-funds-x1-1"
    await shop.rig.subscribe(shop.plan(billing_key=billing_key))
    await shop.book(of, billing_key)
    assert (await shop.bring_in(("sub-1", of))).exit_code == 0

    # when
    await shop.rig.reconcile_after(days=AHEAD_DAYS + 1)
    declined = await shop.rig.cycle()
    await shop.rig.pass_time(days=2)
    await shop.rig.charge()

    # then
    assert (declined["status"], declined["declines_count"]) == ("due", 1)
    assert [one["status"] for one in await shop.rig.tries(of)] == ["FAILED", "PAID"]
    assert [(one["status"], one["time_to_pay"] is None) for one in await shop.rig.attempts()] == [
        ("declined", False), ("paid", True),
    ]  # fmt: skip
    assert await shop.faults() == []


@pytest.mark.parametrize(
    "changes",
    [{"price": Money(12_900, "KRW")}, {"billing_key": BillingKey("bk-ok-new")}],
    ids=["price", "card"],
)
async def test_a_change_takes_it_back_and_books_it_anew(shop: Shop, changes: dict[str, Any]) -> None:
    # given
    await shop.taken_over()

    # when
    await shop.change(**changes)
    await shop.rig.reconcile_after(minutes=2)
    await shop.rig.charge()

    # then
    assert await statuses(shop.rig) == [(THEIRS, "REVOKED"), (THEIRS, "SCHEDULED")]
    assert [one["status"] for one in await shop.rig.attempts()] == ["revoked", "open"]
    await shop.rig.reconcile_after(days=AHEAD_DAYS + 1)
    assert (await shop.rig.cycle())["status"] == "paid"
    assert await shop.faults() == []


async def test_a_cancellation_takes_it_back(shop: Shop) -> None:
    # given
    await shop.taken_over()

    # when
    await shop.rig.cancel()
    await shop.rig.reconcile_after(minutes=2)
    await shop.rig.charge()

    # then
    assert await statuses(shop.rig) == [(THEIRS, "REVOKED")]
    assert ((await shop.rig.cycle())["status"], (await shop.rig.attempt())["status"]) == ("skipped", "revoked")
    assert await shop.faults() == []


async def test_one_that_somebody_revokes_at_portone_is_put_before_a_person_and_not_charged(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    schedule_id = await shop.book()
    await shop.bring_in(("sub-1", THEIRS))

    # when
    await shop.revoke(schedule_id)
    await shop.rig.reconcile_after(days=AHEAD_DAYS + 1)
    await shop.rig.charge()

    # then
    assert ((await shop.rig.cycle())["status"], await shop.rig.tries(THEIRS)) == ("held", [])


async def test_it_is_no_stranger_to_the_comparison(shop: Shop) -> None:
    # given
    await shop.taken_over()

    # when
    known = await differences.our_cycles(shop.rig.database.claims, {THEIRS})

    # then
    assert known[THEIRS].booking is not None


async def test_its_first_attempt_is_never_sent_again_whoever_decides_to(shop: Shop) -> None:
    # given
    await shop.taken_over()
    shard, now = shard_of("sub-1"), shop.rig.clock.now() + timedelta(days=AHEAD_DAYS + 1)
    [claimed] = await attempts.claim_looks(shop.rig.database.claims, shard, now=now, lease_until=now + MINUTE, limit=1)
    sent_before = len(await shop.rig.posts())

    # when
    noted = await attempts.note_resend(shop.rig.database.outcomes, claimed, now=now, look_at=now + MINUTE)
    await shop.rig.crew.collector.send_again(claimed, decided=shop.rig.clock.monotonic())

    # then
    assert (noted, len(await shop.rig.posts())) == (False, sent_before)


async def test_a_period_that_was_skipped_here_takes_its_schedule_back(shop: Shop) -> None:
    # given
    await shop.taken_over()
    now = shop.rig.clock.now()
    asked = {"reason": "goodwill", "actor": "kim", "now": now}
    await cycles.hold_cycle(shop.rig.database.claims, THEIRS, **asked)

    # when
    await cycles.skip_cycle(shop.rig.database.claims, THEIRS, **asked, recheck_at=now + MINUTE)
    await shop.rig.reconcile_after(minutes=2)

    # then
    assert await statuses(shop.rig) == [(THEIRS, "REVOKED")]
    assert (await shop.rig.cycle())["status"] == "skipped"
