"""PortOne's JSON of bookings: the bytes that book a charge, and what the answers about schedules mean.

The same rules as for charges: by the body's type, never by the HTTP status alone, and what cannot be read is no
verdict. A status that PortOne adds tomorrow is kept as it is; it ends nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus

from billing_worker.billing.outcomes import (
    BOOKING_ERRORS,
    REVOCATION_ERRORS,
    REVOCATIONS,
    SCHEDULE_ERRORS_ABSENT,
    Booked,
    BookingOutcome,
    NoVerdict,
    Revocation,
    RevocationOutcome,
    Schedule,
    ScheduleLook,
    Unanswered,
    read_booking_error,
    read_revocation_error,
)
from billing_worker.portone.fields import (
    UnreadableError,
    amount_minor,
    billing_key_of,
    identifier,
    instant,
    object_of,
    read_object,
    secrets_of,
    text,
)
from billing_worker.portone.wire import read_look_error, read_status, with_pause
from billing_worker.portone.wire_lists import Listed, read_items, rfc3339


def schedule_body(*, payment: bytes, time_to_pay: datetime) -> bytes:
    """The request body of one booking, out of the body of the charge: the same bytes for the same arguments, for ever.

    PortOne takes the fields of a charge under `payment`, and the time with its offset.
    """
    assert time_to_pay.tzinfo is not None, "PortOne is told whose time it is"
    return b'{"payment":%b,"timeToPay":"%b"}' % (payment, rfc3339(time_to_pay).encode())


def read_booking(
    status: int, headers: Mapping[str, str], body: bytes, *, sent: bytes = b"", api_secret: str = ""
) -> BookingOutcome:
    """What the answer to a booking means. `sent` is the request's body: its billing key is cut out of every text."""
    answer = read_object(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _read_booked(status, answer)
    error_type = text(answer, "type")
    if error_type not in BOOKING_ERRORS:
        return read_status(status, error_type, headers)
    secrets = secrets_of(billing_key_of(sent), api_secret)
    return with_pause(read_booking_error(error_type, text(answer, "message", secrets)), headers)


def read_revocation(
    status: int, headers: Mapping[str, str], body: bytes, *, schedule_id: str, api_secret: str = ""
) -> RevocationOutcome:
    """What the answer to taking one booking back means."""
    answer = read_object(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        revoked = answer.get("revokedScheduleIds")
        if isinstance(revoked, list) and schedule_id in revoked:
            return Revocation.DONE
        return NoVerdict(reason=f"HTTP {status} without our schedule", look_now=True)
    error_type = text(answer, "type")
    if error_type not in REVOCATIONS and error_type not in REVOCATION_ERRORS:
        return read_status(status, error_type, headers)
    message = text(answer, "message", secrets_of("", api_secret))
    return with_pause(read_revocation_error(error_type, message), headers)


def read_schedule(
    status: int, headers: Mapping[str, str], body: bytes, *, schedule_id: str, sent: bytes = b""
) -> ScheduleLook:
    """What GET /payment-schedules/{id} found, compared with the billing key of the request that `sent` is."""
    answer = read_object(body)
    if status != HTTPStatus.OK:
        return read_look_error(status, headers, answer, SCHEDULE_ERRORS_ABSENT)
    if answer.get("id") != schedule_id:
        # A connection that has got out of step answers the question before ours.
        return Unanswered(reason="schedule without our id")
    try:
        return _schedule(answer, billing_key_of(sent))
    except UnreadableError as error:
        return Unanswered(reason=f"schedule without {error}")


def read_schedules(
    status: int, headers: Mapping[str, str], body: bytes, *, billing_key: str = ""
) -> Listed[Schedule] | Unanswered:
    """One page of GET /payment-schedules, each item compared with the billing key where there is one."""
    return read_items(status, headers, body, read=lambda item: _schedule(item, billing_key), what="schedule")


def _read_booked(status: int, answer: Mapping[str, object]) -> Booked | NoVerdict:
    try:
        return Booked(schedule_id=identifier(object_of(answer.get("schedule")), "id"))
    except UnreadableError:
        # The booking stands, as a rule: only a look can tell under which name.
        return NoVerdict(reason=f"HTTP {status} without a schedule's id", look_now=True)


def _schedule(item: Mapping[str, object], billing_key: str) -> Schedule:
    shown = item.get("billingKey")
    return Schedule(
        schedule_id=identifier(item, "id"),
        payment_id=identifier(item, "paymentId"),
        status=identifier(item, "status"),
        amount_minor=amount_minor(item, "totalAmount"),
        currency=identifier(item, "currency"),
        store_id=identifier(item, "storeId"),
        time_to_pay=instant(item, "timeToPay"),
        billing_key_matches=shown == billing_key if shown and billing_key else None,
        created_at=instant(item, "createdAt") if item.get("createdAt") else None,
    )
