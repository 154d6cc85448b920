"""PortOne's schedules over HTTP: book a charge, find a booking, list them, take one back.

Through the client's one door, so the same limits, deadlines and re-sends hold as for a charge. A booking is taken back
by its own id and never by the billing key, which would take back every other one of the customer's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from billing_worker.billing.outcomes import (
    BookingOutcome,
    RevocationOutcome,
    Schedule,
    ScheduleLook,
    Unanswered,
)
from billing_worker.portone.client import ChargeOrder, PortOneClient, Write, charge_write, segment
from billing_worker.portone.fields import billing_key_of
from billing_worker.portone.wire_lists import Listed, in_query, schedules_question
from billing_worker.portone.wire_schedules import read_booking, read_revocation, read_schedule, read_schedules

_SCHEDULES = "/payment-schedules"

# A schedule is some two kilobytes, and the transport takes a megabyte.
PAGE_SIZE = 100
# As many as the list of payments goes; whoever has more within one question must ask for less time at once.
PAGES_MAX = 600

# A person may have moved a booking at PortOne's console, and PortOne lists three months at most.
_MOVED_BY_MAX = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class BookingAnswer:
    """What one call of book learnt, and how many sends it started. With no send, nothing has left this machine.

    The outcome is the last send's. After more than one, a Refused says nothing of the earlier ones.
    """

    outcome: BookingOutcome
    sends: int


async def book(client: PortOneClient, order: ChargeOrder) -> BookingAnswer:
    """Have PortOne charge by itself at its time, by the rules by which a charge is sent."""

    def read(response: httpx.Response) -> BookingOutcome:
        return read_booking(
            response.status_code, response.headers, response.content, sent=order.body, api_secret=client.api_secret
        )

    outcome, sends = await client.write(charge_write(order, call="schedule"), read)
    return BookingAnswer(outcome, sends)


async def find_schedule(client: PortOneClient, schedule_id: str, *, sent: bytes = b"") -> ScheduleLook:
    """What PortOne has under this id. `sent` is the request of the booking, whose billing key is compared."""
    response = await client.ask(client.of_store(f"{_SCHEDULES}/{segment(schedule_id)}"))
    if isinstance(response, Unanswered):
        return response
    return read_schedule(response.status_code, response.headers, response.content, schedule_id=schedule_id, sent=sent)


async def schedules_of(
    client: PortOneClient, payment_id: str, *, time_to_pay: datetime, sent: bytes
) -> tuple[Schedule, ...] | Unanswered:
    """Every schedule of the payment id, for whoever does not know the schedule's own: an answer may have been lost.

    Among those of the billing key in the request that `sent` is. Which of them counts is booking.booked_one's to say.
    """
    listed = await schedules(
        client,
        from_=time_to_pay - _MOVED_BY_MAX,
        until=time_to_pay + _MOVED_BY_MAX,
        billing_key=billing_key_of(sent),
    )
    if isinstance(listed, Unanswered):
        return listed
    ours = tuple(schedule for schedule in listed.items if schedule.payment_id == payment_id)
    if listed.unread and not ours:
        return Unanswered(reason="a schedule of the billing key cannot be read")
    return ours


async def schedules(
    client: PortOneClient, *, from_: datetime, until: datetime, billing_key: str | None = None
) -> Listed[Schedule] | Unanswered:
    """Every schedule to be charged within that time, page by page until an empty one."""
    items: list[Schedule] = []
    unread: list[str] = []
    for page in range(PAGES_MAX):
        found = await schedules_page(client, from_=from_, until=until, page=page, billing_key=billing_key)
        if isinstance(found, Unanswered):
            return found
        if not found.count:
            return Listed(tuple(items), tuple(unread))
        items.extend(found.items)
        unread.extend(found.unread)
    return Unanswered(reason=f"more than {PAGES_MAX} pages of schedules")


async def schedules_page(
    client: PortOneClient, *, from_: datetime, until: datetime, page: int, billing_key: str | None = None
) -> Listed[Schedule] | Unanswered:
    """One page of them, counted from 0; an empty one is the end."""
    question = schedules_question(
        store_id=client.options.store_id, from_=from_, until=until, billing_key=billing_key, page=page, size=PAGE_SIZE
    )
    # In the query, as the official SDK has it: some of what may stand before PortOne refuses a GET with a body.
    # Nothing here writes a URL down.
    response = await client.ask(f"{_SCHEDULES}?{in_query(question)}")
    if isinstance(response, Unanswered):
        return response
    return read_schedules(response.status_code, response.headers, response.content, billing_key=billing_key or "")


async def revoke(client: PortOneClient, schedule_id: str, *, send_before: float | None = None) -> RevocationOutcome:
    """Take one booking back. Whatever comes of it, only a look says whether there is money.

    It needs no idempotency key: PortOne says so when it is revoked already. No byte leaves from send_before on, by the
    client's clock of seconds.
    """
    question = {"storeId": client.options.store_id, "scheduleIds": [schedule_id]}

    def read(response: httpx.Response) -> RevocationOutcome:
        return read_revocation(
            response.status_code,
            response.headers,
            response.content,
            schedule_id=schedule_id,
            api_secret=client.api_secret,
        )

    write = Write(method="DELETE", target=f"{_SCHEDULES}?{in_query(question)}", send_before=send_before)
    outcome, _ = await client.write(write, read)
    return outcome
