"""Pages of PortOne's lists: whatever changes while they are read, and whatever cannot be read, none is skipped."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx

from billing_worker.billing.outcomes import Unanswered
from billing_worker.portone import lists
from billing_worker.store.positions import Reading
from billing_worker.workers import pages
from billing_worker.workers.pages import Page
from tests.peers import a_client, a_payment

FROM = datetime(2026, 9, 1, tzinfo=UTC)
UNTIL = FROM + timedelta(days=1)
A_MOMENT = FROM + timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Books(httpx.AsyncBaseTransport):
    """PortOne's two lists, of what a test has put into them."""

    def __init__(self) -> None:
        self.changed: dict[str, datetime] = {}
        self.unreadable: set[str] = set()
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One page of whichever is asked for."""
        self.asked += 1
        question = json.loads(parse_qs(request.url.query.decode())["requestBody"][0])
        if request.url.path.endswith("/payments"):
            size, number = question["page"]["size"], question["page"]["number"]
            found = self._within(question["filter"])[number * size : (number + 1) * size]
            return httpx.Response(200, json={"items": [self._payment(each) for each in found]})
        behind = self._within(question)
        start = behind.index(question["cursor"]) + 1 if "cursor" in question else 0
        return httpx.Response(200, json={"items": [self._event(each) for each in behind[start:][: question["size"]]]})

    def _within(self, wanted: dict[str, Any]) -> list[str]:
        from_, until = datetime.fromisoformat(wanted["from"]), datetime.fromisoformat(wanted["until"])
        within = [(at, name) for name, at in self.changed.items() if from_ <= at <= until]
        return [name for _, name in sorted(within)]

    def _payment(self, name: str) -> dict[str, Any]:
        amount: Any = ... if name in self.unreadable else a_payment()["amount"]
        return a_payment(id=name, storeId="store/1", statusChangedAt=self.changed[name].isoformat(), amount=amount)

    def _event(self, name: str) -> dict[str, Any]:
        event = {"type": "PAID", "id": f"e-{name}", "paymentId": name, "createdAt": self.changed[name].isoformat()}
        transaction = {} if name in self.unreadable else {"transactionId": "tx-1"}
        return {"cursor": name, "paymentEvent": event | transaction}


async def nothing() -> None:
    """What happens between two pages by itself."""


async def read(
    books: Books, source: str = "payments", *, between: Callable[[], Awaitable[None]] = nothing, size: int = 2
) -> tuple[set[str], int]:
    """The ids that a reading comes upon, and how many items it could not read."""
    reading, found, unread = Reading(FROM, UNTIL, started_at=UNTIL), set[str](), 0
    async with a_client("http://127.0.0.1", transport=lambda: books) as client:
        while books.asked < 100:
            page = await pages.SOURCES[source](client, reading, size)
            assert isinstance(page, Page), page
            found |= {each.payment_id for each in page.changes}
            unread += len(page.unread)
            if page.next_place is None:
                return found, unread
            reading = Reading(FROM, UNTIL, started_at=UNTIL, place=page.next_place)
            await between()
    raise AssertionError("the reading does not end")


async def test_a_payment_that_changes_again_hides_no_other_one() -> None:
    # given
    books = Books()
    books.changed = {f"p{number}": FROM + number * MINUTE for number in range(6)}

    # when: what was on the first page moves to the end before the second one is asked for
    async def change() -> None:
        books.changed |= {"p0": UNTIL - MINUTE, "p1": UNTIL - MINUTE}

    found, _ = await read(books, between=change)

    # then
    assert found == {f"p{number}" for number in range(6)}


async def test_what_changed_at_one_moment_is_read_whole_however_many_pages_it_fills() -> None:
    books = Books()
    books.changed = {f"p{number}": A_MOMENT for number in range(7)} | {"later": A_MOMENT + MINUTE}

    found, _ = await read(books)

    assert found == set(books.changed)


async def test_a_page_of_which_nothing_can_be_read_is_not_the_last_one() -> None:
    for source in pages.SOURCES:
        books = Books()
        books.changed = {f"p{number}": FROM + number * MINUTE for number in range(5)}
        books.unreadable = {"p0", "p1"}

        found, unread = await read(books, source)

        assert found == {"p2", "p3", "p4"}, source
        assert unread == 2


async def test_beyond_what_portone_lists_of_one_moment_nothing_is_believed() -> None:
    deep = pages.place(A_MOMENT, lists.PAYMENTS_DEPTH_MAX // 100)
    books = Books()

    async with a_client("http://127.0.0.1", transport=lambda: books) as client:
        page = await pages.changed_payments(client, Reading(FROM, UNTIL, started_at=UNTIL, place=deep), 100)

    assert isinstance(page, Unanswered)
    assert books.asked == 0


async def test_a_question_waits_for_its_share_of_the_requests_no_longer_than_for_its_answer() -> None:
    # given: two requests at once, of which one is for questions, and then one in minutes
    books = Books()
    bounds = {"requests_per_second": 0.01, "burst": 2, "look_read_seconds": 0.1, "connect_seconds": 0.1}

    # when
    async with a_client("http://127.0.0.1", transport=lambda: books, **bounds) as client:
        reading = Reading(FROM, UNTIL, started_at=UNTIL)
        first = await pages.changed_payments(client, reading, 2)
        async with asyncio.timeout(10):
            second = await pages.changed_payments(client, reading, 2)

    # then
    assert isinstance(first, Page)
    assert isinstance(second, Unanswered)
    assert books.asked == 1
