"""Calls about schedules, as contract tests make them."""

import json
from datetime import datetime, timedelta

DAY = 86_400


async def now_of(practice):
    return datetime.fromisoformat((await practice.ask("/clock"))["now"])


async def book(practice, payment_id, billing_key="bk-ok-1", *, seconds=DAY, key="fresh", at=None, **fields):
    time_to_pay = at or (await now_of(practice) + timedelta(seconds=seconds)).isoformat()
    body = {"payment": practice.body(billing_key, **fields), "timeToPay": time_to_pay}
    return await practice.api.post(f"/payments/{payment_id}/schedule", json=body, headers=practice.key_header(key))


async def booked(practice, payment_id, billing_key="bk-ok-1", **how):
    response = await book(practice, payment_id, billing_key, **how)
    assert response.status_code == 200, response.text
    return response.json()["schedule"]["id"]


async def look(practice, schedule_id):
    return await practice.api.get(f"/payment-schedules/{schedule_id}")


async def revoke(practice, *, in_query=False, key="fresh", **asked):
    headers = practice.key_header(key)
    if in_query:
        query = {"requestBody": json.dumps(asked)}
        return await practice.api.request("DELETE", "/payment-schedules", params=query, headers=headers)
    return await practice.api.request("DELETE", "/payment-schedules", json=asked, headers=headers)


async def listed(practice, **asked):
    response = await practice.api.get("/payment-schedules", params={"requestBody": json.dumps(asked)})
    assert response.status_code == 200, response.text
    return response.json()


async def jump(practice, seconds):
    await practice.tell("/clock", advance_seconds=seconds)


def refusal(response):
    return response.status_code, response.json()["type"]
