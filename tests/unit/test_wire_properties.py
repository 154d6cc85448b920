"""Whatever PortOne answers, it ends in a defined outcome."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    Absent,
    Booked,
    Cancellation,
    Declined,
    NoVerdict,
    Paid,
    Payment,
    Refused,
    Revocation,
    Schedule,
    Unanswered,
)
from billing_worker.portone.wire import (
    read_charge,
    read_payment,
    read_transactions,
)
from billing_worker.portone.wire_lists import Listed, read_payment_events, read_payments
from billing_worker.portone.wire_refunds import read_cancel
from billing_worker.portone.wire_schedules import read_booking, read_revocation, read_schedule, read_schedules
from tests.peers import a_payment

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*CHARGE_ERRORS, "PAID"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OF_SCHEDULES = (
    "schedule",
    "revokedScheduleIds",
    "cancellation",
    "totalAmount",
    "timeToPay",
    "createdAt",
    "paymentId",
    "paymentEvent",
    "cursor",
)
FIELDS = (
    *OF_SCHEDULES,
    "type",
    "message",
    "pgCode",
    "pgMessage",
    "payment",
    "pgTxId",
    "paidAt",
    "items",
    "id",
    *a_payment(),
)
ANSWERS = JSON | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
SPOILT_PAYMENTS = st.dictionaries(st.sampled_from(sorted(a_payment())), JSON, max_size=3).map(
    lambda changes: a_payment(**changes)
)
BODIES = st.binary(max_size=200) | (ANSWERS | SPOILT_PAYMENTS).map(lambda answer: json.dumps(answer).encode())
STATUSES = st.integers(100, 999) | st.sampled_from([200, 404, 409, 429, 500, 502, 503])
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=40))


def is_storable(text: str) -> bool:
    return "\x00" not in text and text.encode() is not None


@given(status=STATUSES, headers=HEADERS, body=BODIES, sent=BODIES)
@example(
    status=200, headers={}, body=b'{"payment":{"pgTxId":"\\ud800","paidAt":"9999-12-31T23:59:59-23:59"}}', sent=b""
)
def test_every_answer_to_a_charge_is_an_outcome(status: int, headers: dict[str, str], body: bytes, sent: bytes) -> None:
    outcome = read_charge(status, headers, body, sent=sent)

    match outcome:
        case Paid():
            assert 200 <= status < 300
            assert is_storable(outcome.pg_tx_id)
        case Declined():
            assert is_storable(outcome.code + outcome.message)
        case Refused():
            assert is_storable(outcome.message)
        case NoVerdict():
            assert is_storable(outcome.reason)
            assert not (outcome.resend and outcome.look_now)


@given(status=STATUSES, headers=HEADERS, body=BODIES)
def test_every_answer_to_a_look_is_a_look(status: int, headers: dict[str, str], body: bytes) -> None:
    looked = read_payment(status, headers, body, payment_id="rb1payment")
    listed = read_transactions(status, headers, body, payment_id="rb1payment")

    assert isinstance(looked, Payment | Absent | Unanswered)
    assert isinstance(listed, tuple | Absent | Unanswered)
    if isinstance(looked, Payment):
        assert is_storable(looked.transaction_id + looked.failure_code + looked.failure_message)


@given(status=STATUSES, headers=HEADERS, body=BODIES, sent=BODIES)
def test_every_answer_about_a_booking_or_a_refund_is_an_outcome(
    status: int, headers: dict[str, str], body: bytes, sent: bytes
) -> None:
    booked = read_booking(status, headers, body, sent=sent)
    revoked = read_revocation(status, headers, body, schedule_id="schedule-1")
    refunded = read_cancel(status, headers, body)

    assert isinstance(booked, Booked | Refused | NoVerdict)
    assert isinstance(revoked, Revocation | Refused | NoVerdict)
    assert isinstance(refunded, Cancellation | Refused | NoVerdict)
    for outcome in (booked, revoked, refunded):
        if isinstance(outcome, NoVerdict):
            assert is_storable(outcome.reason)
            assert not (outcome.resend and outcome.look_now)
        if isinstance(outcome, Refused):
            assert is_storable(outcome.message)


@given(status=STATUSES, headers=HEADERS, body=BODIES, sent=BODIES)
def test_every_list_and_every_look_at_a_schedule_is_read_or_unanswered(
    status: int, headers: dict[str, str], body: bytes, sent: bytes
) -> None:
    looked = read_schedule(status, headers, body, schedule_id="schedule-1", sent=sent)
    listed = [read(status, headers, body) for read in (read_schedules, read_payments, read_payment_events)]

    assert isinstance(looked, Schedule | Absent | Unanswered)
    for found in listed:
        assert isinstance(found, Listed | Unanswered)
        if isinstance(found, Listed):
            assert all(map(is_storable, found.unread))
