"""What PortOne is assumed to do, tried on the simulator, or on a real TEST channel: channel.py says how."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.contract.assumptions import assumption
from tests.contract.channel import AMOUNT, Channel, Credentials, real_credentials

pytestmark = pytest.mark.timeout(600)  # a real channel may take a minute a call


@pytest.fixture
def credentials(request) -> Credentials:
    """The environment's, or the simulator's, which is only started where it is needed."""
    real = real_credentials()
    if real is not None:
        return real
    practice = request.getfixturevalue("practice")
    return Credentials(
        practice.url, practice.api_secret, practice.store_id, "bk-ok-1", None, "bk-soft-funds-x1-1", "bk-slow-1"
    )


@pytest.fixture
async def portone(credentials) -> AsyncIterator[Channel]:
    """The channel under test."""
    authorization = {"Authorization": f"PortOne {credentials.api_secret}"}
    async with httpx.AsyncClient(base_url=credentials.base_url, headers=authorization, timeout=65) as http:
        channel = Channel(http, credentials)
        if credentials.real:
            await channel.refuse_live()
        yield channel
        await channel.give_back()


@pytest.fixture
def declining_key(portone) -> str:
    """A billing key that is declined, once at least."""
    if portone.credentials.declining_billing_key is None:
        pytest.skip("KPN's test channel never declines: name a key in BILLING_CONTRACT_DECLINING_BILLING_KEY")
    return portone.credentials.declining_billing_key


def _key(payment_id: str, number: int = 1) -> str:
    return f"{payment_id}-g{number:04d}"


@assumption("A1")
async def test_a_payment_id_is_paid_once_even_after_a_refund(portone):
    payment_id = portone.new_id()
    first = await portone.charge(payment_id, _key(payment_id, 1))

    second = await portone.charge(payment_id, _key(payment_id, 2))
    await portone.cancel(payment_id)
    third = await portone.charge(payment_id, _key(payment_id, 3))

    assert first.status_code == 200
    assert [(again.status_code, again.json()["type"]) for again in (second, third)] == [(409, "ALREADY_PAID")] * 2


@assumption("A2", "A17", "A18")
async def test_a_key_repeats_its_answer_and_the_answer_says_paid(portone):
    payment_id = portone.new_id()

    first = await portone.charge(payment_id, _key(payment_id))
    again = await portone.charge(payment_id, _key(payment_id))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    payment = (await portone.look(payment_id)).json()
    assert payment["pgTxId"] == first.json()["payment"]["pgTxId"]
    assert datetime.fromisoformat(first.json()["payment"]["paidAt"]).tzinfo is not None


@assumption("A4", "A10")
async def test_a_decline_is_of_type_pg_provider_and_is_repeated(portone, declining_key):
    payment_id = portone.new_id()

    declined = await portone.charge(payment_id, _key(payment_id), billingKey=declining_key)
    again = await portone.charge(payment_id, _key(payment_id), billingKey=declining_key)

    assert declined.json()["type"] == "PG_PROVIDER"
    assert {"pgCode", "pgMessage"} <= declined.json().keys()
    assert again.json() == declined.json()
    assert (await portone.look(payment_id)).json()["status"] == "FAILED"
    assert len((await portone.look(payment_id, path="/transactions")).json()["items"]) == 1


@assumption("A5")
async def test_one_key_with_another_body_charges_nothing_more(portone):
    payment_id, other_id = portone.new_id(), portone.new_id()
    await portone.charge(payment_id, _key(payment_id))

    other = await portone.charge(payment_id, _key(payment_id), orderName="another name")
    elsewhere = await portone.charge(other_id, _key(payment_id))

    assert (await portone.look(payment_id)).json()["amount"]["total"] == AMOUNT
    assert len((await portone.look(payment_id, path="/transactions")).json()["items"]) == 1
    if not portone.credentials.real:  # what a real one says to this is not documented, and nothing rests on the words
        assert [answer.json()["type"] for answer in (other, elsewhere)] == ["INVALID_REQUEST"] * 2


@assumption("A6")
async def test_two_sends_at_once_under_one_key_charge_once(portone):
    payment_id = portone.new_id()

    both = await asyncio.gather(*(portone.charge(payment_id, _key(payment_id)) for _ in range(2)))

    assert 200 in [answer.status_code for answer in both]
    for answer in both:
        assert answer.status_code == 200 or answer.json()["type"] == "IDEMPOTENCY_OUTSTANDING_REQUEST"
    assert len((await portone.look(payment_id, path="/transactions")).json()["items"]) == 1


@assumption("A7", "A9", "A12")
async def test_a_paid_payment_is_found_with_its_sum_and_its_tries(portone):
    payment_id = portone.new_id()
    await portone.charge(payment_id, _key(payment_id))

    payment = (await portone.look(payment_id)).json()
    [only] = (await portone.look(payment_id, path="/transactions")).json()["items"]

    assert (payment["status"], payment["id"], payment["transactionId"]) == ("PAID", payment_id, only["id"])
    assert (payment["amount"]["total"], payment["currency"]) == (AMOUNT, "KRW")
    assert payment["channel"]["type"] == "TEST"
    assert all(datetime.fromisoformat(only[name]).tzinfo for name in ("requestedAt", "statusChangedAt"))


@assumption("A8", "A9")
async def test_a_failed_payment_id_is_charged_again_under_a_new_key(portone, declining_key):
    payment_id = portone.new_id()
    await portone.charge(payment_id, _key(payment_id, 1), billingKey=declining_key)

    retried = await portone.charge(payment_id, _key(payment_id, 2))

    assert retried.status_code == 200
    tries = (await portone.look(payment_id, path="/transactions")).json()["items"]
    assert sorted(one["status"] for one in tries) == ["FAILED", "PAID"]
    assert len({one["id"] for one in tries}) == 2


@assumption("A11")
async def test_a_look_names_the_store_and_another_store_is_refused(portone):
    payment_id = portone.new_id()
    await portone.charge(payment_id, _key(payment_id))

    ours = await portone.look(payment_id)
    others = await portone.look(payment_id, store_id="store-00000000-0000-0000-0000-000000000000")

    assert ours.json()["storeId"] == portone.credentials.store_id
    assert others.status_code in (403, 404)


@assumption("A13", "A15")
async def test_an_error_has_a_type_and_every_answer_a_date(portone):
    missing = await portone.look(portone.new_id())
    payment_id = portone.new_id()
    invalid = await portone.charge(payment_id, _key(payment_id), amount={"total": 0})

    assert (missing.status_code, missing.json()["type"]) == (404, "PAYMENT_NOT_FOUND")
    assert (invalid.status_code, invalid.json()["type"]) == (400, "INVALID_REQUEST")
    for answer in (missing, invalid):
        assert parsedate_to_datetime(answer.headers["date"]).tzinfo is not None


@assumption("A14", "A15")
async def test_a_wrong_secret_is_unauthorized_and_charges_nothing(portone):
    payment_id = portone.new_id()

    refused = await portone.charge(payment_id, _key(payment_id), headers={"Authorization": "PortOne wrong-secret"})

    assert (refused.status_code, refused.json()["type"]) == (401, "UNAUTHORIZED")
    assert (await portone.look(payment_id)).status_code == 404


@assumption("A16")
async def test_a_charge_whose_client_hung_up_is_one_charge_when_sent_again(portone):
    payment_id = portone.new_id()
    billing_key = portone.credentials.slow_billing_key or portone.credentials.billing_key
    with pytest.raises(httpx.TimeoutException):
        await portone.charge(payment_id, _key(payment_id), billingKey=billing_key, read_seconds=0.05)

    async with asyncio.timeout(300):
        while True:
            answer = await portone.charge(payment_id, _key(payment_id), billingKey=billing_key)
            if answer.status_code != 409:
                break
            assert answer.json()["type"] == "IDEMPOTENCY_OUTSTANDING_REQUEST"

    assert answer.status_code == 200
    assert len((await portone.look(payment_id, path="/transactions")).json()["items"]) == 1


async def test_a_live_channel_is_refused_before_anything_is_charged(practice, simulator_url):
    await practice.reset(is_test=False)
    credentials = Credentials(simulator_url, practice.api_secret, practice.store_id, "bk-ok-1", real=True)
    authorization = {"Authorization": f"PortOne {practice.api_secret}"}

    async with httpx.AsyncClient(base_url=simulator_url, headers=authorization) as http:
        with pytest.raises(pytest.fail.Exception, match="not a TEST channel"):
            await Channel(http, credentials).refuse_live()

    assert (await practice.ask("/truth", summary=1))["executions"] == 0


def test_nobody_who_has_not_opted_in_reaches_a_real_channel(monkeypatch):
    for name in ("API_SECRET", "STORE_ID", "BILLING_KEY"):
        monkeypatch.setenv(f"BILLING_CONTRACT_{name}", "given")

    monkeypatch.setenv("BILLING_CONTRACT_OPT_IN", "yes")
    assert real_credentials() is None
    monkeypatch.setenv("BILLING_CONTRACT_OPT_IN", "charge-and-cancel")
    assert real_credentials() is not None
    monkeypatch.delenv("BILLING_CONTRACT_BILLING_KEY")
    with pytest.raises(pytest.fail.Exception, match="BILLING_CONTRACT_BILLING_KEY"):
        real_credentials()
