"""Bookings that are taken back against PortOne's will, or too late: what they cost, and who is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from billing_worker.billing.booking import Revoke
from billing_worker.billing.model import Attempt
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Paid
from billing_worker.billing.states import Mode, Source
from billing_worker.store import attempts, cycles, ledger, subscriptions
from billing_worker.workers.gate import ClosedBy
from tests.builders import a_cadence, a_plan
from tests.rig import Rig

FAR = datetime(2100, 1, 1, tzinfo=UTC)


async def booked(rig: Rig) -> None:
    """A cycle of two days from now that has been booked at PortOne."""
    due = (rig.clock.now() + timedelta(days=2)).replace(microsecond=0)
    cadence = replace(a_cadence(), anchor_on=due.date(), zone="UTC", charge_at=due.time())
    await rig.subscribe(replace(a_plan(), cadence=cadence, mode=Mode.SCHEDULE))
    await rig.crew.renewer.run_once(rig.clock.now())
    await rig.charge()


async def cost(rig: Rig, amount_minor: int) -> None:
    """An import brings another price."""
    async with rig.database.claims.transaction() as transaction:
        known = (await subscriptions.find_subscriptions(transaction, ["sub-1"]))["sub-1"]
        new = [(known, replace(known.plan, price=Money(amount_minor, "KRW")))]
        await subscriptions.change_subscriptions(transaction, new, now=rig.clock.now())


async def claimed(rig: Rig) -> Attempt:
    shard = (await rig.attempt())["shard"]
    [look] = await attempts.claim_looks(rig.database.claims, shard, now=FAR, lease_until=FAR, limit=1)
    return look.attempt


async def test_a_booking_that_was_taken_back_and_turns_out_paid_costs_what_was_paid(rig: Rig) -> None:
    # given
    await booked(rig)
    await cost(rig, 12_900)
    await rig.reconcile_after(minutes=2)
    assert ((await rig.attempt())["status"], (await rig.cycle())["amount_minor"]) == ("revoked", 12_900)

    # when
    attempt = await claimed(rig)
    await rig.crew.verdicts.settle(attempt, Paid("kpn-1", rig.clock.now()), Source.LOOK)

    # then
    assert ((await rig.cycle())["status"], (await rig.cycle())["amount_minor"]) == ("paid", 9900)
    notes = [entry["message"] for entry in await rig.entries() if entry["kind"] in {"revoked", "corrected"}]
    assert [note.partition(";")[0] for note in notes] == [
        "the period costs 12900 now, not 9900",
        "the period costs 9900 now, not 12900",
    ]
    assert (await ledger.verify_shard(rig.database.claims, attempt.shard))[1] == []


async def test_a_revocation_that_is_refused_for_our_secret_is_counted_and_stops_sending(rig: Rig) -> None:
    # given
    await booked(rig)
    await rig.cancel()
    attempt = await claimed(rig)
    booker = rig.crew.reconciler._booker
    await rig.ask("POST", "/scripts", behaviour="401", on="revoke")

    # when
    await booker.revoke(attempt, Revoke(attempt.schedule_id or ""), send_before=rig.clock.monotonic() + 60)

    # then
    refused = {"outcome": "refused"}
    assert rig.crew.metrics.registry.get_sample_value("billing_revocations_total", refused) == 1
    closed = rig.crew.gate.closed()
    assert closed is not None
    assert closed.by is ClosedBy.CHANNEL


async def test_the_backlog_counts_what_is_to_be_taken_back_whatever_became_of_its_period(rig: Rig) -> None:
    # given
    await booked(rig)
    before = await cycles.backlog(rig.database.claims, rig.clock.now())

    # when
    await rig.cancel()
    wanted_back = await cycles.backlog(rig.database.claims, rig.clock.now())
    await rig.reconcile_after(minutes=2)
    afterwards = await cycles.backlog(rig.database.claims, rig.clock.now())

    # then
    assert (before.to_take_back, before.first_unwanted_at) == (0, None)
    assert (wanted_back.to_take_back, wanted_back.first_unwanted_at) == (1, (await rig.attempt())["time_to_pay"])
    assert (afterwards.to_take_back, afterwards.first_unwanted_at) == (0, None)
