"""PortOne's schedules in virtual time: booked, shown, listed, taken back, and charged by when their time has come.

One schedule lives on a paymentId at a time, and while it does nothing else is charged there. A person at the console
may take one back, move it, or change its amount, behind everybody's back.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.faults import Fault, Point
from tests.simulation.portone_books import STORE_ID, Booking, Execution
from tests.simulation.portone_views import Answer, refusal
from tests.simulation.world import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from tests.simulation.portone_twin import PortOneTwin, Request

# A record lags by less than the product waits before it believes that nothing has arrived.
LAG_SECONDS_MAX = 60.0
_GONE = ("BILLING_KEY_ALREADY_DELETED", "빌링키가 이미 삭제되었습니다.")


class ScheduleDesk:
    """What the twin does about schedules."""

    def __init__(self, twin: "PortOneTwin") -> None:
        self._twin = twin
        self._world = twin.world
        self._books = twin.books

    # --- what a worker asks ------------------------------------------------------------------------------------------

    def book(self, request: "Request", fault: Fault | None) -> Answer:
        """POST /payments/{id}/schedule, with a key that is new."""
        asked = json.loads(request.body)
        order, now = asked["payment"], self._world.portone_clock.now()
        time_to_pay = datetime.fromisoformat(asked["timeToPay"])
        if time_to_pay <= now:
            return refusal(400, "INVALID_REQUEST")
        temper = self._twin.tempers[order["billingKey"]]
        if temper.deleted:
            return refusal(409, "BILLING_KEY_ALREADY_DELETED")
        if self._books.living(request.payment_id) is not None:
            return refusal(409, "PAYMENT_SCHEDULE_ALREADY_EXISTS")
        payment = self._books.payment(request.payment_id)
        if payment.paid() or payment.running:
            return refusal(409, "ALREADY_PAID_OR_WAITING")
        booking = Booking(
            schedule_id=f"schedule-{len(self._books.bookings) + 1}",
            payment_id=request.payment_id,
            key=request.key,
            order=order,
            time_to_pay=time_to_pay,
            created_at=now,
            fault=fault,
            visible_from=self._world.loop.now,
        )
        if fault is Fault.INVISIBLE:
            booking.visible_from += self._world.random.uniform(1.0, LAG_SECONDS_MAX)
        self._books.bookings[booking.schedule_id] = booking
        self._world.counts["bookings"] += 1
        self._world.tell(f"portone books {booking.schedule_id} {booking.key} for {time_to_pay:%F %T}")
        self._plan(booking)
        self._disturb(booking)
        return _json({"schedule": {"id": booking.schedule_id}})

    def find(self, schedule_id: str) -> Answer:
        """GET /payment-schedules/{id}."""
        booking = self._books.bookings.get(schedule_id)
        if booking is None or booking.visible_from > self._world.loop.now:
            return refusal(404, "PAYMENT_SCHEDULE_NOT_FOUND")
        return _json(_view(booking))

    def listed(self, question: Mapping[str, Any]) -> Answer:
        """GET /payment-schedules, whose question must name the store and both ends of the time."""
        page, wanted = question["page"], question["filter"]
        from_, until = (datetime.fromisoformat(wanted[name]) for name in ("from", "until"))
        if wanted["storeId"] != STORE_ID:
            self._world.find("a list of schedules was asked for another store")
        found = [
            booking
            for booking in self._books.bookings.values()
            if from_ <= booking.time_to_pay <= until
            and booking.visible_from <= self._world.loop.now
            and wanted.get("billingKey") in {None, booking.order["billingKey"]}
        ]
        first = page["number"] * page["size"]
        return _json({"items": [_view(booking) for booking in found[first : first + page["size"]]]})

    def revoke(self, question: Mapping[str, Any]) -> Answer:
        """DELETE /payment-schedules: all that are named, or none."""
        chosen = [self._books.bookings.get(schedule_id) for schedule_id in question["scheduleIds"]]
        for booking in chosen:
            if booking is None:
                return refusal(404, "PAYMENT_SCHEDULE_NOT_FOUND")
            if booking.status == "REVOKED":
                return refusal(409, "PAYMENT_SCHEDULE_ALREADY_REVOKED")
            if booking.status != "SCHEDULED":
                return refusal(409, "PAYMENT_SCHEDULE_ALREADY_PROCESSED")
        for booking in chosen:
            assert booking is not None, "looked at above"
            booking.status, booking.ended_by = "REVOKED", "us"
            self._world.counts["bookings revoked"] += 1
            self._world.tell(f"portone revokes {booking.schedule_id} {booking.key}")
        return _json({"revokedScheduleIds": question["scheduleIds"], "revokedAt": _now(self)})

    # --- its time ----------------------------------------------------------------------------------------------------

    def _plan(self, booking: Booking) -> None:
        booking.turn += 1
        seconds = (booking.time_to_pay - self._world.portone_clock.now()).total_seconds()
        if booking.fault is Fault.FIRES_LATE and booking.turn == 1:
            seconds += self._world.random.uniform(2 * MINUTE, 5 * HOUR)
        self._later(max(seconds, 0.0), self._due, booking, booking.turn)

    def _due(self, booking: Booking, turn: int) -> None:
        if booking.status != "SCHEDULED" or booking.turn != turn:
            return
        early = (booking.time_to_pay - self._world.portone_clock.now()).total_seconds()
        if early > 0.0:  # its clock was set back meanwhile
            self._later(early, self._due, booking, turn)
            return
        booking.status = "STARTED"
        payment = self._books.payment(booking.payment_id)
        execution = Execution(booking.payment_id, booking.key, booking.schedule_id, self._world.loop.now)
        self._twin.watch_overlap(payment, execution)
        payment.running.append(execution)
        self._books.executions.append(execution)
        self._world.tell(f"portone starts {booking.schedule_id} {booking.key}")
        slow = booking.fault is Fault.FIRES_SLOWLY
        seconds = self._world.random.uniform(2 * MINUTE, HOUR) if slow else self._twin.seconds(booking.fault)
        self._later(seconds, self._end, booking, execution)

    def _end(self, booking: Booking, execution: Execution) -> None:
        payment = self._books.payment(booking.payment_id)
        execution.ended_at = self._world.loop.now
        payment.running.remove(execution)
        temper = self._twin.tempers[booking.order["billingKey"]]
        if payment.paid():
            booking.status = "FAILED"
            return
        one = self._twin.fire(booking, payment, temper, _GONE if temper.deleted else None)
        stale = one.failed_until > self._world.loop.now and self._world.random.random() < 0.5
        booking.status = "SUCCEEDED" if one.pg_tx_id is not None and not stale else "FAILED"
        self._world.counts[f"bookings {booking.status}"] += 1
        self._twin.tells(booking.payment_id)

    # --- the console -------------------------------------------------------------------------------------------------

    def _disturb(self, booking: Booking) -> None:
        """Somebody at the console does something before its time."""
        if booking.fault in {Fault.CONSOLE_REVOKES, Fault.CONSOLE_MOVES, Fault.CONSOLE_EDITS}:
            left = (booking.time_to_pay - self._world.portone_clock.now()).total_seconds()
            self._later(self._world.random.uniform(0.0, max(left, 0.0)), self._by_console, booking)

    def _by_console(self, booking: Booking) -> None:
        if booking.status != "SCHEDULED":
            return
        self._world.tell(f"console {booking.fault} {booking.schedule_id}")
        match booking.fault:
            case Fault.CONSOLE_REVOKES:
                booking.status, booking.ended_by = "REVOKED", "console"
            case Fault.CONSOLE_EDITS:
                total = booking.order["amount"]["total"] + self._world.random.choice((1, 1000))
                booking.order = booking.order | {"amount": {"total": total}}
                booking.was_edited = True
            case _:
                now = self._world.portone_clock.now()
                moved = booking.time_to_pay + timedelta(seconds=self._world.random.uniform(-DAY, 2 * DAY))
                booking.time_to_pay = max(moved, now + timedelta(seconds=1))
                self._plan(booking)

    def _later(self, seconds: float, call: Any, *arguments: object) -> None:
        self._world.loop.call_later(seconds, call, *arguments, context=self._world.portone_host.context)


def is_about_schedules(point: Point) -> bool:
    """Whether the desk answers it without the memory of keys."""
    return point in {Point.FIND_SCHEDULE, Point.LIST_SCHEDULES, Point.REVOKE}


def _now(desk: ScheduleDesk) -> str:
    return desk._world.portone_clock.now().isoformat()


def _view(booking: Booking) -> dict[str, Any]:
    return {
        "status": booking.status,
        "id": booking.schedule_id,
        "storeId": STORE_ID,
        "paymentId": booking.payment_id,
        "billingKey": booking.order["billingKey"],
        "totalAmount": booking.order["amount"]["total"],
        "currency": booking.order["currency"],
        "createdAt": booking.created_at.isoformat(),
        "timeToPay": booking.time_to_pay.isoformat(),
    }


def _json(value: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(value, ensure_ascii=False).encode(), {})
