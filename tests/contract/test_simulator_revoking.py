"""Schedules of the simulator: revoked, listed, and the calls about them lost on the wire."""

import json
from datetime import timedelta

import httpx
import pytest

from tests.contract.booking import DAY, book, booked, jump, listed, look, now_of, refusal, revoke

NO_ANSWER = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.mark.parametrize("in_query", [False, True])
async def test_a_revoked_schedule_never_fires(practice, in_query):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id)

    revoked = await revoke(practice, in_query=in_query, scheduleIds=[schedule_id])
    await jump(practice, 3 * DAY)

    assert revoked.json()["revokedScheduleIds"] == [schedule_id]
    assert (await look(practice, schedule_id)).json()["status"] == "REVOKED"
    assert (await practice.look(payment_id)).status_code == 404


async def test_revoking_is_all_or_nothing(practice):
    living, revoked, fired = [await booked(practice, practice.new_id(), seconds=days * DAY) for days in (5, 5, 1)]
    await revoke(practice, scheduleIds=[revoked])
    await jump(practice, 2 * DAY)

    answers = [await revoke(practice, scheduleIds=[living, other]) for other in (revoked, fired, "schedule-never-was")]

    assert [refusal(one) for one in answers] == [
        (409, "PAYMENT_SCHEDULE_ALREADY_REVOKED"),
        (409, "PAYMENT_SCHEDULE_ALREADY_PROCESSED"),
        (404, "PAYMENT_SCHEDULE_NOT_FOUND"),
    ]
    assert (await look(practice, living)).json()["status"] == "SCHEDULED"


async def test_a_billing_key_alone_revokes_everything_of_that_key(practice):
    mine = [await booked(practice, practice.new_id(), "bk-ok-mine") for _ in range(2)]
    other = await booked(practice, practice.new_id(), "bk-ok-other")

    wrong_key = await revoke(practice, billingKey="bk-ok-other", scheduleIds=mine)
    nobody = await revoke(practice)
    unknown = await revoke(practice, billingKey="no-such-key")
    revoked = await revoke(practice, billingKey="bk-ok-mine")

    assert refusal(wrong_key) == (404, "PAYMENT_SCHEDULE_NOT_FOUND")
    assert refusal(nobody) == (400, "INVALID_REQUEST")
    assert refusal(unknown) == (404, "BILLING_KEY_NOT_FOUND")
    assert sorted(revoked.json()["revokedScheduleIds"]) == sorted(mine)
    assert (await look(practice, other)).json()["status"] == "SCHEDULED"


async def test_booking_and_revoking_repeat_their_answers_under_one_key(practice):
    payment_id, key, other_key = practice.new_id(), practice.new_key(), practice.new_key()
    at = (await now_of(practice) + timedelta(days=1)).isoformat()

    first = await book(practice, payment_id, at=at, key=key)
    second = await book(practice, payment_id, at=at, key=key)
    schedule_id = first.json()["schedule"]["id"]
    revoked = await revoke(practice, scheduleIds=[schedule_id], key=other_key, in_query=True)
    again = await revoke(practice, scheduleIds=[schedule_id], key=other_key, in_query=True)
    mismatch = await revoke(practice, scheduleIds=["another"], key=other_key, in_query=True)

    assert first.content == second.content
    assert revoked.content == again.content
    assert refusal(mismatch) == (400, "INVALID_REQUEST")
    assert len((await practice.ask("/schedules"))["schedules"]) == 1


async def test_the_usual_window_hides_the_future(practice):
    schedule_id = await booked(practice, practice.new_id())
    now = await now_of(practice)

    usual = await listed(practice)
    ahead = await listed(practice, filter={"from": now.isoformat(), "until": (now + timedelta(days=9)).isoformat()})
    await jump(practice, 2 * DAY)
    afterwards = await listed(practice)

    assert usual["items"] == []
    assert [one["id"] for one in ahead["items"]] == [one["id"] for one in afterwards["items"]] == [schedule_id]


async def test_schedules_are_listed_by_page_newest_first_and_filtered(practice):
    ids = [await booked(practice, practice.new_id(), f"bk-ok-{n % 2}", seconds=(n + 1) * DAY) for n in range(12)]
    now = await now_of(practice)
    window = {"from": now.isoformat(), "until": (now + timedelta(days=99)).isoformat()}
    await revoke(practice, scheduleIds=[ids[0]])

    pages = [await listed(practice, filter=window, page={"number": number}) for number in range(3)]
    upwards = await listed(practice, filter=window, sort={"by": "CREATED_AT", "order": "ASC"}, page={"size": 100})
    of_key = await listed(practice, filter={**window, "billingKey": "bk-ok-1"}, page={"size": 100})
    revoked = await listed(practice, filter={**window, "status": ["REVOKED"]})
    live = await listed(practice, filter={**window, "isForTest": False})

    assert [one["id"] for page in pages for one in page["items"]] == ids[::-1]
    assert pages[0]["page"] == {"number": 0, "size": 10, "totalCount": 12}
    assert [len(page["items"]) for page in pages] == [10, 2, 0]
    assert [one["id"] for one in upwards["items"]] == ids
    assert [one["id"] for one in of_key["items"]] == ids[1::2][::-1]
    assert [one["id"] for one in revoked["items"]] == ids[:1]
    assert live["items"] == []


async def test_a_list_may_be_asked_for_with_a_body(practice):
    await booked(practice, practice.new_id())
    now = await now_of(practice)
    window = {"from": now.isoformat(), "until": (now + timedelta(days=9)).isoformat()}

    response = await practice.api.request("GET", "/payment-schedules", json={"filter": window})

    assert response.json()["page"]["totalCount"] == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": {"from": "2026-01-01"}},
        {"filter": {"from": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
        {"filter": {"status": ["DONE"]}},
        {"filter": {"no_such": 1}},
        {"filter": []},
        {"page": {"number": -1}},
        {"page": {"size": 0}},
        {"page": {"size": 1001}},
        {"sort": {"by": "COLOUR"}},
    ],
)
async def test_a_list_that_cannot_be_had_is_refused(practice, asked):
    response = await practice.api.get("/payment-schedules", params={"requestBody": json.dumps(asked)})

    assert refusal(response) == (400, "INVALID_REQUEST")


async def test_bookings_can_be_lost_on_the_wire_with_and_without_effect(practice):
    kept_id, lost_id = practice.new_id(), practice.new_id()
    await practice.tell("/scripts", behaviour="drop-charged", on="schedule", paymentId=kept_id)
    await practice.tell("/scripts", behaviour="drop-uncharged", on="schedule", paymentId=lost_id)

    for payment_id in (kept_id, lost_id):
        with pytest.raises(NO_ANSWER):
            await book(practice, payment_id)

    assert [one["paymentId"] for one in (await practice.ask("/schedules"))["schedules"]] == [kept_id]


@pytest.mark.parametrize(("behaviour", "status"), [("html502", 502), ("429", 429), ("401", 401), ("503", 503)])
async def test_every_call_about_schedules_can_be_struck(practice, behaviour, status):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id)
    for call in ("schedule", "look_at_schedule", "list", "revoke"):
        await practice.tell("/scripts", behaviour=behaviour, on=call)

    struck = [
        await book(practice, practice.new_id()),
        await look(practice, schedule_id),
        await practice.api.get("/payment-schedules"),
        await revoke(practice, scheduleIds=[schedule_id]),
    ]

    assert [one.status_code for one in struck] == [status] * 4
    assert (await look(practice, schedule_id)).json()["status"] == "SCHEDULED"


async def test_a_revocation_can_be_lost_on_the_wire_after_it_was_done(practice):
    payment_id = practice.new_id()
    schedule_id = await booked(practice, payment_id)
    await practice.tell("/scripts", behaviour="drop-charged", on="revoke", paymentId=payment_id)

    with pytest.raises(NO_ANSWER):
        await revoke(practice, scheduleIds=[schedule_id])

    assert (await look(practice, schedule_id)).json()["status"] == "REVOKED"
