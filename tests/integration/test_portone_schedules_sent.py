"""Bookings, lists and refunds on the wire: what is sent, once and again, and what a bad peer is believed."""

import asyncio
import json
import logging
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from billing_worker.billing.outcomes import (
    Absent,
    Booked,
    NoVerdict,
    RefusalScope,
    Refused,
    Revocation,
    Unanswered,
)
from billing_worker.portone import lists, refunds, schedules
from billing_worker.portone.client import ChargeOrder
from billing_worker.portone.schedules import BookingAnswer
from billing_worker.portone.transport import AiohttpTransport
from billing_worker.portone.wire_lists import Listed
from tests.builders import eventually
from tests.peers import (
    BILLING_KEY,
    BODY,
    SECRET,
    a_client,
    a_peer,
    an_order,
    answers,
    closes,
    error,
    hangs,
    pays_when_released,
)

BOOKED = Booked("schedule-1")
BOOKED_BODY = b'{"schedule":{"id":"schedule-1"}}'
REVOKED_BODY = b'{"revokedScheduleIds":["schedule/1"]}'
FROM, UNTIL = datetime.fromisoformat("2026-09-01T00:00:00Z"), datetime.fromisoformat("2026-10-01T00:00:00Z")
NO_ITEMS = b'{"items":[]}'


async def test_a_booking_is_sent_as_a_charge_is_to_its_own_address() -> None:
    async with a_peer(answers(BOOKED_BODY)) as peer, a_client(peer.address) as client:
        answer = await schedules.book(client, an_order(payment_id="rb1/x"))

    assert answer == BookingAnswer(BOOKED, sends=1)
    sent = peer.received[0]
    assert (sent.method, sent.target, sent.body) == ("POST", "/payments/rb1%2Fx/schedule", BODY)
    assert sent.headers["idempotency-key"] == '"rb1payment-g0001"'
    assert sent.headers["content-type"] == "application/json"


async def test_a_resent_booking_has_the_same_bytes_under_the_same_key() -> None:
    script = (closes, error("IDEMPOTENCY_OUTSTANDING_REQUEST", status=409), answers(BOOKED_BODY))
    async with a_peer(*script) as peer, a_client(peer.address, resends_max=5) as client:
        answer = await schedules.book(client, an_order())

    assert answer == BookingAnswer(BOOKED, sends=3)
    assert {(one.target, one.body, one.headers["idempotency-key"]) for one in peer.received} == {
        ("/payments/rb1payment/schedule", BODY, '"rb1payment-g0001"')
    }


async def test_a_booking_that_is_lost_on_its_way_is_no_verdict() -> None:
    async with a_peer(closes) as peer, a_client(peer.address) as client:
        answer = await schedules.book(client, an_order())
        found = await schedules.find_schedule(client, "schedule-1")
        listed = await schedules.schedules(client, from_=FROM, until=UNTIL)
        revoked = await schedules.revoke(client, "schedule-1")

    assert answer == BookingAnswer(NoVerdict("no answer", resend=True), sends=1)
    assert found == listed == Unanswered("no answer")
    assert revoked == NoVerdict("no answer", resend=True)


async def test_no_booking_leaves_after_its_deadline() -> None:
    async with a_peer(answers(BOOKED_BODY)) as peer, a_client(peer.address) as client:
        answer = await schedules.book(client, an_order(seconds=0))

    assert answer == BookingAnswer(NoVerdict("send deadline passed"), sends=0)
    assert peer.connections == 0


async def test_no_booking_leaves_a_worker_that_was_frozen_meanwhile() -> None:
    seconds = 0.0

    class Frozen(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal seconds
            seconds += 11_000.0
            return await super().handle_async_request(request)

    async with a_peer(answers()) as peer, a_client(peer.address, seconds=lambda: seconds, transport=Frozen) as client:
        order = ChargeOrder(payment_id="rb1payment", idempotency_key="rb1payment-g0001", body=BODY, send_before=20.0)
        answer = await schedules.book(client, order)

    assert answer == BookingAnswer(NoVerdict("no answer"), sends=1)
    assert peer.received == []


async def test_cancelling_the_caller_ends_neither_a_booking_nor_a_revocation() -> None:
    async with a_peer(pays_when_released) as peer, a_client(peer.address) as client:
        calls = [
            asyncio.create_task(schedules.book(client, an_order())),
            asyncio.create_task(schedules.revoke(client, "schedule-1")),
        ]
        await peer.until_received(2)

        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

        assert all(call.cancelled() for call in calls)
        assert peer.hung_up == 0
        peer.release.set()


async def test_bookings_and_looks_wait_for_the_same_limiter_as_charges() -> None:
    changes = {"requests_per_second": 0.01, "burst": 1, "look_read_seconds": 0.1, "connect_seconds": 0.1}
    async with a_peer(answers(BOOKED_BODY)) as peer, a_client(peer.address, **changes) as client:
        first = await schedules.book(client, an_order())
        second = await schedules.book(client, an_order(seconds=0.1))
        found = await schedules.find_schedule(client, "schedule-1")

    assert (first.sends, second.sends, found) == (1, 0, Unanswered("no turn in time"))
    assert len(peer.received) == 1


async def test_looks_that_wait_leave_half_of_the_requests_to_sends() -> None:
    async with a_peer(answers(BOOKED_BODY)) as peer, a_client(peer.address, requests_per_second=50, burst=2) as client:
        looks = [asyncio.create_task(schedules.find_schedule(client, "schedule-1")) for _ in range(40)]
        await peer.until_received(1)
        for _ in range(3):
            await schedules.book(client, an_order())
        methods = [each.method for each in peer.received]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    assert methods.count("POST") == 3
    assert methods.count("GET") <= 8


async def test_a_booking_is_taken_back_by_its_own_id_and_never_by_the_billing_key() -> None:
    async with a_peer(closes, answers(REVOKED_BODY)) as peer, a_client(peer.address, resends_max=3) as client:
        revoked = await schedules.revoke(client, "schedule/1")

    assert revoked is Revocation.DONE
    assert len(peer.received) == 2
    for sent in peer.received:
        target = urlsplit(sent.target)
        assert (sent.method, target.path, sent.body) == ("DELETE", "/payment-schedules", b"")
        assert json.loads(parse_qs(target.query)["requestBody"][0]) == {
            "storeId": "store/1",
            "scheduleIds": ["schedule/1"],
        }
        assert "idempotency-key" not in sent.headers


async def test_a_look_at_a_schedule_names_it_and_our_store() -> None:
    async with a_peer(error("PAYMENT_SCHEDULE_NOT_FOUND", status=404)) as peer, a_client(peer.address) as client:
        found = await schedules.find_schedule(client, "schedule/1")

    assert found == Absent()
    assert peer.received[0].target == "/payment-schedules/schedule%2F1?storeId=store%2F1"


async def test_a_billing_key_stands_in_no_log_and_in_no_address_but_the_question_for_its_schedules(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    tells = json.dumps({"type": "INVALID_REQUEST", "message": f"{BILLING_KEY} of {SECRET}"}).encode()
    sent = json.dumps({"payment": {"billingKey": BILLING_KEY}}).encode()
    script = (answers(NO_ITEMS), answers(tells, status=400), answers(tells, status=400))
    async with a_peer(*script) as peer, a_client(peer.address) as client:
        listed = await schedules.schedules_of(client, "rb1payment", time_to_pay=FROM, sent=sent)
        told = [await schedules.book(client, an_order()), await schedules.revoke(client, "schedule-1")]

    assert listed == ()
    assert [BILLING_KEY in one.target for one in peer.received] == [True, False, False]
    for text in (caplog.text, repr(told)):
        assert SECRET not in text
    assert BILLING_KEY not in caplog.text + repr(told[0])


async def test_a_list_ends_at_the_first_empty_page_and_fails_as_a_whole() -> None:
    async with a_peer(answers(b'{"items":[{}]}'), answers(NO_ITEMS), closes) as peer, a_client(peer.address) as client:
        whole = await schedules.schedules(client, from_=FROM, until=UNTIL)
        lost = await schedules.schedules(client, from_=FROM, until=UNTIL)

    assert whole == Listed((), ("schedule of no name without id",))
    assert lost == Unanswered("no answer")
    numbers = [json.loads(parse_qs(urlsplit(one.target).query)["requestBody"][0])["page"] for one in peer.received]
    # A question on a connection that dies under it may be asked once more by the library.
    assert numbers[:3] == [{"number": 0, "size": 100}, {"number": 1, "size": 100}, {"number": 0, "size": 100}]


async def test_a_list_without_end_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "PAGES_MAX", 3)
    async with a_peer(answers(b'{"items":[{}]}')) as peer, a_client(peer.address) as client:
        found = await schedules.schedules(client, from_=FROM, until=UNTIL)

    assert found == Unanswered("more than 3 pages of schedules")
    assert len(peer.received) == 3


async def test_what_cannot_be_read_may_be_ours_and_is_not_taken_for_absent() -> None:
    async with a_peer(answers(b'{"items":[{"id":"x"}]}'), answers(NO_ITEMS)) as peer, a_client(peer.address) as client:
        found = await schedules.schedules_of(client, "rb1payment", time_to_pay=FROM, sent=BODY)

    assert found == Unanswered("a schedule of the billing key cannot be read")


async def test_a_refusal_of_a_refund_after_a_lost_answer_is_no_verdict() -> None:
    asked: dict[str, Any] = {"amount_minor": 1, "current_cancellable_minor": 2, "reason": "왜", "requester": "ADMIN"}
    refuses = error("PAYMENT_ALREADY_CANCELLED", status=409)
    async with a_peer(refuses, closes, refuses) as peer, a_client(peer.address, resends_max=3) as client:
        once = await refunds.cancel_payment(client, "rb1/x", idempotency_key="rb1payment-r0001", **asked)
        twice = await refunds.cancel_payment(client, "rb1/x", idempotency_key="rb1payment-r0002", **asked)

    assert once == Refused("PAYMENT_ALREADY_CANCELLED", "왜", RefusalScope.CYCLE)
    assert twice == NoVerdict("PAYMENT_ALREADY_CANCELLED after a lost answer", look_now=True)
    with pytest.raises(ValueError, match="idempotency key"):
        await refunds.cancel_payment(client, "rb1", idempotency_key="too-short", **asked)
    assert [one.target for one in peer.received] == ["/payments/rb1%2Fx/cancel"] * 3
    assert [one.headers["idempotency-key"] for one in peer.received[1:]] == ['"rb1payment-r0002"'] * 2
    assert len({one.body for one in peer.received}) == 1


async def test_lists_that_cannot_be_had_are_no_answer() -> None:
    window = {"from_": FROM, "until": UNTIL}
    async with a_peer(hangs) as peer, a_client(peer.address, look_read_seconds=0.2, connect_seconds=0.2) as client:
        payments = await lists.payments(client, page=0, size=10, **window)
        events = await lists.payment_events(client, cursor=None, size=10, **window)

        async def gave_up() -> bool:
            return peer.hung_up == 2

        await eventually(gave_up)

    assert payments == events == Unanswered("no answer")


async def test_no_page_is_asked_for_that_portone_does_not_have() -> None:
    window = {"from_": FROM, "until": UNTIL}
    async with a_peer(answers(NO_ITEMS)) as peer, a_client(peer.address) as client:
        assert await lists.payments(client, page=599, size=100, **window) == Listed(())
        with pytest.raises(AssertionError):
            await lists.payments(client, page=600, size=100, **window)
        with pytest.raises(AssertionError):
            await lists.payment_events(client, cursor=None, size=1001, **window)
