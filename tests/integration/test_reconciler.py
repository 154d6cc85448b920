"""The reconciler against a simulated PortOne: it asks until it knows, and it never opens an attempt."""

from datetime import timedelta
from typing import Any

from billing_worker.store import attempts
from billing_worker.workers.gate import ClosedBy
from tests.rig import ATTEMPT_LEASE, Rig


async def silent(rig: Rig, billing_key: str = "bk-drop-charged-x2-1") -> str:
    """A cycle whose charge was sent and never answered; its payment_id."""
    payment_id = await rig.owe(billing_key=billing_key)
    await rig.charge()
    assert (await rig.attempt())["status"] == "open"
    return payment_id


async def test_a_charge_that_was_never_answered_is_settled_by_asking(rig: Rig) -> None:
    # given
    payment_id = await silent(rig)

    # when
    await rig.reconcile_after(minutes=3)

    # then
    attempt = await rig.attempt()
    assert (attempt["status"], attempt["source"]) == ("paid", "look")
    assert attempt["verified_at"] == rig.clock.now()
    assert await rig.kinds() == ["intent", "paid"]
    assert len(await rig.tries(payment_id)) == 1


async def test_an_attempt_is_not_asked_about_before_its_moment(rig: Rig) -> None:
    await silent(rig)

    early = await rig.reconcile_after(seconds=19)
    due = await rig.reconcile_after(seconds=2)

    assert (early.rows, due.rows) == (0, 1)


async def test_what_portone_has_never_heard_of_is_sent_again_under_the_same_key_with_the_same_bytes(rig: Rig) -> None:
    # given
    payment_id = await silent(rig, "bk-drop-uncharged-x2-1")

    # when
    await rig.reconcile_after(hours=2)

    # then
    keys = {(post["idempotency_key"], post["body_sha256"]) for post in await rig.posts()}
    assert len(keys) == 1
    assert len(await rig.attempts()) == 1
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]
    assert (await rig.cycle())["status"] == "paid"


async def test_it_asks_before_it_sends_again(rig: Rig) -> None:
    """Past the key's memory a resend would be a second charge; within it, a look is still the cheaper question."""
    await silent(rig)
    sent = len(await rig.posts())

    await rig.reconcile_after(minutes=3)

    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["status"] == "paid"


async def test_the_resend_is_written_down_before_it_leaves(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-x2-1")
    await rig.pass_time(minutes=3)
    await rig.ask("POST", "/hold", at="before_charge")

    # when
    await rig.crew.reconciler.run_once(rig.clock.now())
    await rig.held_requests("held_before_charge")

    # then
    attempt = await rig.attempt()
    assert attempt["last_sent_at"] == rig.clock.now()
    assert attempt["look_at"] == rig.clock.now() + ATTEMPT_LEASE
    await rig.ask("POST", "/release")
    await rig.crew.looks.drained()


async def test_nothing_is_sent_again_once_portone_may_have_forgotten_the_key(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.reconcile_after(hours=2)
    sent = len(await rig.posts())

    # when
    await rig.pass_time(minutes=31)
    for _ in range(6):
        await rig.reconcile_after(hours=1)

    # then
    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["status"] == "open"


async def test_an_attempt_is_voided_a_day_after_its_last_send_and_the_next_has_the_same_payment_id(rig: Rig) -> None:
    # given
    payment_id = await silent(rig, "bk-drop-uncharged-x4-1")
    await rig.reconcile_after(hours=2)
    sent = len(await rig.posts())

    # when
    await rig.reconcile_after(hours=23, minutes=59)
    before = (await rig.attempt())["status"]
    await rig.reconcile_after(hours=1)
    await rig.charge()

    # then
    first, second = await rig.attempts()
    assert sent == 4
    assert (before, first["status"], second["status"]) == ("open", "voided", "paid")
    assert first["payment_id"] == second["payment_id"] == payment_id
    assert first["idempotency_key"] != second["idempotency_key"]
    assert await rig.kinds() == ["intent", "voided", "intent", "paid"]
    assert (await rig.cycle())["declines_count"] == 0


async def test_a_key_that_is_refused_for_being_too_fast_is_sent_again_later(rig: Rig) -> None:
    payment_id = await rig.owe(billing_key="bk-429-x2-1")

    await rig.charge()
    for _ in range(3):
        await rig.reconcile_after(minutes=5)

    assert (await rig.cycle())["status"] == "paid"
    assert len(await rig.tries(payment_id)) == 1


async def test_a_charge_that_portone_hides_for_a_while_is_not_made_again(rig: Rig) -> None:
    # given
    payment_id = await rig.owe(billing_key="bk-invisible-1")
    await rig.ask("POST", "/reset", options={"invisible_seconds": 7200})

    # when
    await rig.charge()
    for _ in range(8):
        await rig.reconcile_after(minutes=30)

    # then
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]
    assert (await rig.cycle())["status"] == "paid"
    assert len(await rig.attempts()) == 1


async def test_an_unreachable_portone_is_no_verdict_however_long(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.ask("POST", "/scripts", behaviour="html502", times=100, on="any")

    # when
    for _ in range(30):
        await rig.reconcile_after(hours=2)

    # then
    attempt = await rig.attempt()
    assert attempt["status"] == "open"
    assert rig.clock.now() < attempt["look_at"] <= rig.clock.now() + rig.rules.ask_widest
    assert await rig.kinds() == ["intent"]


async def test_a_retry_s_decline_is_told_from_the_first_one_s(rig: Rig) -> None:
    """PortOne's payment shows an older try's FAILED while the retry is lost on its way."""
    # given
    payment_id = await rig.owe(billing_key="bk-soft-funds-1")
    await rig.charge()
    await rig.pass_time(days=1, minutes=1)
    await rig.ask("POST", "/scripts", behaviour="drop-uncharged", times=2)

    # when
    await rig.charge()
    between = (await rig.attempt())["status"]
    await rig.reconcile_after(minutes=3)

    # then
    first, second = await rig.attempts()
    assert between == "open"
    assert (first["status"], second["status"]) == ("declined", "declined")
    assert first["transaction_id"] != second["transaction_id"]
    assert len(await rig.tries(payment_id)) == 2
    assert (await rig.cycle())["declines_count"] == 2


async def test_an_older_decline_alone_never_ends_an_attempt(rig: Rig) -> None:
    """The payment shows the first try's FAILED, and the list in which ours would be is not to be had."""
    # given
    await rig.owe(billing_key="bk-soft-funds-1")
    await rig.charge()
    await rig.pass_time(days=1, minutes=1)
    await rig.ask("POST", "/scripts", behaviour="drop-uncharged", times=2)
    await rig.charge()
    list_tries = rig.portone.transactions

    async def fails(payment_id: str) -> Any:
        await rig.ask("POST", "/scripts", behaviour="html502", on="look")
        return await list_tries(payment_id)

    rig.portone.transactions = fails  # type: ignore[method-assign]

    # when
    for _ in range(30):
        await rig.reconcile_after(hours=1)

    # then
    assert [attempt["status"] for attempt in await rig.attempts()] == ["declined", "open"]


async def test_a_closed_gate_keeps_the_resend_and_not_the_look(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-x2-1")
    rig.crew.gate.operator_order("price mistake")
    sent = len(await rig.posts())

    # when
    counts = await rig.reconcile_after(minutes=3)

    # then
    closed = rig.crew.gate.closed()
    assert closed is not None
    assert closed.by is ClosedBy.OPERATOR
    assert counts.rows == 1
    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["status"] == "open"


async def test_a_reconciler_that_was_overtaken_sends_nothing(rig: Rig) -> None:
    # given
    await silent(rig, "bk-drop-uncharged-xall-1")
    await rig.pass_time(minutes=3)
    sent = len(await rig.posts())
    shard = (await rig.attempt())["shard"]

    # when
    [slow] = await claim(rig, shard)
    await rig.pass_time(minutes=3)
    [quick] = await claim(rig, shard)
    await rig.crew.collector.send_again(slow, decided=rig.clock.monotonic())

    # then
    assert quick.look_epoch == slow.look_epoch + 1
    assert len(await rig.posts()) == sent
    assert (await rig.attempt())["last_sent_at"] < rig.clock.now() - timedelta(minutes=5)


async def test_two_reconcilers_never_follow_one_attempt_at_a_time(rig: Rig) -> None:
    # given
    for number in range(20):
        await rig.owe(f"sub-{number}", f"bk-drop-charged-x2-{number}")
    await rig.charge()
    other = rig.hire("worker-2")
    await rig.pass_time(minutes=3)

    # when
    first = await rig.crew.reconciler.run_once(rig.clock.now())
    second = await other.reconciler.run_once(rig.clock.now())
    await rig.crew.looks.drained()
    await other.looks.drained()

    # then
    assert first.rows + second.rows == 20
    assert await rig.admin.fetchval("SELECT count(*) FROM billing.ledger WHERE kind = 'paid'") == 20


async def test_a_held_attempt_is_asked_about_as_rarely_as_any_other(rig: Rig) -> None:
    """It stays open until a person decides, and must not be looked at at the end of every lease."""
    # given
    await silent(rig)
    await rig.admin.execute("UPDATE billing.attempts SET amount_minor = 12000")
    await rig.reconcile_after(minutes=3)

    # when
    looks = [(await rig.reconcile_after(minutes=20)).rows for _ in range(9)]

    # then
    assert (await rig.cycle())["status"] == "held"
    assert sum(looks) == 3
    assert await rig.kinds() == ["intent", "mismatch"]


async def claim(rig: Rig, shard: int) -> list[Any]:
    now = rig.clock.now()
    return await attempts.claim_looks(rig.database.claims, shard, now=now, lease_until=now + ATTEMPT_LEASE, limit=10)
