"""What the simulator refuses before any PG is asked: secrets, stores, channels, and the limits of the PG."""

import json

import pytest


def _refusal(response):
    return response.status_code, response.json()["type"]


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "PortOne wrong"}, {"Authorization": "Bearer practice-secret"}]
)
async def test_only_the_api_secret_opens_the_door(practice, header):
    practice.api.headers.pop("Authorization")

    response = await practice.api.post(
        f"/payments/{practice.new_id()}/billing-key", json=practice.body(), headers=header
    )

    assert _refusal(response) == (401, "UNAUTHORIZED")
    assert (await practice.ask("/truth", summary=1))["executions"] == 0


async def test_the_store_is_named_in_the_query_when_looking_and_in_the_body_when_charging(practice):
    payment_id = practice.new_id()
    ours, others = {"storeId": practice.store_id}, {"storeId": "store-of-others"}

    assert _refusal(await practice.charge(payment_id, **others)) == (403, "FORBIDDEN")
    assert (await practice.charge(payment_id, **ours)).status_code == 200
    assert (await practice.api.get(f"/payments/{payment_id}", params=ours)).json()["storeId"] == practice.store_id
    for path in (f"/payments/{payment_id}", f"/payments/{payment_id}/transactions", "/billing-keys/bk-ok-1"):
        assert _refusal(await practice.api.get(path, params=others)) == (403, "FORBIDDEN")
    assert _refusal(await practice.api.delete("/billing-keys/bk-ok-1", params=others)) == (403, "FORBIDDEN")
    assert _refusal(await practice.cancel(payment_id, **others)) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("payment_id", "taken"),
    [("a" * 32, True), ("a" * 33, False), ("rb1-with-hyphen", False), ("rb1_under", False), ("한글", False)],
)
async def test_kpn_takes_letters_and_digits_up_to_32(practice, payment_id, taken):
    response = await practice.charge(payment_id)

    assert response.status_code == (200 if taken else 400)
    if len(payment_id) > 32:
        assert response.json()["message"] == "paymentId MAX_LENGTH 32"


@pytest.mark.parametrize(("order_name", "taken"), [("가" * 85, True), ("가" * 85 + "ab", False), ("a" * 256, True)])
async def test_kpn_takes_order_names_up_to_256_bytes(practice, order_name, taken):
    response = await practice.charge(practice.new_id(), orderName=order_name)

    assert response.status_code == (200 if taken else 400)
    if not taken:
        assert response.json()["message"] == "orderName MAX_BYTES 256"


async def test_another_pg_has_other_limits(practice):
    await practice.reset(pg="OTHER")

    assert (await practice.charge("order_2026-09-01")).status_code == 200
    assert (await practice.charge("a" * 65)).status_code == 400
    assert (await practice.charge(practice.new_id(), orderName="가" * 13)).status_code == 200
    assert (await practice.charge(practice.new_id(), orderName="가" * 14)).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": {"total": 0}},
        {"amount": {"total": -1}},
        {"amount": {"total": 99.5}},
        {"amount": {"total": "9900"}},
        {"amount": {"total": True}},
        {"amount": {}},
        {"amount": 9900},
        {"amount": {"total": 100, "taxFree": -1}},
        {"currency": "EUR"},
        {"currency": "CURRENCY_KRW"},
        {"currency": None},
        {"orderName": None},
        {"billingKey": None},
        {"billingKey": 7},
        {"storeId": 7},
        {"customData": {"a": 1}},
        {"skipWebhook": "no"},
        {"customer": "홍길동"},
        {"customer": {"name": "홍길동"}},
        {"customer": {"name": {}}},
        {"customer": {"name": {"separated": {"first": "길동"}}}},
        {"customer": {"id": 7}},
    ],
)
async def test_a_field_of_the_wrong_kind_is_an_invalid_request(practice, fields):
    payment_id = practice.new_id()

    response = await practice.api.post(f"/payments/{payment_id}/billing-key", json=practice.body() | fields)

    assert _refusal(response) == (400, "INVALID_REQUEST")
    assert (await practice.look(payment_id)).status_code == 404


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_an_invalid_request(practice, content):
    response = await practice.api.post(f"/payments/{practice.new_id()}/billing-key", content=content)

    assert _refusal(response) == (400, "INVALID_REQUEST")


async def test_a_body_beyond_the_bound_is_an_invalid_request(practice):
    await practice.reset(body_bytes_max=1000)

    response = await practice.charge(practice.new_id(), customData="x" * 1000)

    assert _refusal(response) == (400, "INVALID_REQUEST")


async def test_a_letter_that_no_encoding_holds_is_taken_and_shown_as_a_question_mark(practice):
    payment_id = practice.new_id()
    content = json.dumps(practice.body() | {"orderName": "프로 \ud800"})

    charged = await practice.api.post(f"/payments/{payment_id}/billing-key", content=content)

    assert charged.status_code == 200
    assert (await practice.look(payment_id)).json()["orderName"] == "프로 ?"


async def test_parts_beyond_the_total_are_a_409_that_is_not_already_paid(practice):
    body = practice.body() | {"amount": {"total": 1000, "taxFree": 1001}}

    response = await practice.api.post(f"/payments/{practice.new_id()}/billing-key", json=body)

    assert _refusal(response) == (409, "SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT")


async def test_a_channel_key_is_checked_only_when_channels_were_configured(practice):
    unchecked = await practice.charge(practice.new_id(), channelKey="any-channel")

    await practice.reset(channel_keys=["channel-1"])
    known = await practice.charge(practice.new_id(), channelKey="channel-1")
    unknown = await practice.charge(practice.new_id(), channelKey="channel-2")

    assert (unchecked.status_code, known.status_code) == (200, 200)
    assert _refusal(unknown) == (404, "CHANNEL_NOT_FOUND")


async def test_a_path_the_simulator_does_not_speak_is_a_404_of_its_own(practice):
    for path in ("/", "/billing-keys", "/payments//billing-key", "/payments/a/b/c", "/payment-schedule"):
        assert _refusal(await practice.api.get(path)) == (404, "ROUTE_NOT_FOUND")


async def test_an_escaped_slash_belongs_to_the_payment_id(practice):
    response = await practice.api.get("/payments/a%2Fbilling-key")

    assert _refusal(response) == (404, "PAYMENT_NOT_FOUND")
