"""Bookings, lists and refunds against the simulator: made, found, charged by, taken back and given back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from billing_worker.billing.booking import booked_one, weigh_booking
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import (
    Absent,
    Booked,
    Cancellation,
    NoVerdict,
    Paid,
    Payment,
    RefusalScope,
    Refused,
    Revocation,
    Schedule,
)
from billing_worker.portone import lists, refunds, schedules
from billing_worker.portone.client import ChargeOrder, PortOneClient
from billing_worker.portone.schedules import BookingAnswer
from billing_worker.portone.wire import charge_body
from billing_worker.portone.wire_lists import Listed
from billing_worker.portone.wire_schedules import schedule_body
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.simulator.server import in_background
from tests.builders import some_rules
from tests.peers import (
    SECRET,
    a_client,
)
from tests.sound_bookings import a_booking

STORE = "store/1"
DAY = timedelta(days=1)


class Practice:
    """A client of a simulator, and the hands that move its clock and its console."""

    def __init__(self, client: PortOneClient, control: httpx.AsyncClient) -> None:
        self.client = client
        self._control = control

    async def tell(self, path: str, **body: Any) -> dict[str, Any]:
        response = await self._control.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def now(self) -> datetime:
        return datetime.fromisoformat((await self._control.get("/clock")).json()["now"])

    async def jump(self, span: timedelta) -> None:
        await self.tell("/clock", advance_seconds=span.total_seconds())

    async def book(self, payment_id: str, time: datetime, *, billing_key: str = "bk-ok-1") -> BookingAnswer:
        return await schedules.book(self.client, order_of(payment_id, body_of(time, billing_key)))

    async def booked(self, payment_id: str, time: datetime, *, billing_key: str = "bk-ok-1") -> str:
        answer = await self.book(payment_id, time, billing_key=billing_key)
        assert isinstance(answer.outcome, Booked), answer
        return answer.outcome.schedule_id


def body_of(time: datetime, billing_key: str = "bk-ok-1", amount: int = 9900) -> bytes:
    charge = charge_body(
        store_id=STORE,
        billing_key=billing_key,
        channel_key=None,
        order_name="프로 요금제",
        customer_id="customer-1",
        customer_name="홍길동",
        phone_number="01012345678",
        email=None,
        subscription_key="sub-1",
        cycle_number=1,
        amount=Money(amount, "KRW"),
    )
    return schedule_body(payment=charge, time_to_pay=time)


def order_of(payment_id: str, body: bytes) -> ChargeOrder:
    send_before = asyncio.get_running_loop().time() + 30
    return ChargeOrder(
        payment_id=payment_id, idempotency_key=f"{payment_id}-g0001-tests", body=body, send_before=send_before
    )


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with in_background(SimulatorOptions(SECRET, STORE)) as url:
        yield url


@pytest.fixture
async def practice(simulator: str) -> AsyncIterator[Practice]:
    async with a_client(simulator) as client, httpx.AsyncClient(base_url=f"{simulator}/_control") as control:
        made = Practice(client, control)
        await made.tell("/reset")
        yield made


async def test_a_booking_is_made_found_charged_by_and_read_as_paid(practice: Practice) -> None:
    # given
    time = await practice.now() + DAY
    sent = body_of(time)

    # when
    schedule_id = await practice.booked("rb1first", time)
    waiting = await schedules.find_schedule(practice.client, schedule_id, sent=sent)
    await practice.jump(2 * DAY)
    charged = await schedules.find_schedule(practice.client, schedule_id, sent=sent)
    payment = await practice.client.find("rb1first")

    # then
    assert isinstance(waiting, Schedule)
    assert (waiting.status, waiting.payment_id, waiting.billing_key_matches) == ("SCHEDULED", "rb1first", True)
    assert (waiting.amount_minor, waiting.currency, waiting.store_id) == (9900, "KRW", STORE)
    assert abs(waiting.time_to_pay - time) < timedelta(seconds=1)
    assert isinstance(charged, Schedule)
    assert charged.status == "SUCCEEDED"
    assert isinstance(payment, Payment)
    booking = a_booking(payment_id="rb1first", time_to_pay=time, schedule_id=schedule_id, store_id=STORE)
    now, rules = time + DAY, some_rules(store_id=STORE)
    assert isinstance(weigh_booking(booking, charged, payment, asked_at=now, now=now, rules=rules), Paid)


async def test_a_booking_whose_answer_was_lost_is_found_by_its_billing_key(practice: Practice) -> None:
    # given
    time = await practice.now() + DAY
    await practice.booked("rb1another", time)
    schedule_id = await practice.booked("rb1lost", time + DAY)
    await practice.tell("/schedules/edit", scheduleId=schedule_id, timeToPay=(time + 20 * DAY).isoformat())

    # when
    found = await schedules.schedules_of(practice.client, "rb1lost", time_to_pay=time + DAY, sent=body_of(time))
    nothing = await schedules.schedules_of(practice.client, "rb1never", time_to_pay=time, sent=body_of(time))
    stranger = await schedules.schedules_of(practice.client, "rb1lost", time_to_pay=time, sent=body_of(time, "bk-ok-2"))

    # then
    assert isinstance(found, tuple)
    assert [(one.schedule_id, one.billing_key_matches) for one in found] == [(schedule_id, True)]
    assert (nothing, stranger) == ((), ())
    assert booked_one(a_booking(payment_id="rb1lost"), found, some_rules()) == found[0]


async def test_the_same_bytes_under_the_same_key_book_once(practice: Practice) -> None:
    time = await practice.now() + DAY

    first, second = await practice.book("rb1once", time), await practice.book("rb1once", time)

    assert first == second == BookingAnswer(first.outcome, sends=1)
    assert isinstance(first.outcome, Booked)


async def test_a_second_booking_of_a_payment_id_is_looked_for_and_a_bad_one_is_refused(practice: Practice) -> None:
    # given
    time = await practice.now() + DAY
    await practice.booked("rb1twice", time)
    other_key = ChargeOrder(
        payment_id="rb1twice",
        idempotency_key="rb1twice-g0002-tests",
        body=body_of(time),
        send_before=asyncio.get_running_loop().time() + 30,
    )

    # when
    again = await schedules.book(practice.client, other_key)
    unknown = await practice.book("rb1unknown", time, billing_key="no-such-key")
    past = await practice.book("rb1past", time - 2 * DAY)

    # then
    assert again.outcome == NoVerdict("PAYMENT_SCHEDULE_ALREADY_EXISTS", look_now=True)
    assert isinstance(unknown.outcome, Refused)
    assert (unknown.outcome.error_type, unknown.outcome.scope) == ("BILLING_KEY_NOT_FOUND", RefusalScope.CARD)
    assert isinstance(past.outcome, Refused)
    assert (past.outcome.error_type, past.outcome.scope) == ("INVALID_REQUEST", RefusalScope.CYCLE)


async def test_a_booking_is_taken_back_once_and_too_late_is_too_late(practice: Practice) -> None:
    # given
    time = await practice.now() + DAY
    wanted, late = await practice.booked("rb1back", time + DAY), await practice.booked("rb1late", time)

    # when
    done = await schedules.revoke(practice.client, wanted)
    again = await schedules.revoke(practice.client, wanted)
    await practice.jump(DAY + timedelta(hours=1))
    processed = await schedules.revoke(practice.client, late)
    unknown = await schedules.revoke(practice.client, "schedule-of-nobody")

    # then
    assert (done, again) == (Revocation.DONE, Revocation.ALREADY_REVOKED)
    assert (processed, unknown) == (Revocation.ALREADY_PROCESSED, Revocation.NOT_FOUND)
    found = await schedules.find_schedule(practice.client, wanted)
    assert isinstance(found, Schedule)
    assert found.status == "REVOKED"
    assert await schedules.find_schedule(practice.client, "schedule-of-nobody") == Absent()


async def test_every_schedule_of_a_window_is_listed_however_many_pages_there_are(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(schedules, "PAGE_SIZE", 2)
    time = await practice.now() + DAY
    made = [await practice.booked(f"rb1many{number}", time) for number in range(5)]
    await practice.booked("rb1beyond", time + 30 * DAY)

    # when
    found = await schedules.schedules(practice.client, from_=time - DAY, until=time + DAY)

    # then
    assert isinstance(found, Listed)
    assert [one.schedule_id for one in found.items] == made
    assert found.unread == ()


async def test_payments_and_events_of_a_window_are_listed_page_by_page(practice: Practice) -> None:
    # given
    start = await practice.now()
    for number in range(3):
        await practice.booked(f"rb1listed{number}", start + DAY + timedelta(hours=number))
    await practice.jump(2 * DAY)
    window = {"from_": start, "until": start + 3 * DAY}

    # when
    pages = [await lists.payments(practice.client, page=page, size=2, **window) for page in range(3)]
    first = await lists.payment_events(practice.client, cursor=None, size=2, **window)
    assert isinstance(first, Listed)
    second = await lists.payment_events(practice.client, cursor=first.cursor, size=2, **window)
    assert isinstance(second, Listed)
    last = await lists.payment_events(practice.client, cursor=second.cursor, size=2, **window)

    # then
    assert [[one.payment_id for one in page.items] for page in pages if isinstance(page, Listed)] == [
        ["rb1listed0", "rb1listed1"],
        ["rb1listed2"],
        [],
    ]
    events = [*first.items, *second.items]
    assert [(one.event_type, one.payment_id) for one in events] == [("PAID", f"rb1listed{n}") for n in range(3)]
    assert last == Listed(())


async def test_a_refund_of_a_part_is_made_once_and_shows_in_the_payment(practice: Practice) -> None:
    # given
    start = await practice.now()
    await practice.booked("rb1refund", start + DAY)
    await practice.jump(2 * DAY)
    asked: dict[str, Any] = {"amount_minor": 900, "current_cancellable_minor": 9900, "reason": "고객 요청"}
    asked |= {"requester": "CUSTOMER"}

    # when
    done = await refunds.cancel_payment(practice.client, "rb1refund", idempotency_key="rb1refund-r-tests-01", **asked)
    replayed = await refunds.cancel_payment(
        practice.client, "rb1refund", idempotency_key="rb1refund-r-tests-01", **asked
    )
    stale = await refunds.cancel_payment(practice.client, "rb1refund", idempotency_key="rb1refund-r-tests-02", **asked)
    payment = await practice.client.find("rb1refund")

    # then
    assert isinstance(done, Cancellation)
    assert (done.status, done.amount_minor, done.trigger) == ("SUCCEEDED", 900, "API")
    assert replayed == done
    assert isinstance(stale, Refused)
    assert stale.error_type == "CANCELLABLE_AMOUNT_CONSISTENCY_BROKEN"
    assert isinstance(payment, Payment)
    assert (payment.refunded_minor, payment.cancellations) == (900, (done,))


async def test_a_contested_payment_says_so_until_that_is_resolved(practice: Practice) -> None:
    # given
    await practice.booked("rb1contested", await practice.now() + DAY)
    await practice.jump(2 * DAY)

    # when
    before = await practice.client.find("rb1contested")
    await practice.tell("/payments/dispute", paymentId="rb1contested")
    during = await practice.client.find("rb1contested")
    await practice.tell("/payments/resolve", paymentId="rb1contested")
    after = await practice.client.find("rb1contested")

    # then
    assert [isinstance(one, Payment) and one.disputed for one in (before, during, after)] == [False, True, False]
