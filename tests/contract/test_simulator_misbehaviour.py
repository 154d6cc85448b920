"""How the simulator misbehaves by billing key: each fault as a client meets it, and the truth behind it."""

import httpx
import pytest

from tests.contract.assumptions import assumption

NO_ANSWER = (httpx.RemoteProtocolError, httpx.ReadError)


async def _successes(practice, payment_id):
    return (await practice.ask(f"/truth/{payment_id}"))["successes"]


@pytest.mark.parametrize(("behaviour", "charged"), [("drop-charged", 1), ("drop-uncharged", 0), ("invisible", 1)])
async def test_a_dropped_connection_gives_no_answer_and_may_have_charged(practice, behaviour, charged):
    payment_id, key = practice.new_id(), practice.new_key()

    with pytest.raises(NO_ANSWER):
        await practice.charge(payment_id, f"bk-{behaviour}-1", key=key)
    before = await _successes(practice, payment_id)
    resent = await practice.charge(payment_id, f"bk-{behaviour}-1", key=key)

    assert before == charged
    assert resent.status_code == 200
    assert await _successes(practice, payment_id) == 1


@pytest.mark.parametrize(("behaviour", "charged"), [("hang", 1), ("hang-uncharged", 0)])
async def test_a_hanging_call_says_nothing_and_may_have_charged(practice, behaviour, charged):
    payment_id, key = practice.new_id(), practice.new_key()

    with pytest.raises(httpx.ReadTimeout):
        await practice.api.post(
            f"/payments/{payment_id}/billing-key",
            json=practice.body(f"bk-{behaviour}-1"),
            headers=practice.key_header(key),
            timeout=0.3,
        )
    before = await _successes(practice, payment_id)
    resent = await practice.charge(payment_id, f"bk-{behaviour}-1", key=key)

    assert before == charged
    assert resent.status_code == 200
    assert await _successes(practice, payment_id) == 1


async def test_a_hanging_call_ends_in_a_dropped_connection(practice):
    await practice.reset(hang_seconds=0.1)

    with pytest.raises(NO_ANSWER):
        await practice.charge(practice.new_id(), "bk-hang-1")


@pytest.mark.parametrize(
    ("behaviour", "status", "charged"),
    [
        ("html502", 502, 0),
        ("html502-charged", 502, 1),
        ("503", 503, 0),
        ("unparsable", 200, 1),
    ],
)
async def test_an_answer_that_is_no_json_may_have_charged(practice, behaviour, status, charged):
    payment_id, key = practice.new_id(), practice.new_key()

    broken = await practice.charge(payment_id, f"bk-{behaviour}-1", key=key)

    assert broken.status_code == status
    with pytest.raises(ValueError, match=r"."):
        broken.json()
    assert await _successes(practice, payment_id) == charged
    assert (await practice.charge(payment_id, f"bk-{behaviour}-1", key=key)).status_code == 200
    assert await _successes(practice, payment_id) == 1


@pytest.mark.parametrize(("behaviour", "charged"), [("new-type", 0), ("new-type-charged", 1)])
async def test_an_error_type_nobody_documented_may_have_charged(practice, behaviour, charged):
    payment_id = practice.new_id()

    unknown = await practice.charge(payment_id, f"bk-{behaviour}-1")

    assert unknown.json()["type"] == "PAYMENT_UNDER_REVIEW"
    assert await _successes(practice, payment_id) == charged


async def test_a_429_names_its_seconds_and_the_next_try_is_served(practice):
    await practice.reset(retry_after_seconds=7)
    payment_id, key = practice.new_id(), practice.new_key()

    limited = await practice.charge(payment_id, "bk-429-1", key=key)
    served = await practice.charge(payment_id, "bk-429-1", key=key)

    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert served.status_code == 200


async def test_a_401_for_one_key_does_not_touch_the_others(practice):
    refused = await practice.charge(practice.new_id(), "bk-401-1")
    other = await practice.charge(practice.new_id(), "bk-ok-1")

    assert (refused.status_code, other.status_code) == (401, 200)


async def test_a_slow_charge_is_outstanding_until_it_ends(practice):
    await practice.reset(slow_seconds=0.3)
    payment_id, key = practice.new_id(), practice.new_key()
    with pytest.raises(httpx.ReadTimeout):
        await practice.api.post(
            f"/payments/{payment_id}/billing-key",
            json=practice.body("bk-slow-1"),
            headers=practice.key_header(key),
            timeout=0.1,
        )

    outstanding = await practice.charge(payment_id, "bk-slow-1", key=key)
    answer = await practice.charge_until_answered(payment_id, "bk-slow-1", key=key)

    assert outstanding.json()["type"] == "IDEMPOTENCY_OUTSTANDING_REQUEST"
    assert answer.status_code == 200


async def test_a_late_success_is_failed_for_a_while_and_then_paid(practice):
    payment_id, key = practice.new_id(), practice.new_key()

    declined = await practice.charge(payment_id, "bk-late-success-1", key=key)
    failed = (await practice.look(payment_id)).json()
    await practice.tell("/clock", advance_seconds=601)
    paid = (await practice.look(payment_id)).json()

    assert declined.status_code == 502
    assert (failed["status"], paid["status"]) == ("FAILED", "PAID")
    assert failed["transactionId"] == paid["transactionId"]
    assert (await practice.charge(payment_id)).json()["type"] == "ALREADY_PAID"
    [charge] = (await practice.ask("/truth"))["charges"]
    assert charge["paid_late"] is True


@assumption("A19")
async def test_a_late_success_does_not_pay_what_another_try_has_paid(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id, "bk-late-success-1")
    await practice.charge(payment_id, "bk-late-success-1")

    await practice.tell("/clock", advance_seconds=601)

    assert [one["status"] for one in await practice.tries(payment_id)] == ["FAILED", "PAID"]
    assert await _successes(practice, payment_id) == 1


@assumption("A20")
async def test_an_invisible_payment_is_a_404_although_it_is_paid(practice):
    payment_id = practice.new_id()
    with pytest.raises(NO_ANSWER):
        await practice.charge(payment_id, "bk-invisible-1")

    missing = await practice.look(payment_id)
    await practice.tell("/clock", advance_seconds=31)
    found = await practice.look(payment_id)

    assert (missing.status_code, missing.json()["type"]) == (404, "PAYMENT_NOT_FOUND")
    assert found.json()["status"] == "PAID"


async def test_a_flaky_key_does_the_same_again_in_a_new_world(practice):
    async def run():
        seen = []
        for number in range(12):
            try:
                response = await practice.charge(f"flaky{number}", "bk-flaky-1")
                seen.append((response.status_code, response.headers["content-type"]))
            except NO_ANSWER:
                seen.append("dropped")
        return seen

    first = await run()
    await practice.reset()
    second = await run()

    assert first == second
    assert len(set(first)) >= 4


async def test_a_flaky_key_comes_to_rest(practice):
    payment_id, key = practice.new_id(), practice.new_key()
    for _ in range(4):
        try:
            await practice.charge(payment_id, "bk-flaky-1", key=key)
        except NO_ANSWER:
            continue

    settled = await practice.charge(payment_id, "bk-flaky-1", key=key)

    assert settled.status_code in (200, 502)
    assert settled.headers["content-type"].startswith("application/json")
