"""Sound bookings for tests: an attempt that PortOne shall charge by itself, and what PortOne shows of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import Schedule
from tests.builders import A_PAYMENT_ID, NOON, STORE_ID, an_attempt

TIME = NOON + timedelta(days=3)


def a_booking(**changes: Any) -> Attempt:
    """A booking that was just sent, three days before its time. PortOne's name of it is not known yet."""
    return an_attempt(**{"time_to_pay": TIME, "due_at": TIME} | changes)


def a_schedule(status: str = "SCHEDULED", **changes: Any) -> Schedule:
    """What a look finds of a_booking: waiting for its time, unless told otherwise."""
    schedule = Schedule(
        schedule_id="schedule-1",
        payment_id=A_PAYMENT_ID,
        status=status,
        amount_minor=9900,
        currency="KRW",
        store_id=STORE_ID,
        time_to_pay=TIME,
        billing_key_matches=True,
        created_at=NOON,
    )
    return replace(schedule, **changes)
