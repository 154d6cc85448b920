"""Billing keys of the simulator: issued, named for a behaviour, made in bulk, deleted."""

import copy

import pytest

CREDENTIAL = {
    "number": "9409999912345678",
    "expiryYear": "30",
    "expiryMonth": "12",
    "birthOrBusinessRegistrationNumber": "900101",
    "passwordTwoDigits": "00",
}
ISSUE = {
    "channelKey": "channel-1",
    "method": {"card": {"credential": CREDENTIAL}},
    "customer": {"id": "customer-1", "name": {"full": "홍길동"}},
    "customData": "note",
}


async def _issue(practice, **changes):
    return await practice.api.post("/billing-keys", json={**copy.deepcopy(ISSUE), **changes})


async def test_an_issued_key_can_be_charged_until_it_is_deleted(practice):
    billing_key = (await _issue(practice)).json()["billingKeyInfo"]["billingKey"]

    before = await practice.charge(practice.new_id(), billing_key)
    deleted = await practice.api.delete(f"/billing-keys/{billing_key}")
    after = await practice.charge(practice.new_id(), billing_key)
    again = await practice.api.delete(f"/billing-keys/{billing_key}")

    assert before.status_code == 200
    assert deleted.json().keys() == {"deletedAt"}
    assert after.json()["type"] == "BILLING_KEY_ALREADY_DELETED"
    assert again.json()["type"] == "BILLING_KEY_ALREADY_DELETED"


async def test_an_issued_key_shows_its_customer_and_channel(practice):
    billing_key = (await _issue(practice)).json()["billingKeyInfo"]["billingKey"]

    shown = (await practice.api.get(f"/billing-keys/{billing_key}")).json()

    assert shown["status"] == "ISSUED"
    assert shown["customer"] == {"id": "customer-1", "name": "홍길동"}
    assert shown["channels"][0]["key"] == "channel-1"
    assert shown["customData"] == "note"


@pytest.mark.parametrize(
    "changes",
    [
        {"channelKey": None},
        {"method": {}},
        {"method": {"card": {"credential": {**CREDENTIAL, "number": "9409-9999"}}}},
        {"method": {"card": {"credential": {**CREDENTIAL, "expiryMonth": "13"}}}},
        {"method": {"card": {"credential": {**CREDENTIAL, "passwordTwoDigits": None}}}},
        {"customer": {"id": "customer-1"}},
        {"customer": None},
    ],
)
async def test_kpn_issues_nothing_without_the_whole_card_and_a_name(practice, changes):
    response = await _issue(practice, **changes)

    assert (response.status_code, response.json()["type"]) == (400, "INVALID_REQUEST")


async def test_another_pg_issues_with_less(practice):
    await practice.reset(pg="OTHER")
    card = {name: CREDENTIAL[name] for name in ("number", "expiryYear", "expiryMonth")}

    response = await _issue(practice, method={"card": {"credential": card}}, customer=None)

    assert response.status_code == 200


async def test_a_key_is_not_issued_on_an_unknown_channel(practice):
    await practice.reset(channel_keys=["channel-9"])

    assert (await _issue(practice)).json()["type"] == "CHANNEL_NOT_FOUND"


async def test_issuing_under_one_idempotency_key_issues_one_key(practice):
    headers = practice.key_header(practice.new_key())

    first = await practice.api.post("/billing-keys", json=ISSUE, headers=headers)
    second = await practice.api.post("/billing-keys", json=ISSUE, headers=headers)

    assert first.content == second.content


async def test_an_unknown_key_is_not_found_anywhere(practice):
    for name in ("no-such-key", "bk-no-such-behaviour-1", "bk-ok-"):
        charged = await practice.charge(practice.new_id(), name)
        looked = await practice.api.get(f"/billing-keys/{name}")
        assert (charged.status_code, charged.json()["type"]) == (404, "BILLING_KEY_NOT_FOUND")
        assert looked.json()["type"] == "BILLING_KEY_NOT_FOUND"


async def test_keys_are_made_in_bulk_by_behaviour(practice):
    made = (await practice.tell("/billing-keys", behaviour="soft-funds", times=1, count=1000, label="demo"))[
        "billingKeys"
    ]
    payment_id = practice.new_id()

    statuses = [(await practice.charge(payment_id, made[999])).status_code for _ in range(2)]

    assert len(set(made)) == 1000
    assert made[0] == "bk-soft-funds-x1-demo-000001"
    assert statuses == [502, 200]


async def test_a_key_of_ones_own_name_takes_a_behaviour(practice):
    await practice.tell("/billing-keys", behaviour="hard-lost", billingKeys=["billing-key-of-mine"])

    declined = await practice.charge(practice.new_id(), "billing-key-of-mine")

    assert declined.json()["pgMessage"] == "분실·도난 카드"
