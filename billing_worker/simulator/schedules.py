"""Schedules: charges booked for later, one living at a time for a paymentId, and how each of them stands.

Statuses and their indexes change together, here and nowhere else. Whether something may be booked or revoked is for
booking.py; when a schedule fires and what comes of it for firing.py.
"""

import itertools
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing_worker.simulator.bank import Order


class ScheduleStatus(StrEnum):
    """PortOne's words for how a schedule stands. PENDING is PayPal's, and nothing here ever comes to it."""

    SCHEDULED = "SCHEDULED"
    STARTED = "STARTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REVOKED = "REVOKED"
    PENDING = "PENDING"


LIVING = frozenset({ScheduleStatus.SCHEDULED, ScheduleStatus.STARTED, ScheduleStatus.PENDING})


@dataclass(slots=True)
class Schedule:
    """One booked charge. `turn` counts its plans, so that a plan that was overtaken comes to nothing."""

    schedule_id: str
    payment_id: str
    order: Order
    time_to_pay: datetime
    created_at: datetime
    status: ScheduleStatus = ScheduleStatus.SCHEDULED
    started_at: datetime | None = None
    completed_at: datetime | None = None
    revoked_at: datetime | None = None
    turn: int = 0
    awaits_word: bool = False
    was_edited: bool = False

    @property
    def lives(self) -> bool:
        """Whether it may still charge."""
        return self.status in LIVING

    @property
    def status_at(self) -> datetime:
        """When it fired, or was revoked, or is to fire."""
        return self.revoked_at or self.completed_at or self.started_at or self.time_to_pay


class Schedules:
    """Every schedule of the store."""

    def __init__(self) -> None:
        self.by_id: dict[str, Schedule] = {}
        self.version = 0  # counts every change, for those who keep a list of them
        self._living: dict[str, Schedule] = {}
        self._living_by_key: dict[str, dict[str, Schedule]] = {}
        self._revoked: set[str] = set()
        self._serial = itertools.count(1)
        self._run = secrets.token_hex(5)

    def book(self, payment_id: str, order: Order, *, time_to_pay: datetime, now: datetime) -> Schedule:
        """A new schedule."""
        schedule_id = f"schedule-{self._run}{next(self._serial):08d}"
        schedule = Schedule(schedule_id, payment_id, order, time_to_pay, created_at=now)
        self.by_id[schedule_id] = schedule
        self._put(schedule, ScheduleStatus.SCHEDULED)
        return schedule

    def living_on(self, payment_id: str) -> Schedule | None:
        """The schedule that may still charge this paymentId."""
        return self._living.get(payment_id)

    def living_with(self, billing_key: str) -> list[Schedule]:
        """The schedules that may still charge this billing key."""
        return list(self._living_by_key.get(billing_key, {}).values())

    def was_revoked_on(self, payment_id: str) -> bool:
        """Whether a schedule of this paymentId stands revoked."""
        return payment_id in self._revoked

    def revoke(self, schedule: Schedule, now: datetime) -> None:
        """It will not charge."""
        schedule.revoked_at = now
        self._put(schedule, ScheduleStatus.REVOKED)

    def start(self, schedule: Schedule, at: datetime) -> None:
        """It charges now."""
        schedule.started_at, schedule.awaits_word = at, False
        self._put(schedule, ScheduleStatus.STARTED)

    def complete(self, schedule: Schedule, status: ScheduleStatus, at: datetime) -> None:
        """It has charged, or failed to."""
        schedule.completed_at = at
        self._put(schedule, status)

    def edit(self, schedule: Schedule, *, order: Order, time_to_pay: datetime) -> None:
        """Change what and when, as the console can; one that failed or was revoked lives again by it."""
        schedule.order, schedule.time_to_pay, schedule.was_edited = order, time_to_pay, True
        schedule.started_at = schedule.completed_at = schedule.revoked_at = None
        schedule.awaits_word = False
        self._put(schedule, ScheduleStatus.SCHEDULED)

    def _put(self, schedule: Schedule, status: ScheduleStatus) -> None:
        schedule.status = status
        self.version += 1
        of_key = self._living_by_key.setdefault(schedule.order.billing_key, {})
        if schedule.lives:
            self._living[schedule.payment_id] = of_key[schedule.schedule_id] = schedule
        else:
            self._living.pop(schedule.payment_id, None)
            of_key.pop(schedule.schedule_id, None)
        if not of_key:
            del self._living_by_key[schedule.order.billing_key]
        (self._revoked.add if status is ScheduleStatus.REVOKED else self._revoked.discard)(schedule.payment_id)
