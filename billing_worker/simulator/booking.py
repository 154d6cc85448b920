"""Booking: the calls that make, show and revoke schedules.

Revoking is all or nothing, as PortOne has it: every schedule that is named is looked at before the first is touched.
"""

from billing_worker.simulator import reading
from billing_worker.simulator.answers import Answer, encoded, invalid, refusal, success
from billing_worker.simulator.charging import SCHEDULE_EXISTS, is_booked, key_refused
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.firing import plan
from billing_worker.simulator.rules import Fields, read_order
from billing_worker.simulator.schedules import Schedule, ScheduleStatus
from billing_worker.simulator.world import World

PAID_OR_WAITING = refusal("ALREADY_PAID_OR_WAITING", "결제가 이미 완료되었거나 대기중입니다.")
SCHEDULE_NOT_FOUND = refusal("PAYMENT_SCHEDULE_NOT_FOUND", "결제 예약건이 존재하지 않습니다.")
ALREADY_PROCESSED = refusal("PAYMENT_SCHEDULE_ALREADY_PROCESSED", "결제 예약건이 이미 처리되었습니다.")
ALREADY_REVOKED = refusal("PAYMENT_SCHEDULE_ALREADY_REVOKED", "결제 예약건이 이미 취소되었습니다.")
SCHEDULE_IDS_MAX = 10_000  # far above what a client names at once; PortOne says nothing


def book(world: World, payment_id: str, fields: Fields) -> Answer:
    """POST /payments/{paymentId}/schedule."""
    payment_fields = fields.get("payment")
    if not isinstance(payment_fields, dict):
        return invalid("payment REQUIRED")
    now = world.now()
    time_to_pay = reading.instant(fields.get("timeToPay"), "timeToPay")
    if time_to_pay <= now:
        return invalid("timeToPay MUST_BE_FUTURE")
    order = read_order(payment_id, payment_fields, encoded(payment_fields), world.pg, key=None)
    if isinstance(order, Answer):
        return order
    refused = key_refused(world, order.billing_key) or _refused(world, payment_id)
    if refused is not None:
        return refused
    schedule = world.schedules.book(payment_id, order, time_to_pay=time_to_pay, now=now)
    plan(world, schedule)
    return success({"schedule": {"id": schedule.schedule_id}})


def _refused(world: World, payment_id: str) -> Answer | None:
    if is_booked(world, payment_id, revoked_counts=world.options.revoked_schedules_block != "nothing"):
        return SCHEDULE_EXISTS
    payment = world.bank.payments.get(payment_id)
    waiting = payment is not None and (payment.paid is not None or payment.executing > 0)
    return PAID_OR_WAITING if waiting else None


def look(world: World, schedule_id: str) -> Answer:
    """GET /payment-schedules/{paymentScheduleId}."""
    world.now()
    schedule = world.schedules.by_id.get(schedule_id)
    return SCHEDULE_NOT_FOUND if schedule is None else success(world.views.schedule(schedule))


def revoke(world: World, fields: Fields) -> Answer:
    """DELETE /payment-schedules."""
    now = world.now()
    billing_key, ids = reading.text(fields, "billingKey"), reading.texts(fields, "scheduleIds")
    if not billing_key and not ids:
        return invalid("billingKey or scheduleIds REQUIRED")
    if ids is not None and len(ids) > SCHEDULE_IDS_MAX:
        return invalid(f"scheduleIds MAX_COUNT {SCHEDULE_IDS_MAX}")
    refused = key_refused(world, billing_key) if billing_key else None
    if refused is not None:
        return refused
    chosen = _chosen(world, billing_key, ids)
    if isinstance(chosen, Answer):
        return chosen
    for schedule in chosen:
        world.schedules.revoke(schedule, now)
    return success({"revokedScheduleIds": [one.schedule_id for one in chosen], "revokedAt": rfc3339(now)})


def _chosen(world: World, billing_key: str | None, ids: list[str] | None) -> list[Schedule] | Answer:
    """The schedules to revoke, or why none of them is."""
    if not ids:
        living = world.schedules.living_with(billing_key or "")
        return [one for one in living if one.status is ScheduleStatus.SCHEDULED]
    chosen = []
    for schedule_id in dict.fromkeys(ids):
        schedule = world.schedules.by_id.get(schedule_id)
        if schedule is None or (billing_key and schedule.order.billing_key != billing_key):
            return SCHEDULE_NOT_FOUND
        if schedule.status is ScheduleStatus.REVOKED:
            return ALREADY_REVOKED
        if schedule.status is not ScheduleStatus.SCHEDULED:
            return ALREADY_PROCESSED
        chosen.append(schedule)
    return chosen
