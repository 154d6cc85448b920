"""What is taken back at PortOne's console or by the card company: entered and told once, the past untouched."""

import json
from typing import Any

import pytest

from billing_worker.billing.model import shard_of
from billing_worker.store import attempts, ledger
from tests.rig import Rig


@pytest.fixture
async def paid(rig: Rig) -> str:
    """The payment id of a cycle that is paid and verified."""
    of = await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    return of


async def looked(rig: Rig, of: str) -> None:
    """A look that a webhook, the feed or a comparison has ordered."""
    await attempts.look_soon(rig.database.claims, of, now=rig.clock.now())
    await rig.reconcile()


async def news(rig: Rig) -> list[tuple[str, int, str]]:
    """The entries since the payment."""
    kinds = ("refunded", "disputed")
    return [(one["kind"], one["amount_minor"], one["code"]) for one in await rig.entries() if one["kind"] in kinds]


async def told(rig: Rig) -> list[dict[str, Any]]:
    rows = await rig.admin.fetch("SELECT event_type, payload FROM billing.outbox ORDER BY event_id")
    return [{"event": row["event_type"]} | json.loads(row["payload"]) for row in rows][1:]


@pytest.mark.parametrize(("action", "code"), [("refund", "external"), ("chargeback", "chargeback")])
async def test_what_was_taken_back_is_entered_by_what_it_was(rig: Rig, paid: str, action: str, code: str) -> None:
    # given
    await rig.ask("POST", f"/payments/{action}", paymentId=paid, amount=900)

    # when
    for _ in range(2):
        await looked(rig, paid)

    # then
    assert await news(rig) == [("refunded", 900, code)]
    [event] = await told(rig)
    assert (event["event"], event["amount_minor"], event["code"]) == ("charge.refunded", 900, code)
    assert (await rig.cycle())["status"] == (await rig.attempt())["status"] == "paid"
    assert (await ledger.verify_shard(rig.database.claims, shard_of("sub-1")))[1] == []


@pytest.mark.parametrize(
    ("action", "kind", "event"),
    [("chargeback", "refunded", "charge.refunded"), ("dispute", "disputed", "charge.disputed")],
)
async def test_what_was_taken_back_before_its_payment_was_learnt_is_told_as_well(
    rig: Rig, action: str, kind: str, event: str
) -> None:
    # given
    of = await rig.owe()
    await rig.ask("POST", "/scripts", behaviour="drop-charged", times=2)
    await rig.charge()
    await rig.ask("POST", f"/payments/{action}", paymentId=of, reason="not mine")

    # when
    for _ in range(3):
        await rig.reconcile_after(minutes=3)

    # then
    assert await news(rig) == [(kind, 9900, action.replace("dispute", "disputed"))]
    assert [one["event"] for one in await told(rig)] == [event]
    assert await rig.kinds() == ["intent", "paid", kind]
    assert (await rig.cycle())["status"] == "paid"


async def test_several_between_two_looks_are_entered_each(rig: Rig, paid: str) -> None:
    # given
    await rig.refund(paid, 100)
    await looked(rig, paid)
    await rig.ask("POST", "/payments/refund", paymentId=paid, amount=200)
    await rig.ask("POST", "/payments/chargeback", paymentId=paid)

    # when
    await looked(rig, paid)

    # then
    assert await news(rig) == [
        ("refunded", 100, "refund"),
        ("refunded", 200, "external"),
        ("refunded", 9600, "chargeback"),
    ]


async def test_a_dispute_is_entered_once(rig: Rig, paid: str) -> None:
    # given
    await rig.ask("POST", "/payments/dispute", paymentId=paid, reason="not mine")

    # when
    for _ in range(3):
        await looked(rig, paid)

    # then
    assert await news(rig) == [("disputed", 9900, "disputed")]
    assert [event["event"] for event in await told(rig)] == ["charge.disputed"]
    assert (await ledger.verify_shard(rig.database.claims, shard_of("sub-1")))[1] == []


async def test_a_dispute_that_ends_in_a_chargeback_has_both_entries(rig: Rig, paid: str) -> None:
    # given
    await rig.ask("POST", "/payments/dispute", paymentId=paid, reason="not mine")
    await looked(rig, paid)
    await rig.ask("POST", "/payments/chargeback", paymentId=paid)

    # when
    await looked(rig, paid)

    # then
    assert await news(rig) == [("disputed", 9900, "disputed"), ("refunded", 9900, "chargeback")]
    assert (await rig.cycle())["status"] == "paid"
