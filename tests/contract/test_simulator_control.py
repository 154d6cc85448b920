"""The control address: truth, clock, scripts, gates, the log of requests, and the worlds that begin anew."""

import asyncio
import hashlib
import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from billing_worker.simulator.app import SimulatorOptions, create_app
from billing_worker.simulator.control import control_app

NO_ANSWER = (httpx.RemoteProtocolError, httpx.ReadError)


async def test_the_truth_tells_every_charge_and_no_billing_key(practice):
    paid_id, declined_id = practice.new_id(), practice.new_id()
    await practice.charge(paid_id, "bk-ok-secret-number-0042", amount=7700)
    await practice.charge(declined_id, "bk-hard-lost-1")

    truth = await practice.ask("/truth")

    [charge] = truth["charges"]
    payment = (await practice.look(paid_id)).json()
    assert (charge["paymentId"], charge["amount"], charge["currency"]) == (paid_id, 7700, "KRW")
    for name in ("transactionId", "pgTxId", "paidAt"):
        assert charge[name] == payment[name]
    assert charge["billing_key"] == "…0042"
    assert "bk-ok" not in json.dumps(truth)
    assert truth["successes"] == {paid_id: 1}
    assert (truth["executions"], truth["charges_count"], truth["declines_count"]) == (2, 1, 1)
    assert truth["counters"]["by_type"] == {"OK": 1, "PG_PROVIDER": 1}
    assert truth["counters"]["posts"] == 2


async def test_the_truth_of_one_payment_id_shows_the_tries_that_failed(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id, "bk-soft-funds-x1-1")
    await practice.charge(payment_id, "bk-soft-funds-x1-1")

    truth = await practice.ask(f"/truth/{payment_id}")

    assert truth["successes"] == 1
    assert [one["status"] for one in truth["transactions"]] == ["FAILED", "PAID"]


async def test_the_truth_comes_in_pages_and_in_figures(practice):
    ids = [practice.new_id() for _ in range(5)]
    for payment_id in ids:
        await practice.charge(payment_id, amount=100)

    page = await practice.ask("/truth", after=1, limit=2)
    figures = await practice.ask("/truth", summary=1)

    assert [charge["paymentId"] for charge in page["charges"]] == ids[1:3]
    assert "charges" not in figures
    assert (figures["charges_count"], figures["charged"]) == (5, {"KRW": 500})


async def test_the_clock_moves_forward_and_the_date_header_can_be_wrong(practice):
    moved = await practice.tell("/clock", advance_seconds=3600, date_skew_seconds=90)

    response = await practice.charge(practice.new_id())

    assert moved["ahead_seconds"] == 3600
    skew = parsedate_to_datetime(response.headers["date"]).timestamp() - time.time()
    assert 85 < skew < 95
    assert (await practice.control.post("/clock", json={"advance_seconds": -1})).status_code == 400


async def test_a_script_meets_the_next_requests_that_match_and_no_more(practice):
    wanted = practice.new_id()
    await practice.tell("/scripts", behaviour="hard-lost", times=2, paymentId=wanted, pgCode="X1", pgMessage="사유")

    other = await practice.charge(practice.new_id())
    scripted = [await practice.charge(wanted) for _ in range(3)]

    assert other.status_code == 200
    assert [response.status_code for response in scripted] == [502, 502, 200]
    assert (scripted[0].json()["pgCode"], scripted[0].json()["pgMessage"]) == ("X1", "사유")
    assert (await practice.ask("/scripts"))["scripts"] == []


async def test_scripts_are_met_in_the_order_they_were_queued(practice):
    await practice.tell("/scripts", scripts=[{"behaviour": "soft-limit"}, {"behaviour": "drop-charged"}])

    first = await practice.charge(practice.new_id())
    with pytest.raises(NO_ANSWER):
        await practice.charge(practice.new_id())
    third = await practice.charge(practice.new_id())

    assert (first.status_code, third.status_code) == (502, 200)


async def test_a_script_can_match_billing_keys_and_come_before_the_keys_own_temper(practice):
    await practice.tell("/scripts", behaviour="ok", billing_key_prefix="bk-hard-lost-")

    other = await practice.charge(practice.new_id(), "bk-hard-expired-1")
    spared = await practice.charge(practice.new_id(), "bk-hard-lost-1")

    assert (other.status_code, spared.status_code) == (502, 200)


async def test_a_script_can_strike_looks_and_everything(practice):
    await practice.tell("/scripts", behaviour="503", on="look")
    await practice.tell("/scripts", behaviour="401", on="any", times=2)

    assert (await practice.look("a")).status_code == 503
    assert (await practice.charge(practice.new_id())).status_code == 401
    assert (await practice.look("a")).status_code == 401
    assert (await practice.look("a")).status_code == 404


async def test_scripts_can_be_dropped(practice):
    await practice.tell("/scripts", behaviour="401", on="any", times=1000)

    await practice.control.delete("/scripts")

    assert (await practice.charge(practice.new_id())).status_code == 200


async def test_a_gate_before_the_charge_holds_it_uncharged(practice):
    held_id, other_id = practice.new_id(), practice.new_id()
    hold = await practice.tell("/hold", at="before_charge", paymentId=held_id)
    held = asyncio.create_task(practice.charge(held_id))
    await practice.wait_in_flight(stage="held_before_charge", paymentId=held_id)

    other = await practice.charge(other_id)
    during = await practice.ask(f"/truth/{held_id}")
    released = await practice.tell("/release", hold_id=hold["hold_id"])

    assert other.status_code == 200
    assert (during["executing"], during["successes"]) == (1, 0)
    assert released == {"released": 1}
    assert (await held).status_code == 200


async def test_a_gate_after_the_charge_holds_the_answer_alone(practice):
    payment_id = practice.new_id()
    await practice.tell("/hold", at="after_charge", billing_key_prefix="bk-ok-")
    held = asyncio.create_task(practice.charge(payment_id))
    await practice.wait_in_flight(stage="held_after_charge")

    during = await practice.look(payment_id)
    await practice.tell("/release")

    assert during.json()["status"] == "PAID"
    assert (await held).status_code == 200


async def test_waiting_for_what_does_not_come_ends(practice):
    found = await practice.ask("/inflight", at_least=1, wait_seconds=0.05)

    assert found == {"count": 0, "came_true": False, "requests": []}


async def test_the_log_shows_that_two_sends_were_the_same_bytes(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.charge(payment_id, key=key)
    await practice.look(payment_id)
    await practice.charge(payment_id, key=key)

    requests = (await practice.ask("/requests"))["requests"]
    newest = (await practice.ask("/requests", since=requests[1]["sequence"]))["requests"]

    sends = [one for one in requests if one["method"] == "POST"]
    body = httpx.Request("POST", "http://x", json=practice.body()).content
    assert [one["idempotency_key"] for one in sends] == [key, key]
    assert {one["body_sha256"] for one in sends} == {hashlib.sha256(body).hexdigest()}
    assert [one["status"] for one in requests] == [200, 200, 200]
    assert newest == requests[2:]


async def test_the_log_is_bounded_and_shows_no_billing_key(practice):
    await practice.reset(request_log_size=2)
    for _ in range(3):
        await practice.api.get("/billing-keys/bk-ok-secret-number-0042")

    requests = (await practice.ask("/requests"))["requests"]

    assert [one["path"] for one in requests] == ["/billing-keys/…0042"] * 2


async def test_a_reset_is_a_new_world_that_gives_no_transaction_twice(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    first = await practice.charge(payment_id, key=key)
    await practice.tell("/scripts", behaviour="401")

    await practice.reset()
    second = await practice.charge(payment_id, key=key)

    assert second.status_code == 200
    assert first.json()["payment"]["pgTxId"] != second.json()["payment"]["pgTxId"]
    assert (await practice.ask("/truth", summary=1))["charges_count"] == 1


async def test_a_reset_lets_go_of_what_was_held(practice):
    await practice.tell("/hold", at="before_charge")
    held = asyncio.create_task(practice.charge(practice.new_id()))
    await practice.wait_in_flight(stage="held_before_charge")

    await practice.reset()

    assert (await held).status_code == 200
    assert (await practice.ask("/truth", summary=1))["executions"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/scripts", {"behaviour": "no-such"}),
        ("/scripts", {"behaviour": "ok", "times": 0}),
        ("/scripts", {"behaviour": "ok", "payment_id": "typed-wrongly"}),
        ("/scripts", {"behaviour": "ok", "on": "nothing"}),
        ("/scripts", {"scripts": ["ok"]}),
        ("/hold", {"at": "noon"}),
        ("/hold", {}),
        ("/reset", {"options": {"no_such": 1}}),
        ("/reset", {"options": {"api_secret": "another"}}),
        ("/reset", {"options": {"latency_ms": "fast"}}),
        ("/clock", {"advance_seconds": "1h"}),
        ("/clock", {"advance_seconds": 1e12}),
        ("/clock", {"date_skew_seconds": -1e12}),
        ("/billing-keys", {"behaviour": "ok", "count": -1}),
        ("/billing-keys", {"behaviour": "ok", "billingKeys": [7]}),
    ],
)
async def test_what_is_asked_wrongly_is_a_400_that_says_why(practice, path, body):
    response = await practice.control.post(path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]


async def test_the_page_about_the_simulator_names_every_behaviour_and_control_path(practice):
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()

    behaviours = (await practice.ask("/behaviours"))["behaviours"]

    missing = [one["prefix"] for one in behaviours if f"`{one['prefix']}`" not in page]
    assert missing == []
    for route in control_app(create_app(SimulatorOptions("practice-secret", "store")).simulator).routes:
        path = route.path.removesuffix("/{payment_id}")
        assert f"`{path}" in page or f" {path}" in page, path
