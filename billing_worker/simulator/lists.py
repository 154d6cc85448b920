"""Lists: schedules and payments by page, payments and events by cursor.

A window that nobody gave is the ninety days before now, so what lies in the future is not seen. A list is kept until
something changes, because a reader of a hundred pages should not have it sorted a hundred times.
"""

import base64
import bisect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from billing_worker.simulator import reading
from billing_worker.simulator.answers import Answer, success
from billing_worker.simulator.bank import Payment
from billing_worker.simulator.reading import UnreadableError
from billing_worker.simulator.rules import Fields
from billing_worker.simulator.schedules import Schedule, ScheduleStatus
from billing_worker.simulator.views import MERCHANT_ID
from billing_worker.simulator.world import World

SIZE_MAX = 1_000  # PortOne's for cursors; ours for schedules, where PortOne says nothing
PAYMENTS_REACHED_MAX = 60_000  # (number + 1) * size

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCHEDULE_FILTERS = frozenset({"storeId", "billingKey", "from", "until", "status", "isForTest"})
_PAYMENT_FILTERS = frozenset(
    {
        "merchantId",
        "storeId",
        "timestampType",
        "from",
        "until",
        "status",
        "isTest",
        "isScheduled",
        "sortBy",
        "sortOrder",
        "version",
        "currency",
    }
)
T = TypeVar("T")


class SortOrder(StrEnum):
    """Which end comes first."""

    DESC = "DESC"
    ASC = "ASC"


class ScheduleSort(StrEnum):
    """What schedules are sorted by."""

    CREATED_AT = "CREATED_AT"
    TIME_TO_PAY = "TIME_TO_PAY"
    COMPLETED_AT = "COMPLETED_AT"
    STATUS_TIMESTAMP = "STATUS_TIMESTAMP"


class TimestampType(StrEnum):
    """Which instant of a payment a window is about."""

    CREATED_AT = "CREATED_AT"
    STATUS_CHANGED_AT = "STATUS_CHANGED_AT"


class PaymentSort(StrEnum):
    """What payments are sorted by."""

    REQUESTED_AT = "REQUESTED_AT"
    STATUS_CHANGED_AT = "STATUS_CHANGED_AT"


class PaymentStatus(StrEnum):
    """Every status a payment can be asked for by; here most never come."""

    READY = "READY"
    PENDING = "PENDING"
    VIRTUAL_ACCOUNT_ISSUED = "VIRTUAL_ACCOUNT_ISSUED"
    PAID = "PAID"
    FAILED = "FAILED"
    PARTIAL_CANCELLED = "PARTIAL_CANCELLED"
    CANCELLED = "CANCELLED"


class Version(StrEnum):
    """PortOne's versions."""

    V1 = "V1"
    V2 = "V2"


def schedules(world: World, fields: Fields) -> Answer:
    """GET /payment-schedules."""
    now = world.now()
    number, size = reading.page(fields)
    if size > SIZE_MAX:
        raise UnreadableError(f"size MAX {SIZE_MAX}")
    asked, sort = reading.table(fields, "filter"), reading.table(fields, "sort")
    reading.only(asked, _SCHEDULE_FILTERS)
    start, until = reading.window(asked, now)
    key = (world.schedules.version, start, until, json.dumps([asked, sort], sort_keys=True))
    found = world.kept.schedules.list(key, lambda: _chosen_schedules(world, asked, sort, start, until))
    return _page(found, number, size, world.views.schedule)


def payments(world: World, fields: Fields) -> Answer:
    """GET /payments."""
    now = world.now()
    number, size = reading.page(fields)
    if (number + 1) * size > PAYMENTS_REACHED_MAX:
        raise UnreadableError(f"(page.number + 1) * page.size MAX {PAYMENTS_REACHED_MAX}")
    asked = reading.table(fields, "filter")
    reading.only(asked, _PAYMENT_FILTERS)
    start, until = reading.window(asked, now)
    key = (world.bank.version, start, until, json.dumps(asked, sort_keys=True))
    found = world.kept.payments.list(key, lambda: _chosen_payments(world, asked, start, until, now))
    return _page(found, number, size, world.views.payment)


def payments_by_cursor(world: World, fields: Fields) -> Answer:
    """GET /payments-by-cursor: by when they came to be, the oldest first."""
    bank, now = world.bank, world.now()
    start, until, after, size = _cursor_page(fields, now)
    order = world.kept.by_creation.list(
        bank.version,
        lambda: sorted((one.created_at, one.payment_id) for one in bank.payments.values() if one.transactions),
    )
    first = bisect.bisect_left(order, (start, ""))
    if after is not None:
        first = max(first, bisect.bisect(order, after))
    items: list[dict[str, Any]] = []
    for place in order[first:]:
        if place[0] > until or len(items) == size:
            break
        payment = bank.find(place[1], now)
        if payment is not None:
            items.append({"payment": world.views.payment(payment), "cursor": _cursor(*place)})
    return success({"items": items})


def events(world: World, fields: Fields) -> Answer:
    """GET /payment-events-by-cursor: the oldest first."""
    start, until, cursor, size = _cursor_page(fields, world.now())
    after = None
    if cursor is not None:
        if not cursor[1].isdigit():
            raise UnreadableError("cursor INVALID")
        after = (cursor[0], int(cursor[1]))
    found = world.feed.between(start, until, after=after, size=size)
    return success(
        {
            "items": [
                {"paymentEvent": world.views.event(event), "cursor": _cursor(event.at, str(event.serial))}
                for event in found
            ]
        }
    )


def _chosen_schedules(world: World, asked: Fields, sort: Fields, start: datetime, until: datetime) -> list[Schedule]:
    billing_key, statuses = reading.text(asked, "billingKey"), _statuses(asked, ScheduleStatus)
    by = reading.word(ScheduleSort, sort, "by", ScheduleSort.TIME_TO_PAY)
    order = reading.word(SortOrder, sort, "order", SortOrder.DESC)
    if reading.truth(asked, "isForTest") not in (None, world.options.is_test):
        return []
    found = [
        one
        for one in world.schedules.by_id.values()
        if start <= one.time_to_pay <= until
        and billing_key in (None, one.order.billing_key)
        and (not statuses or one.status in statuses)
    ]
    instants: dict[ScheduleSort, Callable[[Schedule], datetime]] = {
        ScheduleSort.CREATED_AT: lambda one: one.created_at,
        ScheduleSort.TIME_TO_PAY: lambda one: one.time_to_pay,
        ScheduleSort.COMPLETED_AT: lambda one: one.completed_at or one.time_to_pay,
        ScheduleSort.STATUS_TIMESTAMP: lambda one: one.status_at,
    }
    instant = instants[by]
    return sorted(found, key=lambda one: (instant(one), one.schedule_id), reverse=order is SortOrder.DESC)


def _chosen_payments(world: World, asked: Fields, start: datetime, until: datetime, now: datetime) -> list[Payment]:
    statuses, currency = _statuses(asked, PaymentStatus), reading.text(asked, "currency")
    scheduled, is_test = reading.truth(asked, "isScheduled"), reading.truth(asked, "isTest")
    kind = reading.word(TimestampType, asked, "timestampType", TimestampType.STATUS_CHANGED_AT)
    usual = PaymentSort.STATUS_CHANGED_AT if kind is TimestampType.STATUS_CHANGED_AT else PaymentSort.REQUESTED_AT
    by = reading.word(PaymentSort, asked, "sortBy", usual)
    order = reading.word(SortOrder, asked, "sortOrder", SortOrder.DESC)
    elsewhere = reading.text(asked, "merchantId") not in (None, MERCHANT_ID)
    if elsewhere or reading.word(Version, asked, "version", Version.V2) is Version.V1:
        return []
    if is_test not in (None, world.options.is_test):
        return []
    found = [
        one
        for one in world.bank.payments.values()
        if one.is_visible(now)
        and start <= (one.changed_at if kind is TimestampType.STATUS_CHANGED_AT else one.created_at) <= until
        and (not statuses or PaymentStatus(one.status) in statuses)
        and currency in (None, one.shown.order.currency)
        and scheduled in (None, one.shown.schedule_id is not None)
    ]
    return sorted(
        found,
        key=lambda one: (
            one.changed_at if by is PaymentSort.STATUS_CHANGED_AT else one.shown.requested_at,
            one.payment_id,
        ),
        reverse=order is SortOrder.DESC,
    )


def _statuses(asked: Fields, kind: type[StrEnum]) -> frozenset[StrEnum]:
    words = reading.texts(asked, "status") or []
    try:
        return frozenset(kind(one) for one in words)
    except ValueError as error:
        raise UnreadableError(f"status must be of {', '.join(kind)}") from error


def _page(found: list[T], number: int, size: int, view: Callable[[T], dict[str, Any]]) -> Answer:
    items = [view(one) for one in found[number * size : (number + 1) * size]]
    return success({"items": items, "page": {"number": number, "size": size, "totalCount": len(found)}})


def _cursor_page(fields: Fields, now: datetime) -> tuple[datetime, datetime, tuple[datetime, str] | None, int]:
    start, until = reading.window(fields, now)
    size = reading.whole(fields, "size", least=1, usual=reading.PAGE_SIZE, most=SIZE_MAX)
    cursor = reading.text(fields, "cursor")
    return start, until, None if not cursor else _place(cursor), size


def _cursor(at: datetime, name: str) -> str:
    """A place in the order of time, in letters that mean nothing to a client."""
    return base64.urlsafe_b64encode(f"{(at - _EPOCH) // _MICROSECOND}:{name}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        microseconds, _, name = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(":")
        return _EPOCH + int(microseconds) * _MICROSECOND, name
    except (ValueError, OverflowError) as error:
        raise UnreadableError("cursor INVALID") from error
