"""Payments by page and by cursor, and the feed of what moved money."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from billing_worker.simulator.bank import Happening, Order, Payment, Status, Transaction, What
from billing_worker.simulator.feed import Feed
from tests.contract.booking import booked

DAY = 86_400


async def listed(practice, path="/payments", **asked):
    response = await practice.api.get(path, params={"requestBody": json.dumps(asked)})
    assert response.status_code == 200, response.text
    return response.json()


async def instant(practice):
    return (await practice.ask("/clock"))["now"]


async def read_to_the_end(practice, path, *, size):
    """Every item of a cursor's pages."""
    items, cursor = [], None
    while True:
        page = (await listed(practice, path, size=size, **({"cursor": cursor} if cursor else {})))["items"]
        if not page:
            return items
        items += page
        cursor = page[-1]["cursor"]


async def test_payments_come_by_page_the_last_change_first(practice):
    ids = [practice.new_id() for _ in range(12)]
    for payment_id in ids:
        await practice.charge(payment_id)

    pages = [await listed(practice, page={"number": number}) for number in range(3)]

    assert [one["id"] for page in pages for one in page["items"]] == ids[::-1]
    assert pages[1]["page"] == {"number": 1, "size": 10, "totalCount": 12}


async def test_payments_are_filtered(practice):
    paid_id, failed_id, scheduled_id = practice.new_id(), practice.new_id(), practice.new_id()
    await practice.charge(paid_id)
    await practice.charge(failed_id, "bk-hard-lost-1")
    await booked(practice, scheduled_id, seconds=60)
    await practice.tell("/clock", advance_seconds=120)

    async def ids(**asked):
        return {one["id"] for one in (await listed(practice, filter=asked))["items"]}

    assert await ids(status=["FAILED"]) == {failed_id}
    assert await ids(status=["PAID"]) == {paid_id, scheduled_id}
    assert await ids(isScheduled=True) == {scheduled_id}
    assert await ids(isTest=False) == set()
    assert await ids(isTest=True, storeId=practice.store_id) == {paid_id, failed_id, scheduled_id}
    assert await ids(currency="USD") == await ids(version="V1") == set()


async def test_a_window_is_about_creation_or_the_last_change(practice):
    payment_id = practice.new_id()
    await practice.charge(payment_id)
    await practice.tell("/clock", advance_seconds=DAY)
    after = await instant(practice)
    await practice.cancel(payment_id)

    changed = await listed(practice, filter={"timestampType": "STATUS_CHANGED_AT", "from": after})
    created = await listed(practice, filter={"timestampType": "CREATED_AT", "from": after})
    earlier = await listed(practice, filter={"timestampType": "CREATED_AT", "until": after})

    assert [one["status"] for one in changed["items"]] == ["CANCELLED"]
    assert created["items"] == []
    assert [one["id"] for one in earlier["items"]] == [payment_id]


async def test_the_usual_window_is_ninety_days(practice):
    await practice.charge(practice.new_id())
    await practice.tell("/clock", advance_seconds=91 * DAY)

    usual = await listed(practice)
    start = (datetime.fromisoformat(await instant(practice)) - timedelta(days=99)).isoformat()
    wider = await listed(practice, filter={"from": start})

    assert (len(usual["items"]), len(wider["items"])) == (0, 1)


async def test_a_kept_list_is_made_anew_when_anything_changes(practice):
    first, second = practice.new_id(), practice.new_id()
    until = (datetime.fromisoformat(await instant(practice)) + timedelta(days=1)).isoformat()
    await practice.charge(first)
    before = await listed(practice, filter={"until": until})
    await practice.tell("/scripts", behaviour="invisible", paymentId=second, on="charge")
    lost = await asyncio.gather(practice.charge(second), return_exceptions=True)

    hidden = await listed(practice, filter={"until": until})
    await practice.tell("/clock", advance_seconds=31)
    seen = await listed(practice, filter={"until": until})

    assert isinstance(lost[0], Exception)
    assert [len(one["items"]) for one in (before, hidden, seen)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/payments", {"page": {"number": 60, "size": 1000}}),
        ("/payments", {"filter": {"textSearch": []}}),
        ("/payments", {"filter": {"status": ["SOLD"]}}),
        ("/payments", {"filter": {"isTest": "yes"}}),
        ("/payments-by-cursor", {"size": 1001}),
        ("/payments-by-cursor", {"cursor": "nonsense!"}),
        ("/payment-events-by-cursor", {"cursor": "MTox4"}),
        ("/payment-events-by-cursor", {"cursor": 7}),
        ("/payment-events-by-cursor", {"from": "yesterday"}),
    ],
)
async def test_a_list_of_payments_that_cannot_be_had_is_refused(practice, path, asked):
    response = await practice.api.get(path, params={"requestBody": json.dumps(asked)})

    assert (response.status_code, response.json()["type"]) == (400, "INVALID_REQUEST")


async def test_sixty_thousand_payments_can_be_reached_by_page(practice):
    assert (await listed(practice, page={"number": 59, "size": 1000}))["items"] == []


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_cursor_reads_every_payment_once_the_oldest_first(practice, size):
    ids = [practice.new_id() for _ in range(7)]
    for payment_id in ids:
        await practice.charge(payment_id)

    items = await read_to_the_end(practice, "/payments-by-cursor", size=size)

    assert [one["payment"]["id"] for one in items] == ids


@pytest.mark.parametrize("size", [1, 1000])
async def test_the_feed_tells_what_moved_money_and_nothing_else(practice, size):
    paid_id, declined_id = practice.new_id(), practice.new_id()
    await practice.charge(declined_id, "bk-hard-lost-1")
    await practice.charge(paid_id)
    await practice.cancel(paid_id, amount=900)
    await practice.cancel(paid_id)

    items = await read_to_the_end(practice, "/payment-events-by-cursor", size=size)

    events = [one["paymentEvent"] for one in items]
    assert [(one["type"], one["eventAmount"]) for one in events] == [
        ("PAID", 9900),
        ("PARTIAL_CANCELLED", -900),
        ("CANCELLED", -9000),
    ]
    assert [one["totalAmount"]["cancelled"] for one in events] == [0, 900, 9900]
    assert {one["paymentId"] for one in events} == {paid_id}
    assert len({one["id"] for one in events}) == 3


async def test_a_reader_of_the_feed_misses_nothing_that_comes_late(practice):
    late_id, direct_id = practice.new_id(), practice.new_id()
    await practice.charge(late_id, "bk-late-success-1")
    await practice.tell("/clock", advance_seconds=300)
    await practice.charge(direct_id)
    [first] = (await listed(practice, "/payment-events-by-cursor"))["items"]
    await practice.tell("/clock", advance_seconds=3600)
    await practice.charge(practice.new_id())

    rest = (await listed(practice, "/payment-events-by-cursor", cursor=first["cursor"]))["items"]

    assert first["paymentEvent"]["paymentId"] == direct_id
    assert rest[0]["paymentEvent"]["paymentId"] == late_id
    assert len(rest) == 2


async def test_the_feed_has_a_window(practice):
    await practice.charge(practice.new_id())
    await practice.tell("/clock", advance_seconds=DAY)
    between = await instant(practice)
    await practice.charge(practice.new_id())

    path = "/payment-events-by-cursor"
    earlier, later = await listed(practice, path, until=between), await listed(practice, path, **{"from": between})

    assert (len(earlier["items"]), len(later["items"])) == (1, 1)
    assert earlier["items"] != later["items"]


def test_an_event_that_comes_late_is_put_where_its_instant_belongs():
    feed, payment = Feed(), Payment("a1")
    noon = datetime(2026, 9, 1, 12, tzinfo=UTC)
    order = Order("bk-ok-1", 1, 0, "KRW", None, None, b"{}")
    tries = [Transaction(f"tx-{n}", order, noon, Status.PAID, noon) for n in range(3)]
    for hours, transaction in zip((1, 3, 2), tries, strict=True):
        feed.record(Happening(What.PAID, payment, transaction, noon + timedelta(hours=hours)))

    found = feed.between(noon, noon + timedelta(days=1), after=None, size=10)

    assert [one.transaction.transaction_id for one in found] == ["tx-0", "tx-2", "tx-1"]
