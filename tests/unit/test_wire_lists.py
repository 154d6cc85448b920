"""PortOne's lists: what is asked, and what is read out of a page."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs

import pytest

from billing_worker.billing.outcomes import Cancellation, Payment, Unanswered
from billing_worker.portone.wire_lists import (
    Listed,
    PaymentEvent,
    events_question,
    in_query,
    payments_question,
    read_payment_events,
    read_payments,
    schedules_question,
)
from tests.peers import a_payment

FROM = datetime(2026, 9, 1, 9, tzinfo=timezone(timedelta(hours=9)))
UNTIL = datetime(2026, 9, 2, tzinfo=UTC)
WINDOW = {"from": "2026-09-01T00:00:00+00:00", "until": "2026-09-02T00:00:00+00:00"}


def an_event(**changes: object) -> dict[str, Any]:
    event = {
        "type": "PAID",
        "id": "event-1",
        "paymentId": "rb1payment",
        "transactionId": "tx-1",
        "createdAt": "2026-09-01T09:00:03+09:00",
        "eventAmount": 9900,
    }
    return {name: value for name, value in (event | changes).items() if value is not ...}


def page_of(*items: object) -> bytes:
    return json.dumps({"items": list(items)}).encode()


def test_payments_are_asked_for_by_when_their_status_changed() -> None:
    assert payments_question(store_id="store-1", from_=FROM, until=UNTIL, page=2, size=50) == {
        "page": {"number": 2, "size": 50},
        "filter": {
            "storeId": "store-1",
            "timestampType": "STATUS_CHANGED_AT",
            **WINDOW,
            "sortBy": "STATUS_CHANGED_AT",
            "sortOrder": "ASC",
        },
    }


def test_schedules_are_asked_for_between_two_moments_that_are_both_said() -> None:
    asked = {"store_id": "store-1", "from_": FROM, "until": UNTIL, "page": 0, "size": 100}
    found = schedules_question(billing_key=None, **asked)

    assert found == {
        "page": {"number": 0, "size": 100},
        "sort": {"by": "CREATED_AT", "order": "ASC"},
        "filter": {"storeId": "store-1", **WINDOW},
    }
    assert schedules_question(billing_key="bk-1", **asked) == found | {
        "filter": {"storeId": "store-1", **WINDOW, "billingKey": "bk-1"}
    }


def test_events_are_asked_for_behind_a_cursor_where_there_is_one() -> None:
    asked = {"store_id": "store-1", "from_": FROM, "until": UNTIL, "size": 1000}

    assert events_question(cursor=None, **asked) == {"storeId": "store-1", **WINDOW, "size": 1000}
    assert events_question(cursor="c-9", **asked) == {"storeId": "store-1", **WINDOW, "size": 1000, "cursor": "c-9"}


def test_a_question_stands_in_the_query_as_json() -> None:
    question = {"filter": {"storeId": "상점/1&x=+"}}

    query = in_query(question)

    assert query.startswith("requestBody=%7B%22filter%22%3A%7B%22storeId%22%3A%22")
    assert query.isascii()
    assert "/" not in query
    assert json.loads(parse_qs(query)["requestBody"][0]) == question


def test_payments_come_with_the_ids_that_they_go_by() -> None:
    # given
    secret = "api-secret-of-the-console"
    failed = a_payment(id="rb1other", status="FAILED", failure={"pgMessage": f"no {secret}"})

    # when
    found = read_payments(200, {}, page_of(a_payment(), failed, a_payment(status=...), 5), api_secret=secret)

    # then
    assert isinstance(found, Listed)
    assert [each.payment_id for each in found.items] == ["rb1payment", "rb1other"]
    assert [each.payment.status for each in found.items] == ["PAID", "FAILED"]
    assert found.items[1].payment.failure_message == "no [API secret]"
    assert found.unread == ("payment rb1payment without status", "payment of no name without id")
    assert found.count == 4


def test_a_list_of_payments_that_is_none_is_no_answer() -> None:
    assert read_payments(200, {}, b"{}") == Unanswered("payments without items")
    assert read_payments(200, {}, page_of()) == Listed(())
    assert read_payments(503, {"retry-after": "9"}, page_of()) == Unanswered("HTTP 503", 9)


def test_a_listed_payment_shows_its_refunds_and_whether_it_is_contested() -> None:
    # given
    cancellations = [
        {
            "status": "SUCCEEDED",
            "id": "c-1",
            "totalAmount": 900,
            "trigger": "CONSOLE",
            "cancelledAt": "2026-09-02T00:00:00Z",
        },
        {"status": "REQUESTED", "id": "c-2", "totalAmount": 100, "reason": "왜"},
        {"status": "SUCCEEDED", "id": "c-3"},
        "no object",
    ]

    # when
    found = read_payments(200, {}, page_of(a_payment(cancellations=cancellations)))

    # then
    assert isinstance(found, Listed)
    assert found.items[0].payment.cancellations == (
        Cancellation("c-1", "SUCCEEDED", 900, "CONSOLE", datetime(2026, 9, 2, tzinfo=UTC)),
        Cancellation("c-2", "REQUESTED", 100),
    )


@pytest.mark.parametrize(
    ("disputes", "disputed"),
    [
        (..., False),
        (None, False),
        ([], False),
        ([{"status": "RESOLVED"}], False),
        ([{"status": "RESOLVED"}, {"status": "UNRESOLVED"}], True),
        ([{"status": "ESCALATED"}], True),
        ([{}], True),
        ("UNRESOLVED", False),
    ],
)
@pytest.mark.parametrize("cancellations", [..., None, "x"])
def test_a_payment_is_contested_until_portone_says_that_it_is_over(
    disputes: object, disputed: bool, cancellations: object
) -> None:
    found = read_payments(200, {}, page_of(a_payment(disputes=disputes, cancellations=cancellations)))

    assert isinstance(found, Listed)
    payment = found.items[0].payment
    assert isinstance(payment, Payment)
    assert (payment.disputed, payment.cancellations) == (disputed, ())


def test_events_come_with_the_cursor_of_the_last_one() -> None:
    # given
    items = [
        {"paymentEvent": an_event(), "cursor": "c-1"},
        {"paymentEvent": an_event(id="event-2", paymentId=...), "cursor": "c-2"},
        {"paymentEvent": None, "cursor": "c-3"},
    ]

    # when
    found = read_payment_events(200, {}, page_of(*items))

    # then
    assert found == Listed(
        (PaymentEvent("PAID", "rb1payment", "tx-1", datetime(2026, 9, 1, 0, 0, 3, tzinfo=UTC)),),
        ("event event-2 without paymentId", "event of no name without type"),
        cursor="c-3",
    )


def test_a_cursor_that_is_missing_is_the_one_before_it() -> None:
    found = read_payment_events(200, {}, page_of({"paymentEvent": an_event(), "cursor": "c-1"}, {"paymentEvent": {}}))

    assert isinstance(found, Listed)
    assert found.cursor == "c-1"


def test_events_that_nothing_could_follow_are_no_answer() -> None:
    assert read_payment_events(200, {}, page_of({"paymentEvent": an_event()})) == Unanswered("events without cursor")
    assert read_payment_events(200, {}, page_of()) == Listed(())
    assert read_payment_events(200, {}, b"{}") == Unanswered("events without items")
    assert read_payment_events(401, {}, b"{}") == Unanswered("HTTP 401")


@pytest.mark.parametrize("missing", ["type", "paymentId", "transactionId", "createdAt"])
def test_an_event_without_what_we_need_is_named(missing: str) -> None:
    found = read_payment_events(200, {}, page_of({"paymentEvent": an_event(**{missing: ...}), "cursor": "c-1"}))

    assert found == Listed((), (f"event event-1 without {missing}",), cursor="c-1")
