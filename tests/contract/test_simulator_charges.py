"""How the simulator charges: declines, one success for a paymentId, tries, overlaps, and clients that leave early."""

import asyncio
import time

import httpx
import pytest

from tests.contract.assumptions import assumption


@assumption("A10")
async def test_a_decline_is_a_502_with_the_pgs_words(practice):
    payment_id = practice.new_id()

    declined = await practice.charge(payment_id, "bk-hard-expired-1")

    assert declined.status_code == 502
    assert declined.json()["type"] == "PG_PROVIDER"
    assert declined.json()["pgMessage"] == "유효기간 만료 카드"
    payment = (await practice.look(payment_id)).json()
    assert payment["status"] == "FAILED"
    assert payment["failure"]["pgCode"] == declined.json()["pgCode"]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("soft-funds", "잔액부족"),
        ("soft-limit", "한도초과"),
        ("transient", "점검"),
        ("ambiguous", "카드사 문의"),
        ("hard-lost", "분실·도난"),
        ("merchant", "가맹점"),
    ],
)
async def test_each_class_of_decline_has_its_korean_words(practice, behaviour, words):
    declined = await practice.charge(practice.new_id(), f"bk-{behaviour}-1")

    assert words in declined.json()["pgMessage"]


async def test_a_soft_decline_is_paid_on_the_third_try_of_one_payment_id(practice):
    payment_id = practice.new_id()

    statuses = [(await practice.charge(payment_id, "bk-soft-funds-1")).status_code for _ in range(3)]

    assert statuses == [502, 502, 200]
    assert (await practice.look(payment_id)).json()["status"] == "PAID"


async def test_a_count_in_the_key_says_how_often_it_misbehaves(practice):
    once, always = practice.new_id(), practice.new_id()

    statuses_once = [(await practice.charge(once, "bk-soft-funds-x1-1")).status_code for _ in range(2)]
    statuses_always = [(await practice.charge(always, "bk-soft-funds-xall-1")).status_code for _ in range(4)]

    assert statuses_once == [502, 200]
    assert statuses_always == [502] * 4


@assumption("A9")
async def test_every_try_is_a_transaction_of_its_own(practice):
    payment_id = practice.new_id()
    for _ in range(3):
        await practice.charge(payment_id, "bk-soft-funds-1")

    tries = await practice.tries(payment_id)

    assert [one["status"] for one in tries] == ["FAILED", "FAILED", "PAID"]
    assert len({one["id"] for one in tries}) == 3
    for one in tries:
        ended_at = one["paidAt"] if one["status"] == "PAID" else one["failedAt"]
        assert one["requestedAt"] <= ended_at == one["statusChangedAt"]
    assert (await practice.look(payment_id)).json()["transactionId"] == tries[-1]["id"]


@assumption("A1")
async def test_a_payment_id_is_paid_once_for_ever(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id)
    await practice.cancel(payment_id)

    again = await practice.charge(payment_id)

    assert (again.status_code, again.json()["type"]) == (409, "ALREADY_PAID")
    assert (await practice.ask(f"/truth/{payment_id}"))["successes"] == 1


async def test_tries_on_a_failed_payment_id_end_at_the_cap(practice):
    await practice.reset(attempt_cap=3)
    payment_id = practice.new_id()

    answers = [await practice.charge(payment_id, "bk-hard-lost-1") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [502, 502, 502, 400]
    assert answers[-1].json()["type"] == "MAX_TRANSACTION_COUNT_REACHED"
    assert len(await practice.tries(payment_id)) == 3


@assumption("A21")
async def test_two_tries_at_the_same_time_pay_once_and_are_an_overlap(practice):
    payment_id = practice.new_id()
    await practice.tell("/hold", at="before_charge", paymentId=payment_id)

    both = asyncio.gather(practice.charge(payment_id), practice.charge(payment_id))
    await practice.wait_in_flight(at_least=2, stage="held_before_charge")
    await practice.tell("/release")
    answers = await both

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    truth = await practice.ask("/truth")
    assert truth["successes"] == {payment_id: 1}
    assert [overlap["paymentId"] for overlap in truth["overlaps"]] == [payment_id]
    assert truth["paid_more_than_once"] == {}


async def test_a_provider_whose_paid_check_races_charges_twice_and_says_so(practice):
    await practice.reset(paid_check_is_atomic=False)
    payment_id = practice.new_id()
    await practice.tell("/hold", at="before_charge")

    both = asyncio.gather(practice.charge(payment_id), practice.charge(payment_id))
    await practice.wait_in_flight(at_least=2, stage="held_before_charge")
    await practice.tell("/release")
    answers = await both

    assert [answer.status_code for answer in answers] == [200, 200]
    truth = await practice.ask("/truth", summary=1)
    assert truth["paid_more_than_once"] == {payment_id: 2}
    assert (truth["charges_count"], truth["charged"]) == (2, {"KRW": 19_800})


@assumption("A16")
async def test_a_client_that_leaves_does_not_stop_the_charge(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.tell("/hold", at="before_charge")
    with pytest.raises(httpx.ReadTimeout):
        await practice.api.post(
            f"/payments/{payment_id}/billing-key",
            json=practice.body(),
            headers=practice.key_header(key),
            timeout=0.2,
        )

    not_yet = await practice.look(payment_id)
    await practice.tell("/release")
    replayed = await practice.charge_until_answered(payment_id, key=key)

    assert not_yet.status_code == 404
    assert replayed.status_code == 200
    assert (await practice.ask(f"/truth/{payment_id}"))["successes"] == 1


async def test_a_changed_amount_on_one_payment_id_is_put_on_record(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id, "bk-hard-lost-1", amount=9900)

    await practice.charge(payment_id, "bk-ok-1", amount=8800)

    [violation] = (await practice.ask("/truth"))["violations"]
    assert (violation["kind"], violation["paymentId"]) == ("amount_changed", payment_id)


async def test_latency_is_taken_before_the_answer(practice):
    await practice.reset(latency_ms=80, jitter_ms=5)
    started_at = time.monotonic()

    paid = await practice.charge(practice.new_id())

    assert paid.status_code == 200
    assert time.monotonic() - started_at >= 0.08


async def test_the_channel_says_test_or_live(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id)
    tested = (await practice.look(payment_id)).json()["channel"]["type"]

    await practice.reset(is_test=False)
    await practice.charge(payment_id)

    assert tested == "TEST"
    assert (await practice.look(payment_id)).json()["channel"]["type"] == "LIVE"
