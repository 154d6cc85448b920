"""PortOne's lists of payments and of what happened to them, a page at a time. Who asks says where a page begins."""

from datetime import datetime

from billing_worker.billing.outcomes import Unanswered
from billing_worker.portone.client import PortOneClient
from billing_worker.portone.wire_lists import (
    Listed,
    ListedPayment,
    PaymentEvent,
    events_question,
    in_query,
    payments_question,
    read_payment_events,
    read_payments,
)

# PortOne's own bounds: of a page of events, and of how deep the pages of payments go.
EVENTS_PAGE_MAX = 1000
PAYMENTS_DEPTH_MAX = 60_000


async def payment_events(
    client: PortOneClient, *, from_: datetime, until: datetime, cursor: str | None, size: int
) -> Listed[PaymentEvent] | Unanswered:
    """The events within that time behind the cursor; an empty page is the end. The list is marked unstable."""
    assert 1 <= size <= EVENTS_PAGE_MAX, "PortOne gives so many at a time"
    question = events_question(store_id=client.options.store_id, from_=from_, until=until, cursor=cursor, size=size)
    response = await client.ask(f"/payment-events-by-cursor?{in_query(question)}")
    if isinstance(response, Unanswered):
        return response
    return read_payment_events(response.status_code, response.headers, response.content)


async def payments(
    client: PortOneClient, *, from_: datetime, until: datetime, page: int, size: int
) -> Listed[ListedPayment] | Unanswered:
    """The payments whose status changed within that time, counted from page 0; an empty page is the end.

    A payment that changes again while the pages are read leaves its place, and what follows moves up by one.
    """
    assert (page + 1) * size <= PAYMENTS_DEPTH_MAX, "PortOne's pages go no deeper: ask for less time at once"
    question = payments_question(store_id=client.options.store_id, from_=from_, until=until, page=page, size=size)
    response = await client.ask(f"/payments?{in_query(question)}")
    if isinstance(response, Unanswered):
        return response
    return read_payments(response.status_code, response.headers, response.content, api_secret=client.api_secret)
