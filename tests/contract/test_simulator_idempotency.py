"""The simulator's memory of idempotency keys, by the rules of PortOne's overview page."""

import asyncio

import pytest

from tests.contract.assumptions import assumption

HOURS_3 = 3 * 60 * 60


async def test_a_success_is_replayed_byte_for_byte_and_charges_once(practice):
    payment_id, key = practice.new_id(), practice.new_key()

    first = await practice.charge(payment_id, key=key)
    second = await practice.charge(payment_id, key=key)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert (await practice.ask(f"/truth/{payment_id}"))["successes"] == 1


@assumption("A4")
async def test_a_decline_is_replayed_too_and_makes_no_new_try(practice):
    payment_id, key = practice.new_id(), practice.new_key()

    first = await practice.charge(payment_id, "bk-soft-funds-1", key=key)
    second = await practice.charge(payment_id, "bk-soft-funds-1", key=key)

    assert (first.status_code, second.status_code) == (502, 502)
    assert first.content == second.content
    assert len(await practice.tries(payment_id)) == 1


async def test_a_refusal_is_replayed_even_when_its_cause_is_gone(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    first = await practice.charge(payment_id, "own-key-1", key=key)
    await practice.tell("/billing-keys", behaviour="ok", billingKeys=["own-key-1"])

    second = await practice.charge(payment_id, "own-key-1", key=key)

    assert first.json()["type"] == "BILLING_KEY_NOT_FOUND"
    assert first.content == second.content


@assumption("A1", "A3")
async def test_a_key_is_forgotten_after_three_hours_and_the_payment_id_still_protects(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.charge(payment_id, key=key)

    await practice.tell("/clock", advance_seconds=HOURS_3 - 60)
    before = await practice.charge(payment_id, key=key)
    await practice.tell("/clock", advance_seconds=61)
    after = await practice.charge(payment_id, key=key)

    assert before.status_code == 200
    assert (after.status_code, after.json()["type"]) == (409, "ALREADY_PAID")


async def test_a_forgotten_key_charges_again_on_a_failed_payment_id(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.charge(payment_id, "bk-soft-funds-x1-1", key=key)

    await practice.tell("/clock", advance_seconds=HOURS_3)
    after = await practice.charge(payment_id, "bk-soft-funds-x1-1", key=key)

    assert after.status_code == 200


@assumption("A6")
async def test_a_key_in_flight_is_answered_with_outstanding_and_never_forgotten(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.tell("/hold", at="after_charge")
    first = asyncio.create_task(practice.charge(payment_id, key=key))
    await practice.wait_in_flight(stage="held_after_charge")

    second = await practice.charge(payment_id, key=key)
    await practice.tell("/clock", advance_seconds=2 * HOURS_3)
    third = await practice.charge(payment_id, key=key)
    await practice.tell("/release")

    for waiting in (second, third):
        assert (waiting.status_code, waiting.json()["type"]) == (409, "IDEMPOTENCY_OUTSTANDING_REQUEST")
    assert (await first).status_code == 200
    truth = await practice.ask("/truth", summary=1)
    assert (truth["executions"], truth["overlaps_count"]) == (1, 0)


@assumption("A5")
async def test_one_key_with_two_bodies_is_refused_and_put_on_record(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.charge(payment_id, key=key, amount=9900)

    other = await practice.charge(payment_id, key=key, amount=9901)

    assert (other.status_code, other.json()["type"]) == (400, "INVALID_REQUEST")
    [violation] = (await practice.ask("/truth"))["violations"]
    assert (violation["kind"], violation["idempotency_key"]) == ("key_body_mismatch", key)


async def test_one_key_for_two_payment_ids_is_refused_and_put_on_record(practice):
    key = practice.new_key()
    await practice.charge(practice.new_id(), key=key)

    other = await practice.charge(practice.new_id(), key=key)

    assert other.status_code == 400
    assert (await practice.ask("/truth", summary=1))["violations_count"] == 1


@pytest.mark.parametrize(
    "header",
    [
        "unquoted-key-0001",
        '"fifteen-letters"',
        '"' + "x" * 257 + '"',
        '"half-quoted-key-0001',
        '"two"quotes-inside-01"',
    ],
)
async def test_a_key_that_breaks_the_rule_is_refused_and_nothing_is_charged(practice, header):
    payment_id = practice.new_id()

    refused = await practice.api.post(
        f"/payments/{payment_id}/billing-key", json=practice.body(), headers={"Idempotency-Key": header}
    )

    assert (refused.status_code, refused.json()["type"]) == (400, "INVALID_REQUEST")
    assert (await practice.look(payment_id)).status_code == 404


@pytest.mark.parametrize("length", [16, 256])
async def test_the_shortest_and_the_longest_key_are_taken(practice, length):
    key = practice.new_key().ljust(length, "x")[-length:]

    assert (await practice.charge(practice.new_id(), key=key)).status_code == 200


async def test_without_a_key_nothing_is_remembered(practice):
    payment_id = practice.new_id()

    first = await practice.charge(payment_id, key=None)
    second = await practice.charge(payment_id, key=None)

    assert (first.status_code, second.status_code) == (200, 409)
    assert (await practice.ask("/truth", summary=1))["counters"]["posts_without_key"] == 2


async def test_a_partial_cancellation_under_one_key_is_made_once(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    await practice.charge(payment_id, amount=1000)

    first = await practice.cancel(payment_id, key=key, amount=300)
    second = await practice.cancel(payment_id, key=key, amount=300)

    assert first.content == second.content
    assert (await practice.look(payment_id)).json()["amount"]["cancelled"] == 300
