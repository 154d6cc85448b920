"""What an attempt's follower must not do on half a proof: resend, void, believe a refusal, or forget a payment."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from billing_worker.billing.charging import Voided
from billing_worker.billing.outcomes import Absent, Declined, Paid
from billing_worker.billing.states import Source
from billing_worker.store import attempts
from tests.conftest import DatabaseUrls
from tests.rig import ATTEMPT_LEASE, Rig, a_rig


@pytest.fixture
async def rig(database: DatabaseUrls) -> AsyncIterator[Rig]:
    async with a_rig(database) as made:
        yield made


async def silent(rig: Rig, billing_key: str = "bk-drop-charged-x2-1") -> str:
    """A cycle whose charge was sent and never answered; its payment_id."""
    payment_id = await rig.owe(billing_key=billing_key)
    await rig.charge()
    assert (await rig.attempt())["status"] == "open"
    return payment_id


async def claim(rig: Rig, shard: int) -> list[Any]:
    now = rig.clock.now()
    return await attempts.claim_looks(rig.database.claims, shard, now=now, lease_until=now + ATTEMPT_LEASE, limit=10)


async def test_a_resend_s_refusal_is_not_believed_before_a_look(rig: Rig) -> None:
    """The look found nothing yet; the first send was charged meanwhile, and then our secret was rotated."""
    # given
    payment_id = await silent(rig)
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])
    await rig.ask("POST", "/scripts", behaviour="401")

    # when
    await rig.crew.collector.send_again(claimed)

    # then
    attempt = await rig.attempt()
    assert (attempt["status"], attempt["source"]) == ("paid", "look")
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]


async def test_an_attempt_that_was_settled_meanwhile_is_not_sent_again(rig: Rig) -> None:
    """Nobody has claimed the look since, so its epoch is still ours; a person has closed the attempt."""
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])
    sent = len(await rig.posts())

    # when
    await rig.crew.collector.settle(claimed.attempt, Voided(), Source.OPERATOR)
    await rig.crew.collector.send_again(claimed)

    # then
    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["last_sent_at"] < rig.clock.now()


async def test_a_closed_gate_keeps_an_attempt_from_being_voided(rig: Rig) -> None:
    """The clocks may disagree about whether a day has gone by, and what is voided is charged anew."""
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    rig.crew.gate.operator_order("price mistake")

    # when
    await rig.reconcile_after(hours=25)
    shut = await rig.attempt()
    rig.crew.gate.operator_order("")
    await rig.reconcile_after(hours=2)

    # then
    assert (shut["status"], (await rig.attempt())["status"]) == ("open", "voided")
    assert await rig.kinds() == ["intent", "voided"]


async def test_a_reconciler_that_stops_during_a_look_sends_nothing_again(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    sent = len(await rig.posts())
    look = rig.crew.collector.look

    async def look_and_stop(attempt: Any) -> Any:
        found = await look(attempt)
        rig.crew.reconciler.stop()
        return found

    rig.crew.collector.look = look_and_stop  # type: ignore[method-assign]

    # when
    counts = await rig.reconcile_after(minutes=3)

    # then
    assert counts.rows == 1
    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["look_at"] <= rig.clock.now() + rig.rules.ask_widest


async def test_a_payment_whose_verdict_came_second_is_looked_at_at_once(rig: Rig) -> None:
    """A person closed the attempt while its charge was under way, and PortOne has the money."""
    # given
    await silent(rig)
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])
    await rig.crew.collector.settle(claimed.attempt, Voided(), Source.OPERATOR)

    # when
    await rig.crew.collector.settle(claimed.attempt, Paid("pg-1", rig.clock.now()), Source.ANSWER)
    look_at = (await rig.attempt())["look_at"]
    await rig.reconcile()

    # then
    assert look_at == rig.clock.now()
    assert (await rig.cycle())["status"] == "paid"
    assert await rig.kinds() == ["intent", "voided", "corrected", "paid"]


async def test_a_billing_key_that_portone_s_record_quotes_is_not_kept(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])

    # when
    quoting = Declined("51", "no funds on bk-drop-uncharged-xall-1")
    await rig.crew.collector.settle(claimed.attempt, quoting, Source.LOOK)

    # then
    assert (await rig.attempt())["decline_message"] == "no funds on (billing key)"
    assert "bk-drop" not in "".join(str(dict(entry)) for entry in await rig.entries())
    assert "bk-drop" not in await rig.admin.fetchval("SELECT string_agg(payload::text, '') FROM billing.outbox")


async def test_a_payment_without_a_list_of_tries_is_no_proof_of_absence(rig: Rig) -> None:
    """PortOne shows the first try's FAILED and says in the same minute that it knows no try at all."""
    # given
    await rig.owe(billing_key="bk-soft-funds-1")
    await rig.charge()
    await rig.pass_time(days=1, minutes=1)
    await rig.ask("POST", "/scripts", behaviour="drop-uncharged", times=2)
    await rig.charge()
    sent = len(await rig.posts())

    async def knows_none(payment_id: str) -> Any:
        return Absent()

    rig.portone.transactions = knows_none  # type: ignore[method-assign]

    # when
    for _ in range(30):
        await rig.reconcile_after(hours=1)

    # then
    assert len(await rig.posts()) == sent
    assert [attempt["status"] for attempt in await rig.attempts()] == ["declined", "open"]
