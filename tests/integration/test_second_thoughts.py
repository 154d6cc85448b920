"""What an attempt's follower must not do on half a proof: resend, void, believe a refusal, or forget a payment."""

from typing import Any

import httpx

from billing_worker.billing.charging import Voided
from billing_worker.billing.outcomes import Absent, Declined, Paid, RefusalScope, Refused
from billing_worker.billing.states import Source
from billing_worker.portone.transport import AiohttpTransport
from billing_worker.store import attempts
from tests.conftest import DatabaseUrls
from tests.rig import ATTEMPT_LEASE, Rig, a_rig


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
    await rig.crew.collector.send_again(claimed, decided=rig.clock.monotonic())

    # then
    attempt = await rig.attempt()
    assert (attempt["status"], attempt["source"]) == ("paid", "look")
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]


async def test_a_refusal_held_by_a_frozen_worker_does_not_close_an_attempt_that_another_has_sent_again(
    rig: Rig,
) -> None:
    """A 401 came, its worker slept past its lease, and PortOne has charged the next worker's send of the attempt."""
    # given
    payment_id = await silent(rig, "bk-drop-uncharged-x2-1")
    await rig.pass_time(minutes=3)
    shard = (await rig.attempt())["shard"]
    [stale] = await claim(rig, shard)
    await rig.pass_time(seconds=ATTEMPT_LEASE.total_seconds() + 1)
    await rig.ask("POST", "/hold", at="after_charge")
    await rig.crew.reconciler.run_once(rig.clock.now())
    await rig.held_requests("held_after_charge")

    # when
    refused = Refused("UNAUTHORIZED", "", RefusalScope.CHANNEL)
    await rig.crew.verdicts.settle(stale.attempt, refused, Source.ANSWER)
    await rig.crew.verdicts.settle(stale.attempt, Voided(), Source.LOOK)

    # then
    assert (await rig.attempt())["status"] == "open"
    await rig.ask("POST", "/release")
    await rig.crew.looks.drained()
    assert (await rig.attempt())["status"] == "paid"
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]
    assert "corrected" not in await rig.kinds()


async def test_who_slept_over_an_attempt_does_not_take_it_from_the_one_who_sends_it_again(rig: Rig) -> None:
    # given
    await silent(rig)
    await rig.pass_time(minutes=3)
    [stale] = await claim(rig, (await rig.attempt())["shard"])
    now = rig.clock.now()
    lease_until = now + ATTEMPT_LEASE
    assert await attempts.note_resend(rig.database.outcomes, stale, now=now, look_at=lease_until)

    # when
    await attempts.ask_again(rig.database.outcomes, [(stale.attempt, now)])

    # then
    assert (await rig.attempt())["look_at"] == lease_until


async def test_money_found_by_a_frozen_worker_is_never_too_late(rig: Rig) -> None:
    # given
    await silent(rig)
    await rig.pass_time(minutes=3)
    [stale] = await claim(rig, (await rig.attempt())["shard"])
    await rig.admin.execute("UPDATE billing.attempts SET last_sent_at = last_sent_at + interval '1 minute'")

    # when
    await rig.crew.verdicts.settle(stale.attempt, Paid("kpn-1", rig.clock.now()), Source.ANSWER)

    # then
    assert (await rig.attempt())["status"] == "paid"


async def test_nothing_found_before_a_machine_fell_asleep_voids_nothing_when_it_wakes(database: DatabaseUrls) -> None:
    """PortOne's 404 lay in the socket for a day; the payment came to be shown a second after it was asked for."""
    naps: list[float] = []

    class Asleep(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if request.method == "GET" and naps:
                await rig.pass_time(hours=naps.pop())
            return response

    async with a_rig(database, transport=Asleep) as rig:
        # given
        await rig.owe(billing_key="bk-drop-charged-x2-1")
        payment_id = (await rig.cycle())["payment_id"]
        await rig.ask("POST", "/scripts", behaviour="invisible", times=1, paymentId=payment_id)
        await rig.charge()

        # when
        naps.append(25.0)
        await rig.reconcile_after(seconds=21)

        # then
        assert (await rig.attempt())["status"] == "open"
        await rig.reconcile_after(hours=2)
        assert (await rig.attempt())["status"] == "paid"
        assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]


async def test_an_attempt_that_was_settled_meanwhile_is_not_sent_again(rig: Rig) -> None:
    """Nobody has claimed the look since, so its epoch is still ours; a person has closed the attempt."""
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])
    sent = len(await rig.posts())

    # when
    await rig.crew.verdicts.settle(claimed.attempt, Voided(), Source.OPERATOR)
    await rig.crew.collector.send_again(claimed, decided=rig.clock.monotonic())

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


async def test_a_payment_whose_verdict_came_second_is_looked_at_soon(rig: Rig) -> None:
    """A person closed the attempt while its charge was under way, and PortOne has the money."""
    # given
    await silent(rig)
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])
    await rig.crew.verdicts.settle(claimed.attempt, Voided(), Source.OPERATOR)

    # when
    await rig.crew.verdicts.settle(claimed.attempt, Paid("pg-1", rig.clock.now()), Source.ANSWER)
    await rig.reconcile_after(seconds=rig.rules.ask_first.total_seconds() + 1)

    # then
    assert (await rig.cycle())["status"] == "paid"
    assert await rig.kinds() == ["intent", "voided", "corrected", "paid"]


async def test_a_billing_key_that_portone_s_record_quotes_is_not_kept(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.pass_time(minutes=3)
    [claimed] = await claim(rig, (await rig.attempt())["shard"])

    # when
    quoting = Declined("51", "no funds on bk-drop-uncharged-xall-1")
    await rig.crew.verdicts.settle(claimed.attempt, quoting, Source.LOOK)

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
