"""Pages: reads PortOne's lists one page after another, so that none is skipped, whatever changes meanwhile.

A payment that changes again leaves its place among those that are sorted by their last change, and whoever counts pages
then misses the one behind it. So the next page is asked for from where the last one ended; only those that changed
at one and the same moment are counted.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from billing_worker.billing.outcomes import PAYMENT_PAID, Unanswered
from billing_worker.portone import lists
from billing_worker.portone.client import PortOneClient
from billing_worker.portone.wire_lists import ListedPayment, PaymentEvent
from billing_worker.store.positions import Change, Reading

# A payment is some three kilobytes, an event somewhat less, and the transport takes a megabyte.
PAGE_SIZE = 100

# Of PortOne's names of events; whatever is not a payment gives something of one back.
_EVENTS_PAID = frozenset({"PAID"})


@dataclass(frozen=True, slots=True)
class Page:
    """One page of changes. There is nothing behind it where it has no next place."""

    changes: tuple[Change, ...]
    unread: tuple[str, ...]
    next_place: str | None


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """One page of payments, which holds all that changed from its beginning on and before its end."""

    payments: tuple[ListedPayment, ...]
    unread: tuple[str, ...]
    from_: datetime
    until: datetime
    next_place: str | None


Source = Callable[[PortOneClient, Reading, int], Awaitable[Page | Unanswered]]


async def payments_page(portone: PortOneClient, reading: Reading, size: int) -> PaymentPage | Unanswered:
    """The payments from the reading's place on."""
    from_, number = _place_of(reading)
    if (number + 1) * size > lists.PAYMENTS_DEPTH_MAX:
        return Unanswered(reason="more payments changed at one moment than PortOne lists")
    found = await lists.payments(portone, from_=from_, until=reading.until, page=number, size=size)
    if isinstance(found, Unanswered):
        return found
    if not found.count:
        return PaymentPage((), (), from_, reading.until, None)
    last = max((each.payment.changed_at for each in found.items), default=from_)
    next_place = place(last) if last > from_ else place(from_, number + 1)
    return PaymentPage(found.items, found.unread, from_, max(last, from_), next_place)


async def changed_payments(portone: PortOneClient, reading: Reading, size: int) -> Page | Unanswered:
    """What has changed, by the list of payments."""
    page = await payments_page(portone, reading, size)
    if isinstance(page, Unanswered):
        return page
    return Page(tuple(change_of(each) for each in page.payments), page.unread, page.next_place)


async def payment_events(portone: PortOneClient, reading: Reading, size: int) -> Page | Unanswered:
    """What has changed, by the list of events."""
    found = await lists.payment_events(
        portone, from_=reading.from_, until=reading.until, cursor=reading.place, size=size
    )
    if isinstance(found, Unanswered):
        return found
    return Page(tuple(_change_by(event) for event in found.items), found.unread, found.cursor if found.count else None)


SOURCES: dict[str, Source] = {"payments": changed_payments, "events": payment_events}


def change_of(listed: ListedPayment) -> Change:
    """What a listed payment gives reason to look at."""
    payment = listed.payment
    return Change(
        listed.payment_id, payment.changed_at, paid=payment.status in PAYMENT_PAID, given_back=payment.given_back
    )


def _change_by(event: PaymentEvent) -> Change:
    # Something may be given back only of what was paid: either event says that there is money.
    return Change(event.payment_id, event.at, paid=True, given_back=event.event_type not in _EVENTS_PAID)


def _place_of(reading: Reading) -> tuple[datetime, int]:
    if reading.place is None:
        return reading.from_, 0
    moment, _, number = reading.place.rpartition(" ")
    return datetime.fromisoformat(moment), int(number)


def place(moment: datetime, number: int = 0) -> str:
    """The place of the page that begins with what changed at that moment; number counts the pages of one moment."""
    return f"{moment.isoformat()} {number}"
