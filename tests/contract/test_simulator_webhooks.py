"""Webhooks of the simulator: signed, sent again, lost, doubled, delayed, forged, and never in the way of a charge."""

import asyncio
import json
import time
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import pytest
from standardwebhooks import Webhook

from billing_worker.simulator.app import SimulatorOptions, create_app
from billing_worker.simulator.options import PRACTICE_WEBHOOK_SECRET
from billing_worker.simulator.server import in_background
from tests.contract.booking import book, booked
from tests.contract.receiver import came, listening, said, settled
from tests.contract.test_simulator_keys import ISSUE

OTHER_SECRET = "whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldA=="
MINUTE = 60


@pytest.fixture
async def receiver(practice):
    async with listening() as receiver:
        await practice.tell("/webhooks", urls=[receiver.url])
        yield receiver


async def test_nothing_is_sent_when_no_url_is_set(practice):
    await practice.charge(practice.new_id())

    shown = await settled(practice)

    assert (shown["counts"], shown["notices"]) == ({}, [])


async def test_a_paid_charge_is_told_signed_and_without_amount(practice, receiver):
    payment_id = practice.new_id()

    await practice.charge(payment_id)
    await settled(practice)

    [told] = said(receiver.came)
    payment = (await practice.look(payment_id)).json()
    assert (told["type"], told["timestamp"]) == ("Transaction.Paid", payment["paidAt"])
    assert told["data"] == {
        "storeId": practice.store_id,
        "paymentId": payment_id,
        "transactionId": payment["transactionId"],
    }
    [webhook] = payment["webhooks"]
    assert (webhook["status"], webhook["paymentStatus"]) == ("SUCCEEDED", "PAID")
    assert webhook["id"] == receiver.came[0].headers["webhook-id"]


async def test_failures_cancellations_and_disputes_are_told(practice, receiver):
    failed_id, paid_id = practice.new_id(), practice.new_id()
    for path, body in [
        (failed_id, "bk-hard-lost-1"),
        (paid_id, "bk-ok-1"),
    ]:
        await practice.charge(path, body)
        await settled(practice)
    await practice.cancel(paid_id, amount=900)
    await settled(practice)
    await practice.tell("/payments/dispute", paymentId=paid_id)
    await settled(practice)
    await practice.tell("/payments/resolve", paymentId=paid_id)
    await settled(practice)
    cancelled = await practice.cancel(paid_id)
    await settled(practice)

    told = said(receiver.came)
    assert [one["type"].removeprefix("Transaction.") for one in told] == [
        "Failed",
        "Paid",
        "PartialCancelled",
        "DisputeCreated",
        "DisputeResolved",
        "Cancelled",
    ]
    assert told[-1]["data"]["cancellationId"] == cancelled.json()["cancellation"]["id"]


async def test_billing_keys_are_told_when_issued_and_deleted(practice, receiver):
    billing_key = (await practice.api.post("/billing-keys", json=ISSUE)).json()["billingKeyInfo"]["billingKey"]
    await settled(practice)
    await practice.api.delete(f"/billing-keys/{billing_key}")
    shown = await settled(practice)

    told = said(receiver.came)
    assert [one["type"] for one in told] == ["BillingKey.Issued", "BillingKey.Deleted"]
    assert told[0]["data"] == {"storeId": practice.store_id, "billingKey": billing_key}
    assert billing_key not in json.dumps(shown)


async def test_a_schedule_fires_by_itself_and_is_told(practice, receiver):
    payment_id = practice.new_id()
    await booked(practice, payment_id, seconds=0.2)

    await came(receiver, 1)  # nobody has asked for the time meanwhile: the timer fired it

    [told] = said(receiver.came)
    assert (told["type"], told["data"]["paymentId"]) == ("Transaction.Paid", payment_id)


async def test_a_jump_brings_the_timer_of_what_is_then_near(practice, receiver):
    await booked(practice, practice.new_id(), seconds=3600.5)

    await practice.tell("/clock", advance_seconds=3600)

    assert len(await came(receiver, 1)) == 1


async def test_skipped_webhooks_are_those_of_successes(practice, receiver):
    await practice.charge(practice.new_id(), skipWebhook=True)
    await practice.charge(practice.new_id(), "bk-hard-lost-1", skipWebhook=True)
    await settled(practice)

    assert [one["type"] for one in said(receiver.came)] == ["Transaction.Failed"]


async def test_the_urls_of_a_request_come_before_the_consoles(practice, receiver):
    async with listening() as own:
        await practice.charge(practice.new_id(), noticeUrls=[own.url])
        await practice.charge(practice.new_id(), noticeUrls=[])
        await booked(practice, practice.new_id(), noticeUrls=[own.url], seconds=60)
        await practice.tell("/clock", advance_seconds=120)
        await settled(practice)

        assert (len(own.came), len(receiver.came)) == (2, 1)


async def test_both_secrets_sign_while_they_change(practice, receiver):
    await practice.tell("/webhooks", secrets=[PRACTICE_WEBHOOK_SECRET, OTHER_SECRET])

    await practice.charge(practice.new_id())
    await settled(practice)

    [one] = receiver.came
    for secret in (PRACTICE_WEBHOOK_SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(one.body, one.headers)["type"] == "Transaction.Paid"


@pytest.mark.parametrize("as_form", [False, True])
async def test_the_older_version_says_less_in_either_form(practice, receiver, as_form):
    payment_id = practice.new_id()
    await practice.tell("/webhooks", version="2024-01-01", as_form=as_form)

    await practice.charge(payment_id)
    await settled(practice)

    [one] = receiver.came
    Webhook(PRACTICE_WEBHOOK_SECRET).verify(one.body, one.headers, json_parse=False)
    text = one.body.decode()
    told = {name: values[0] for name, values in parse_qs(text).items()} if as_form else json.loads(text)
    payment = (await practice.look(payment_id)).json()
    assert told == {"payment_id": payment_id, "tx_id": payment["transactionId"], "status": "Paid"}
    assert one.headers["content-type"].endswith("x-www-form-urlencoded" if as_form else "json")


async def test_the_timestamp_is_the_simulated_clocks_unless_told_otherwise(practice, receiver):
    await practice.tell("/clock", advance_seconds=86_400)

    await practice.charge(practice.new_id())
    await settled(practice)
    await practice.tell("/webhooks", clock="real")
    await practice.charge(practice.new_id())
    await settled(practice)

    ahead, real = [int(one.headers["webhook-timestamp"]) - time.time() for one in receiver.came]
    assert 86_300 < ahead < 86_500
    assert -100 < real < 100


async def test_a_refused_webhook_is_sent_five_times_more_with_the_same_id_and_body(practice, receiver):
    receiver.answers = [500] * 99
    await practice.charge(practice.new_id())

    waits = []
    for longest in (1, 4, 16, 64, 256):
        [notice] = (await settled(practice))["notices"]
        now = datetime.fromisoformat((await practice.ask("/clock"))["now"])
        waits.append((datetime.fromisoformat(notice["next_at"]) - now, timedelta(minutes=longest)))
        await practice.tell("/clock", advance_seconds=longest * MINUTE)
    shown = await settled(practice)
    await practice.tell("/clock", advance_seconds=999 * MINUTE)
    later = await settled(practice)

    assert all(wait <= longest for wait, longest in waits)
    assert len(receiver.came) == 6
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.came}) == 1
    assert shown["counts"]["given_up"] == 1
    assert later["counts"]["sends"] == 6
    assert shown["notices"][0]["status"] == "FAILED_NOT_OK_RESPONSE"


async def test_a_shorter_minute_makes_a_demo_short(practice, receiver):
    await practice.tell("/webhooks", minute_seconds=0.01)
    receiver.answers = [503, 302]

    await practice.charge(practice.new_id())
    await came(receiver, 3)

    assert (await settled(practice))["notices"][0]["status"] == "SUCCEEDED"


async def test_nobody_there_is_a_failed_send_and_no_error(practice):
    await practice.tell("/webhooks", urls=["http://127.0.0.1:9/hook"])

    charged = await practice.charge(practice.new_id())
    [notice] = (await settled(practice))["notices"]

    assert charged.status_code == 200
    assert (notice["status"], notice["answered"]) == ("FAILED_UNEXPECTED_ERROR", None)


async def test_a_receiver_that_hangs_delays_no_charge_and_is_given_up_in_time(practice, receiver):
    receiver.delay = asyncio.Event()
    await practice.tell("/webhooks", timeout_seconds=0.3)

    began = time.monotonic()
    for _ in range(20):
        assert (await practice.charge(practice.new_id())).status_code == 200
    took = time.monotonic() - began
    shown = await settled(practice)
    receiver.delay.set()

    assert took < 5
    assert shown["counts"]["failed_sends"] == 20


async def test_a_full_queue_loses_what_comes_and_counts_it(practice, receiver):
    receiver.delay = asyncio.Event()
    await practice.reset(webhook_queue_size=1, webhook_urls=[receiver.url])

    for _ in range(40):
        await practice.charge(practice.new_id())
    receiver.delay.set()
    shown = await settled(practice)

    assert shown["counts"]["overflowed"] >= 1
    assert shown["counts"]["overflowed"] + shown["counts"]["told"] == 40


async def test_the_log_of_notices_is_bounded(practice, receiver):
    await practice.reset(webhook_urls=[receiver.url], webhook_log_size=2)
    ids = [practice.new_id() for _ in range(3)]
    for payment_id in ids:
        await practice.charge(payment_id)
        await settled(practice)

    shown = await settled(practice)

    assert [one["paymentId"] for one in shown["notices"]] == ids[1:]
    assert "webhooks" not in (await practice.look(ids[0])).json()


async def test_a_reset_sends_nothing_of_the_world_before(practice, receiver):
    receiver.answers = [500]
    await practice.charge(practice.new_id())
    await settled(practice)

    await practice.reset()
    await practice.tell("/clock", advance_seconds=86_400)
    shown = await settled(practice)

    assert shown["notices"] == []
    assert len(receiver.came) == 1


async def test_a_reset_lets_no_schedule_of_the_world_before_fire(practice, receiver):
    old_id, new_id = practice.new_id(), practice.new_id()
    await booked(practice, old_id, seconds=0.3)

    await practice.reset(webhook_urls=[receiver.url])
    await booked(practice, new_id, seconds=0.5)
    await came(receiver, 1)

    assert [one["data"]["paymentId"] for one in said(receiver.came)] == [new_id]


async def test_the_end_does_not_wait_for_a_receiver_that_hangs():
    async with listening() as receiver:
        receiver.delay = asyncio.Event()
        options = SimulatorOptions("practice-secret", "store-practice", webhook_urls=(receiver.url,))
        began = time.monotonic()

        await asyncio.to_thread(_charge_once, options)

        assert time.monotonic() - began < 10


def _charge_once(options):
    import httpx  # noqa: PLC0415 - for this thread alone

    with in_background(options) as url:
        body = {"billingKey": "bk-ok-1", "orderName": "a", "amount": {"total": 1}, "currency": "KRW"}
        headers = {"Authorization": "PortOne practice-secret"}
        assert httpx.post(f"{url}/payments/a1/billing-key", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/webhooks", {"urls": ["ftp://nowhere"]}),
        ("/webhooks", {"secrets": []}),
        ("/webhooks", {"secrets": ["whsec_?"]}),
        ("/webhooks", {"version": "2025-01-01"}),
        ("/webhooks", {"as_form": True}),
        ("/webhooks", {"loss": 2}),
        ("/webhooks", {"minute_seconds": "soon"}),
        ("/webhooks", {"no_such": 1}),
        ("/webhooks/scripts", {"what": "eat"}),
        ("/webhooks/forge", {"what": "eat"}),
    ],
)
async def test_a_post_office_asked_wrongly_says_why(practice, path, body):
    response = await practice.control.post(path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]


async def test_the_secrets_are_shown_nowhere(practice, receiver):
    await practice.charge(practice.new_id())

    shown = await settled(practice)

    assert "whsec_" not in json.dumps(shown)
    assert "whsec_" not in repr(create_app(SimulatorOptions("practice-secret", "store")).simulator.world.options)


async def test_a_booking_is_no_news(practice, receiver):
    await book(practice, practice.new_id())

    assert (await settled(practice))["notices"] == []
