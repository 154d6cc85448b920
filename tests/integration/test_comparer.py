"""The comparer: every way in which PortOne's payments can differ from ours is named once, and ended when gone."""

import asyncio
from datetime import timedelta

import pytest

from billing_worker.billing.comparison import COMPARED_IN
from billing_worker.store import cycles, differences
from billing_worker.workers.findings import Passed
from tests.builders import eventually
from tests.conftest import DatabaseUrls
from tests.pulling import (
    BACK,
    DyingDatabase,
    KilledError,
    a_comparer,
    at_portone,
    compare,
    mismatches,
    pay,
    run,
    standing,
)
from tests.rig import Rig, a_rig

UNKNOWN = "rb1" + "x" * 27


async def paid(rig: Rig, business_key: str = "sub-1", billing_key: str = "bk-ok-1") -> str:
    """A cycle that is paid and verified, some time ago."""
    of = await rig.owe(business_key, billing_key)
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    await rig.pass_time(minutes=10)
    return of


async def no_looks(rig: Rig) -> None:
    await rig.admin.execute("UPDATE billing.attempts SET look_at = NULL WHERE status <> 'open'")


async def test_books_that_agree_differ_in_nothing(rig: Rig) -> None:
    # given
    for number in range(7):
        await paid(rig, f"sub-{number}")

    # when
    found = await compare(rig)

    # then
    assert found == []
    assert await mismatches(rig) == []


async def test_a_payment_that_another_system_made_is_foreign_and_left_alone(rig: Rig) -> None:
    # given
    await pay(rig, "shoporder000001")
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)

    # then
    assert found == [("foreign", "shoporder000001")]


async def test_a_payment_of_our_form_without_a_cycle_is_named(rig: Rig) -> None:
    # given
    await pay(rig, UNKNOWN)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)

    # then
    assert found == [("unknown_cycle", UNKNOWN)]


async def test_a_payment_that_we_do_not_know_is_named_and_adopted(rig: Rig) -> None:
    # given
    await rig.ask("POST", "/scripts", behaviour="drop-charged", times=2)
    of = await rig.owe()
    await rig.charge()
    await rig.pass_time(minutes=10)
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", rig.clock.now() + timedelta(days=3))

    # when
    found = await compare(rig)
    await rig.admin.execute("UPDATE billing.attempts SET look_epoch = 1")
    again = await compare(rig)
    await rig.reconcile()
    afterwards = await compare(rig)

    # then
    assert found == again == [("paid_unknown", of)]
    assert (await rig.cycle())["status"] == "paid"
    assert afterwards == []
    assert await mismatches(rig) == ["paid_unknown"]


async def test_a_payment_on_a_cycle_that_was_never_tried_is_named(rig: Rig) -> None:
    # given
    of = await rig.owe()
    await pay(rig, of)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)
    await rig.charge()
    await rig.pass_time(minutes=10)
    adopted = await compare(rig)

    # then
    assert found == [("paid_unknown", of)]
    assert (await rig.cycle())["status"] == "paid"
    assert adopted == []


async def test_a_payment_of_a_skipped_cycle_that_was_never_tried_is_adopted(rig: Rig) -> None:
    # given
    of = await rig.owe()
    await pay(rig, of)
    now = rig.clock.now()
    await cycles.skip_cycle(rig.database.claims, of, reason="goodwill", actor="kim", now=now, recheck_at=now)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)
    await rig.reconcile()
    await rig.pass_time(minutes=10)
    afterwards = await compare(rig)

    # then
    assert found == [("paid_unknown", of)]
    assert (await rig.cycle())["status"] == "paid"
    assert afterwards == []
    assert await rig.kinds() == ["skipped", "intent", "mismatch", "paid"]


async def test_a_decline_that_turned_out_paid_is_a_late_flip_and_corrected(rig: Rig) -> None:
    # given
    of = await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    await no_looks(rig)
    await rig.pass_time(hours=3)

    # when
    found = await compare(rig)
    await rig.reconcile()
    afterwards = await compare(rig)

    # then
    assert found == [("late_flip", of)]
    assert (await rig.cycle())["status"] == "paid"
    assert afterwards == []
    ended = await rig.admin.fetchval("SELECT ended_at FROM billing.differences")
    assert ended is not None


async def test_a_payment_that_portone_does_not_know_is_missing_there(rig: Rig) -> None:
    # given
    of = await paid(rig)
    await rig.ask("POST", "/reset")
    await rig.ask("POST", "/clock", advance_seconds=1300)

    # when
    found = await compare(rig)

    # then
    assert found == [("missing_there", of)]
    assert (await rig.cycle())["status"] == "paid"


async def test_what_portone_only_does_not_list_is_not_called_missing(rig: Rig) -> None:
    # given
    await paid(rig)
    await rig.admin.execute("UPDATE billing.attempts SET paid_at = paid_at - interval '3 days'")

    # when
    found = await compare(rig)

    # then
    assert found == []


async def test_another_amount_is_named(rig: Rig) -> None:
    # given
    of = await rig.owe()
    await pay(rig, of, 12_900)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)

    # then
    assert found == [("amount", of), ("paid_unknown", of)]


async def test_another_currency_is_named(rig: Rig) -> None:
    # given
    of = await rig.owe()
    order = {"billingKey": "bk-ok-9", "orderName": "x", "amount": {"total": 9900}, "currency": "USD"}
    await at_portone(rig, f"/payments/{of}/billing-key", **order)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)

    # then
    assert found == [("currency", of), ("paid_unknown", of)]


async def test_a_refund_at_the_console_is_named_entered_and_over(rig: Rig) -> None:
    # given
    of = await paid(rig)
    await rig.ask("POST", "/payments/refund", paymentId=of, amount=900)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)
    await rig.reconcile()
    afterwards = await compare(rig)

    # then
    assert found == [("refund_unknown", of)]
    assert [entry["amount_minor"] for entry in await rig.entries() if entry["kind"] == "refunded"] == [900]
    assert afterwards == []


async def test_a_dispute_stands_until_it_is_resolved(rig: Rig) -> None:
    # given
    of = await paid(rig)
    await rig.ask("POST", "/payments/dispute", paymentId=of, reason="not mine")
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig)
    again = await compare(rig)
    await rig.ask("POST", "/payments/resolve", paymentId=of)
    resolved = await compare(rig)

    # then
    assert found == again == [("disputed", of)]
    assert resolved == []
    assert await mismatches(rig) == ["disputed"]


async def test_two_paid_transactions_on_one_id_are_named(database: DatabaseUrls) -> None:
    # given
    async with a_rig(database, paid_check_is_atomic=False) as rig:
        of = await rig.owe(billing_key="bk-soft-funds-x1-1")
        await rig.charge()
        await rig.reconcile_after(minutes=1)
        await rig.pass_time(days=1)
        held = await rig.ask("POST", "/hold", at="before_charge", paymentId=of)
        charged = [asyncio.create_task(pay(rig, of, billing_key=f"bk-ok-{one}")) for one in range(2)]
        await eventually(lambda: both_held(rig))
        await rig.ask("POST", "/release", hold_id=held["hold_id"])
        await asyncio.gather(*charged)
        await rig.charge()
        await rig.pass_time(minutes=10)

        # when
        found = await compare(rig)
        again = await compare(rig)
        tries = await rig.tries(of)

        # then
        assert found == again == [("paid_twice", of)]
        what = await rig.admin.fetchval("SELECT what FROM billing.differences")
        assert all(one["transactionId"] in what for one in tries if one["status"] == "PAID")


@pytest.mark.parametrize(("behaviour", "expected"), [("drop-uncharged", True), ("ok", False)])
async def test_what_was_sent_more_than_once_is_known_as_such(rig: Rig, behaviour: str, expected: bool) -> None:
    # given
    await rig.ask("POST", "/scripts", behaviour=behaviour, times=2)
    of = await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=3)

    # when
    ours = await differences.our_cycles(rig.database.claims, [of])

    # then
    assert ours[of].sent_again is expected


async def both_held(rig: Rig) -> bool:
    found: int = (await rig.ask("GET", "/inflight?stage=held_before_charge"))["count"]
    return found == 2


@pytest.mark.parametrize("dies_before", ["order_looks", "note_differences", "move_position", "end_differences"])
async def test_a_comparison_that_was_killed_is_made_whole_by_the_next(rig: Rig, dies_before: str) -> None:
    # given
    for number in range(4):
        await rig.owe(f"sub-{number}", "bk-late-success-1")
    await rig.charge()
    await no_looks(rig)
    await rig.pass_time(hours=3)
    with pytest.raises(KilledError):
        await a_comparer(rig, claims=DyingDatabase(rig.database.claims, dies_before)).run_once(rig.clock.now())

    # when
    await rig.pass_time(minutes=5)
    await run(rig, a_comparer(rig))

    # then
    assert [name for name, _ in await standing(rig)] == ["late_flip"] * 4
    assert [await mismatches(rig, f"sub-{number}") for number in range(4)] == [["late_flip"]] * 4


async def test_a_difference_is_entered_once_however_often_it_is_seen(rig: Rig) -> None:
    # given
    of = await rig.owe()
    await pay(rig, of, 12_900)
    await rig.pass_time(minutes=10)

    # when
    for _ in range(3):
        await compare(rig)

    # then
    assert sorted(await mismatches(rig)) == ["amount", "paid_unknown"]
    assert await rig.admin.fetchval("SELECT count(*) FROM billing.differences") == 2


async def test_a_comparison_changes_nothing_but_looks_and_differences(rig: Rig) -> None:
    # given
    of = await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    await no_looks(rig)
    await pay(rig, UNKNOWN)
    await rig.pass_time(hours=3)
    query = (
        "SELECT c, a.status, a.last_sent_at, a.look_epoch FROM billing.cycles c JOIN billing.attempts a USING (shard)"
    )
    before = await rig.admin.fetch(query)

    # when
    await compare(rig)

    # then
    assert await rig.admin.fetch(query) == before
    assert (await rig.attempt())["look_at"] is not None
    assert len(await rig.tries(of)) == 1


async def test_it_runs_once_a_night(rig: Rig) -> None:
    # given
    nightly = a_comparer(rig)
    await run(rig, nightly)
    first = await rig.admin.fetchrow("SELECT * FROM billing.positions")

    # when
    await rig.pass_time(minutes=1)
    await run(rig, nightly)
    same = await rig.admin.fetchrow("SELECT * FROM billing.positions")
    await rig.pass_time(days=1)
    await run(rig, nightly)
    second = await rig.admin.fetchrow("SELECT * FROM billing.positions")

    # then
    assert first["claimable_at"].astimezone(COMPARED_IN).strftime("%H:%M") == "04:30"
    assert same == first
    assert second["position"] > first["position"]


async def test_what_was_compared_in_part_ends_nothing(rig: Rig) -> None:
    # given
    await pay(rig, UNKNOWN)
    await rig.pass_time(minutes=10)
    await compare(rig)
    await rig.pass_time(days=3)

    # when
    passed = await a_comparer(rig).compare_now(timedelta(days=1))

    # then
    assert passed is Passed.IN_PART
    assert await standing(rig) == [("unknown_cycle", UNKNOWN)]


async def test_two_comparisons_never_run_at_the_same_time(rig: Rig) -> None:
    # given
    now = rig.clock.now()
    await rig.admin.execute(
        "INSERT INTO billing.positions (name, position, reading_from, reading_until, started_at, claimable_at, epoch, "
        "moved_at) VALUES ('compare payments', $1, $1, $1, $1, $2, 1, $1)",
        now,
        now + timedelta(minutes=1),
    )

    # when
    nightly, by_hand = await a_comparer(rig).run_once(now), await a_comparer(rig).compare_now(BACK)

    # then
    assert (nightly.more, by_hand) == (False, None)
