"""Reviews against a simulated PortOne: a paid attempt is compared once more, and a late truth is corrected by name."""

from datetime import timedelta

from billing_worker.billing.outcomes import Paid, Payment
from billing_worker.billing.states import Source
from billing_worker.store import attempts, cycles
from tests.builders import a_policy, some_rules
from tests.conftest import DatabaseUrls
from tests.rig import ATTEMPT_LEASE, Rig, a_rig


async def test_a_paid_answer_is_compared_with_portone_s_record_later(rig: Rig) -> None:
    # given
    payment_id = await rig.owe()
    await rig.charge()
    unverified = (await rig.attempt())["verified_at"]

    # when
    await rig.reconcile_after(minutes=11)

    # then
    attempt, [tried] = await rig.attempt(), await rig.tries(payment_id)
    assert unverified is None
    assert attempt["verified_at"] == rig.clock.now()
    assert attempt["transaction_id"] == tried["transactionId"]
    assert attempt["look_at"] is None
    assert await rig.kinds() == ["intent", "paid"]


async def test_a_refund_that_the_record_shows_is_entered_once(rig: Rig) -> None:
    # given
    payment_id = await rig.owe()
    await rig.charge()
    await rig.refund(payment_id, 900)

    # when
    await rig.reconcile_after(minutes=11)
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", rig.clock.now())
    await rig.reconcile()

    # then
    refunds = [entry["amount_minor"] for entry in await rig.entries() if entry["kind"] == "refunded"]
    assert refunds == [900]


async def test_a_paid_cycle_that_is_contradicted_is_on_the_exceptions_list_until_the_record_agrees(rig: Rig) -> None:
    # given
    await rig.owe()
    await rig.charge()
    await rig.admin.execute("UPDATE billing.attempts SET amount_minor = 12000")
    await rig.reconcile_after(minutes=11)

    # when
    listed = await rig.admin.fetch("SELECT * FROM billing.exceptions")
    await rig.admin.execute("UPDATE billing.attempts SET amount_minor = 9900, look_at = $1", rig.clock.now())
    await rig.reconcile()

    # then
    assert ["amount is 9900, asked for 12000" in row["held_reason"] for row in listed] == [True]
    assert await rig.admin.fetch("SELECT * FROM billing.exceptions") == []


async def test_a_difference_that_a_person_has_accepted_does_not_come_back(rig: Rig) -> None:
    # given
    payment_id = await rig.owe()
    await rig.charge()
    await rig.admin.execute("UPDATE billing.attempts SET amount_minor = 12000")
    await rig.reconcile_after(minutes=11)
    assert await cycles.accept_cycle(rig.database.claims, payment_id, reason="agreed by phone", actor="kim")

    # when
    await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", rig.clock.now())
    await rig.reconcile()

    # then
    assert await rig.admin.fetch("SELECT * FROM billing.exceptions") == []
    assert await rig.kinds() == ["intent", "paid", "mismatch", "operator"]


async def test_a_paid_answer_that_portone_s_record_contradicts_stays_paid_and_is_said_once(rig: Rig) -> None:
    # given
    await rig.owe()
    await rig.charge()
    await rig.admin.execute("UPDATE billing.attempts SET amount_minor = 12000")

    # when
    for _ in range(5):
        await rig.reconcile_after(hours=3)
        await rig.admin.execute("UPDATE billing.attempts SET look_at = $1", rig.clock.now())

    # then
    assert (await rig.cycle())["status"] == "paid"
    assert await rig.kinds() == ["intent", "paid", "mismatch"]


async def test_a_decline_that_turns_out_paid_is_corrected_by_name(rig: Rig) -> None:
    # given
    payment_id = await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    before = await rig.cycle()

    # when
    for _ in range(6):
        await rig.reconcile_after(hours=1, seconds=1)

    # then
    cycle, entries = await rig.cycle(), await rig.entries()
    assert (before["status"], cycle["status"]) == ("due", "paid")
    assert [entry["kind"] for entry in entries] == ["intent", "declined", "corrected", "paid"]
    assert entries[2]["code"] == "declined"
    assert (await rig.attempt())["status"] == "paid"
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]


async def test_an_attempt_whose_cycle_an_older_one_has_paid_is_not_asked_about_without_end(rig: Rig) -> None:
    """The older decline turned out paid while the newer attempt was refused: the payment is the older one's."""
    # given
    await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    await rig.pass_time(days=1, seconds=1)
    shard, now = (await rig.attempt())["shard"], rig.clock.now()
    [older] = await attempts.claim_looks(rig.database.claims, shard, now=now, lease_until=now + ATTEMPT_LEASE, limit=10)
    await rig.ask("POST", "/scripts", behaviour="401")
    await rig.charge()
    found = await rig.crew.collector.look(older.attempt)
    assert isinstance(found, Payment)
    paid = Paid(found.pg_tx_id or "", found.paid_at or now, found.transaction_id)
    await rig.crew.verdicts.settle(older.attempt, paid, Source.LOOK)
    assert [one["status"] for one in await rig.attempts()] == ["paid", "refused"]

    # when
    looked = sum([(await rig.reconcile_after(hours=3, seconds=1)).rows for _ in range(20)])

    # then
    assert (await rig.cycle())["status"] == "paid"
    assert looked <= 2
    assert [one["look_at"] for one in await rig.attempts()] == [None, None]


async def test_a_closed_attempt_is_looked_at_at_the_moments_of_the_rules(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-hard-lost-1")
    await rig.charge()

    # when
    looked = [hour for hour in range(1, 31) if (await rig.reconcile_after(hours=1, seconds=1)).rows]

    # then
    assert looked == [1, 6, 24]
    assert (await rig.attempt())["look_at"] is None
    assert await rig.kinds() == ["intent", "declined", "given_up"]


async def test_an_older_decline_is_left_to_the_newer_attempt(database: DatabaseUrls) -> None:
    """Attempt 1 was declined and turns paid while attempt 2 is being collected: attempt 2 finds it."""
    rules = some_rules(recheck_after=(timedelta(minutes=62),))
    async with a_rig(database, rules=rules, policy=a_policy(0.04), late_success_seconds=61.5 * 60) as rig:
        # given
        payment_id = await rig.owe(billing_key="bk-late-success-1")
        await rig.charge()
        await rig.pass_time(minutes=61)
        hold = await rig.ask("POST", "/hold", at="before_charge")
        await rig.crew.charger.run_once(rig.clock.now())
        await rig.held_requests("held_before_charge")

        # when
        reviewed = await rig.reconcile_after(seconds=90)
        between = [attempt["status"] for attempt in await rig.attempts()]
        await rig.ask("POST", "/release", **hold)
        await rig.crew.charges.drained()
        await rig.reconcile_after(minutes=5)

        # then
        assert reviewed.rows == 1
        assert between == ["declined", "open"]
        assert [attempt["status"] for attempt in await rig.attempts()] == ["declined", "paid"]
        assert await rig.kinds() == ["intent", "declined", "intent", "corrected", "paid"]
        assert [one["status"] for one in await rig.tries(payment_id)].count("PAID") == 1


async def test_money_for_a_cycle_that_somebody_skipped_is_still_entered(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    recheck_at = rig.clock.now() + timedelta(hours=1)
    payment_id = (await rig.cycle())["payment_id"]
    skipped = await cycles.skip_cycle(
        rig.database.claims, payment_id, reason="asked us to", actor="kim", now=rig.clock.now(), recheck_at=recheck_at
    )

    # when
    for _ in range(6):
        await rig.reconcile_after(hours=1, seconds=1)

    # then
    assert skipped
    assert (await rig.cycle())["status"] == "paid"
    assert await rig.kinds() == ["intent", "declined", "skipped", "corrected", "paid"]


async def test_money_of_another_sum_for_a_skipped_cycle_is_put_before_a_person(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    await rig.admin.execute("UPDATE billing.cycles SET status = 'skipped'")
    await rig.admin.execute("UPDATE billing.attempts SET amount_minor = 12000")

    # when
    for _ in range(6):
        await rig.reconcile_after(hours=1, seconds=1)

    # then
    assert (await rig.cycle())["status"] == "held"
    assert (await rig.kinds())[-1] == "mismatch"
