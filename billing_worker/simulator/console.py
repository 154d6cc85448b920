"""The console: what a merchant's people do to schedules and payments in PortOne's own pages, behind the client's back.

It keeps the rules that PortOne keeps there: what has started cannot be taken back, and one paymentId is paid once.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from billing_worker.simulator import asking, reading, report
from billing_worker.simulator.answers import encoded
from billing_worker.simulator.asking import AskedWronglyError
from billing_worker.simulator.bank import Payment, Trigger
from billing_worker.simulator.firing import fire_now, plan
from billing_worker.simulator.reading import UnreadableError
from billing_worker.simulator.schedules import Schedule, ScheduleStatus
from billing_worker.simulator.views import vat_of
from billing_worker.simulator.world import Simulator, World

Json = dict[str, Any]
T = TypeVar("T")


class Console:
    """The console's endpoints at the control address, each about the world of now."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    @property
    def _world(self) -> World:
        return self._simulator.world

    async def schedules(self, request: HttpRequest) -> JSONResponse:
        """GET /schedules: every schedule in the order they were made; ?after= and ?limit= for pages."""
        self._world.now()
        limit = asking.whole(request.query_params.get("limit"), "limit")
        after = asking.whole(request.query_params.get("after"), "after") or 0
        return JSONResponse({"schedules": report.schedules(self._world, after=after, limit=limit)})

    async def fire(self, request: HttpRequest) -> JSONResponse:
        """POST /schedules/fire: let a schedule fire now."""
        schedule, _, now = await self._schedule(request, set(), ScheduleStatus.SCHEDULED)
        fire_now(self._world, schedule, now)
        return JSONResponse(report.schedule(schedule))

    async def revoke(self, request: HttpRequest) -> JSONResponse:
        """POST /schedules/revoke: take a schedule back."""
        schedule, _, now = await self._schedule(request, set(), ScheduleStatus.SCHEDULED)
        self._world.schedules.revoke(schedule, now)
        return JSONResponse(report.schedule(schedule))

    async def edit(self, request: HttpRequest) -> JSONResponse:
        """POST /schedules/edit: another time, another amount, or both."""
        schedule, asked, now = await self._schedule(request, {"timeToPay", "amount"}, ScheduleStatus.SCHEDULED)
        if asked.keys() == {"scheduleId"}:
            raise AskedWronglyError("timeToPay or amount is needed")
        order = schedule.order
        if "amount" in asked:
            total = _amount(asked)
            fields = json.loads(order.raw)
            raw = encoded(fields | {"amount": {"total": total}})
            order = replace(order, total=total, tax_free=0, raw=raw)
        time_to_pay = _time_to_pay(asked, now) if "timeToPay" in asked else schedule.time_to_pay
        self._world.schedules.edit(schedule, order=order, time_to_pay=time_to_pay)
        plan(self._world, schedule)
        return JSONResponse(report.schedule(schedule))

    async def retry(self, request: HttpRequest) -> JSONResponse:
        """POST /schedules/retry: one that failed or was revoked again, now or at `timeToPay`."""
        schedule, asked, now = await self._schedule(
            request, {"timeToPay"}, ScheduleStatus.FAILED, ScheduleStatus.REVOKED
        )
        world, payment = self._world, self._world.bank.payments.get(schedule.payment_id)
        if payment is not None and (payment.paid is not None or payment.executing):
            raise AskedWronglyError("ALREADY_PAID_OR_WAITING")
        if world.schedules.living_on(schedule.payment_id) is not None:
            raise AskedWronglyError("another schedule of this paymentId lives")
        later = _time_to_pay(asked, now) if "timeToPay" in asked else None
        world.schedules.edit(schedule, order=schedule.order, time_to_pay=later or now)
        if later is None:
            fire_now(world, schedule, now)
        else:
            plan(world, schedule)
        return JSONResponse(report.schedule(schedule))

    async def refund(self, request: HttpRequest) -> JSONResponse:
        """POST /payments/refund: give a payment back, whole or in part."""
        return await self._give_back(request, Trigger.CONSOLE, "콘솔 환불")

    async def chargeback(self, request: HttpRequest) -> JSONResponse:
        """POST /payments/chargeback: the card company takes a payment back."""
        return await self._give_back(request, Trigger.CHARGEBACK, "차지백")

    async def dispute(self, request: HttpRequest) -> JSONResponse:
        """POST /payments/dispute: the customer contests a payment."""
        payment, asked, now = await self._paid(request, {"reason"})
        dispute = self._world.bank.dispute(payment, reason=asking.text(asked, "reason") or "고객 이의 제기", now=now)
        return JSONResponse({"pgDisputeId": dispute.dispute_id})

    async def resolve(self, request: HttpRequest) -> JSONResponse:
        """POST /payments/resolve: the oldest dispute of a payment is over."""
        payment, _, now = await self._paid(request, set())
        dispute = next((one for one in payment.disputes if one.resolved_at is None), None)
        if dispute is None:
            raise AskedWronglyError("the payment has no dispute that is not resolved")
        self._world.bank.resolve(payment, dispute, now)
        return JSONResponse({"pgDisputeId": dispute.dispute_id})

    async def _give_back(self, request: HttpRequest, trigger: Trigger, reason: str) -> JSONResponse:
        payment, asked, now = await self._paid(request, {"amount", "reason"})
        left = payment.cancellable_total
        total = _amount(asked) if "amount" in asked else left
        if not 0 < total <= left:
            raise AskedWronglyError(f"amount must be from 1 to {left}, which is what is left")
        tax_free = min(payment.cancellable_tax_free, total)
        given = self._world.bank.give_back(
            payment,
            total=total,
            tax_free=tax_free,
            vat=vat_of(total, tax_free),
            reason=asking.text(asked, "reason") or reason,
            now=now,
            trigger=trigger,
        )
        return JSONResponse({"cancellationId": given.cancellation_id, "amount": total, "status": payment.status})

    async def _schedule(
        self, request: HttpRequest, known: set[str], *statuses: ScheduleStatus
    ) -> tuple[Schedule, Json, datetime]:
        asked = await asking.members(request, {"scheduleId"} | known)
        now = self._world.now()
        schedule = self._world.schedules.by_id.get(asking.text(asked, "scheduleId"))
        if schedule is None:
            raise AskedWronglyError("there is no schedule of this scheduleId")
        if schedule.status not in statuses:
            raise AskedWronglyError(f"the schedule is {schedule.status}, not {' or '.join(statuses)}")
        return schedule, asked, now

    async def _paid(self, request: HttpRequest, known: set[str]) -> tuple[Payment, Json, datetime]:
        asked = await asking.members(request, {"paymentId"} | known)
        now = self._world.now()
        payment = self._world.bank.payments.get(asking.text(asked, "paymentId"))
        if payment is None or payment.paid is None:
            raise AskedWronglyError("there is no paid payment of this paymentId")
        return payment, asked, now


def _amount(asked: Json) -> int:
    return _read(lambda: reading.whole(asked, "amount", least=1, usual=0, most=2**63 - 1))


def _time_to_pay(asked: Json, now: datetime) -> datetime:
    time_to_pay = _read(lambda: reading.instant(asked.get("timeToPay"), "timeToPay"))
    if time_to_pay <= now:
        raise AskedWronglyError("timeToPay must be in the future")
    return time_to_pay


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except UnreadableError as error:
        raise AskedWronglyError(str(error)) from error
