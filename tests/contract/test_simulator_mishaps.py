"""What befalls the simulator's webhooks on the way, and sending them again by hand."""

import json

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from billing_worker.simulator.options import PRACTICE_WEBHOOK_SECRET
from tests.contract.receiver import listening, said, settled


@pytest.fixture
async def receiver(practice):
    async with listening() as receiver:
        await practice.tell("/webhooks", urls=[receiver.url])
        yield receiver


@pytest.mark.parametrize(("what", "count"), [("lose", 0), ("duplicate", 2)])
async def test_a_notice_can_be_lost_or_doubled(practice, receiver, what, count):
    payment_id = practice.new_id()
    await practice.tell("/webhooks/scripts", what=what, paymentId=payment_id)

    await practice.charge(payment_id)
    await settled(practice)
    await practice.charge(practice.new_id())
    await settled(practice)

    ids = [one.headers["webhook-id"] for one in receiver.came]
    assert len(ids) == count + 1
    assert len(set(ids[:count])) == min(count, 1)


async def test_a_delayed_notice_comes_out_of_order(practice, receiver):
    payment_id = practice.new_id()
    await practice.tell("/webhooks/scripts", what="delay", type="Transaction.Failed", seconds=600)

    await practice.charge(payment_id, "bk-soft-funds-x1-1")
    await practice.charge(payment_id, "bk-soft-funds-x1-1")
    await settled(practice)
    await practice.tell("/clock", advance_seconds=601)
    await settled(practice)

    bodies = [json.loads(one.body) for one in receiver.came]
    assert [one["type"] for one in bodies] == ["Transaction.Paid", "Transaction.Failed"]
    assert bodies[0]["timestamp"] > bodies[1]["timestamp"]


@pytest.mark.parametrize("what", ["wrong-secret", "old-timestamp", "unsigned"])
async def test_a_forged_notice_fails_its_verification(practice, receiver, what):
    payment_id = practice.new_id()

    await practice.tell("/webhooks/forge", what=what, paymentId=payment_id)
    shown = await settled(practice)

    [one] = receiver.came
    assert json.loads(one.body)["data"]["paymentId"] == payment_id
    with pytest.raises(WebhookVerificationError):
        Webhook(PRACTICE_WEBHOOK_SECRET).verify(one.body, one.headers)
    assert [one["forgery"] for one in shown["notices"]] == [what]


async def test_an_unknown_type_is_well_signed_and_comes_beside_the_true_one(practice, receiver):
    payment_id = practice.new_id()
    await practice.tell("/webhooks/scripts", what="unknown-type", paymentId=payment_id)

    await practice.charge(payment_id)
    await settled(practice)

    assert sorted(one["type"] for one in said(receiver.came)) == ["Transaction.Imagined", "Transaction.Paid"]


async def test_shares_let_chance_have_its_way_repeatably(practice):
    async with listening() as receiver:
        shares = {"webhook_loss": 0.3, "webhook_duplication": 0.3, "webhook_forgery": 0.3, "webhook_delay": 0.3}
        await practice.reset(webhook_urls=[receiver.url], seed=7, **shares)
        for _ in range(60):
            await practice.charge(practice.new_id())
        await settled(practice)
        await practice.tell("/clock", advance_seconds=601)
        counts = (await settled(practice))["counts"]

    for name in ("lost", "duplicated", "forged", "delayed"):
        assert 5 <= counts[name] <= 40, counts
    assert counts["told"] == 60


async def test_a_webhook_is_sent_again_by_hand(practice, receiver):
    payment_id = practice.new_id()
    await practice.charge(payment_id)
    await settled(practice)

    again = await practice.api.post(f"/payments/{payment_id}/resend-webhook", json={})
    await settled(practice)
    unknown = await practice.api.post(f"/payments/{payment_id}/resend-webhook", json={"webhookId": "never-was"})

    assert again.json()["webhook"]["trigger"] == "MANUAL"
    assert len({one.headers["webhook-id"] for one in receiver.came}) == 1
    assert len(receiver.came) == 2
    assert unknown.json()["type"] == "WEBHOOK_NOT_FOUND"


async def test_sending_again_by_hand_has_a_cap(practice, receiver):
    payment_id = practice.new_id()
    await practice.charge(payment_id)
    await settled(practice)

    answers = [await practice.api.post(f"/payments/{payment_id}/resend-webhook", json={}) for _ in range(11)]

    assert [one.status_code for one in answers] == [200] * 10 + [400]
    assert answers[-1].json()["type"] == "MAX_WEBHOOK_RETRY_COUNT_REACHED"


async def test_a_forged_notice_is_not_sent_again(practice, receiver):
    receiver.answers = [401]

    await practice.tell("/webhooks/forge", what="wrong-secret")
    await settled(practice)
    await practice.tell("/clock", advance_seconds=86_400)

    assert (await settled(practice))["counts"]["sends"] == 1


async def test_what_was_sent_by_hand_is_not_sent_again_at_its_time(practice, receiver):
    payment_id = practice.new_id()
    receiver.answers = [500, 200]
    await practice.charge(payment_id)
    await settled(practice)

    await practice.api.post(f"/payments/{payment_id}/resend-webhook", json={})
    await settled(practice)
    await practice.tell("/clock", advance_seconds=86_400)

    assert (await settled(practice))["counts"]["sends"] == 2
