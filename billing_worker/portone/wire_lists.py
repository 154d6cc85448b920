"""PortOne's lists: which question brings a page, and what a page holds.

An item that cannot be read is named and spoils no other: these lists only find what has passed us by. Nothing here is
proof of anything, and least of all what a list does not show.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Generic, TypeVar
from urllib.parse import quote

from billing_worker.billing.outcomes import Payment, Unanswered
from billing_worker.portone.fields import UnreadableError, identifier, instant, object_of, read_object, text
from billing_worker.portone.wire import payment_of, unanswered

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """One page, or several put together. `unread` names what could not be read, and says what it lacked.

    `cursor` is where the next page begins, where PortOne's list has cursors and this page was not empty.
    """

    items: tuple[T, ...]
    unread: tuple[str, ...] = ()
    cursor: str | None = None

    @property
    def count(self) -> int:
        """How many items PortOne sent: where there was none, the list is at its end."""
        return len(self.items) + len(self.unread)


@dataclass(frozen=True, slots=True)
class ListedPayment:
    """A payment, and the id that it goes by."""

    payment_id: str
    payment: Payment


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """That a payment was paid or cancelled; no more than a reason to look. event_type is PortOne's, verbatim."""

    event_type: str
    payment_id: str
    transaction_id: str
    at: datetime


def rfc3339(moment: datetime) -> str:
    """The instant as PortOne reads it: in UTC, and with its offset."""
    return moment.astimezone(UTC).isoformat()


def in_query(question: Mapping[str, object]) -> str:
    """The question as the query of a GET or DELETE, which then needs no body.

    The official SDK asks for schedules by billing key in this way, too: whoever logs URLs on the way logs that key.
    """
    return f"requestBody={quote(as_json(question), safe='')}"


def as_json(question: Mapping[str, object]) -> str:
    """The question as JSON."""
    return json.dumps(question, ensure_ascii=False, separators=(",", ":"))


def payments_question(*, store_id: str, from_: datetime, until: datetime, page: int, size: int) -> Mapping[str, object]:
    """Whose status has changed within that time, the oldest change first."""
    return {
        "page": {"number": page, "size": size},
        "filter": {
            "storeId": store_id,
            "timestampType": "STATUS_CHANGED_AT",
            "from": rfc3339(from_),
            "until": rfc3339(until),
            "sortBy": "STATUS_CHANGED_AT",
            "sortOrder": "ASC",
        },
    }


def events_question(
    *, store_id: str, from_: datetime, until: datetime, cursor: str | None, size: int
) -> Mapping[str, object]:
    """What has happened within that time, behind the cursor where there is one."""
    question = {"storeId": store_id, "from": rfc3339(from_), "until": rfc3339(until), "size": size}
    return question | ({"cursor": cursor} if cursor is not None else {})


def schedules_question(
    *, store_id: str, from_: datetime, until: datetime, billing_key: str | None, page: int, size: int
) -> Mapping[str, object]:
    """What is to be charged within that time, in the order of its making: what is booked meanwhile comes last.

    Both ends are said, or PortOne would show the last 90 days and nothing of what is to come.
    """
    wanted = {"storeId": store_id, "from": rfc3339(from_), "until": rfc3339(until)}
    return {
        "page": {"number": page, "size": size},
        "sort": {"by": "CREATED_AT", "order": "ASC"},
        "filter": wanted | ({"billingKey": billing_key} if billing_key else {}),
    }


def read_payments(
    status: int, headers: Mapping[str, str], body: bytes, *, api_secret: str = ""
) -> Listed[ListedPayment] | Unanswered:
    """One page of GET /payments."""

    def read(item: Mapping[str, object]) -> ListedPayment:
        payment_id = identifier(item, "id")
        return ListedPayment(payment_id, payment_of(item, ("id", payment_id), "transactionId", api_secret=api_secret))

    return read_items(status, headers, body, read=read, what="payment")


def read_payment_events(status: int, headers: Mapping[str, str], body: bytes) -> Listed[PaymentEvent] | Unanswered:
    """One page of GET /payment-events-by-cursor. A page without any cursor is none: nothing could follow it."""
    found = read_items(status, headers, body, read=_event, what="event")
    if isinstance(found, Unanswered) or not found.count:
        return found
    cursors = [cursor for item in _items(read_object(body)) if (cursor := text(item, "cursor"))]
    return replace(found, cursor=cursors[-1]) if cursors else Unanswered(reason="events without cursor")


def read_items(
    status: int, headers: Mapping[str, str], body: bytes, *, read: Callable[[Mapping[str, object]], T], what: str
) -> Listed[T] | Unanswered:
    """The items of a page, each read for itself."""
    answer = read_object(body)
    if status != HTTPStatus.OK:
        return unanswered(status, headers, answer)
    if not isinstance(answer.get("items"), list):
        return Unanswered(reason=f"{what}s without items")
    found: list[T] = []
    unread: list[str] = []
    for item in _items(answer):
        try:
            found.append(read(item))
        except UnreadableError as error:
            unread.append(f"{what} {_name(item)} without {error}")
    return Listed(tuple(found), tuple(unread))


def _items(answer: Mapping[str, object]) -> list[Mapping[str, object]]:
    items = answer.get("items")
    return [object_of(item) for item in items] if isinstance(items, list) else []


def _event(item: Mapping[str, object]) -> PaymentEvent:
    event = object_of(item.get("paymentEvent"))
    return PaymentEvent(
        event_type=identifier(event, "type"),
        payment_id=identifier(event, "paymentId"),
        transaction_id=identifier(event, "transactionId"),
        at=instant(event, "createdAt"),
    )


def _name(item: Mapping[str, object]) -> str:
    """By which name a person finds an item that cannot be read."""
    return text(object_of(item.get("paymentEvent")) or item, "id") or "of no name"
