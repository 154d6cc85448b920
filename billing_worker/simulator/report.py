"""Reports: the truth as JSON for whoever compares it with a ledger.

Names of our own are written with underscores; PortOne's words (`paymentId`, `pgTxId`) stay as PortOne writes them.
Billing keys are shown by their end alone.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Any

from billing_worker.simulator.bank import Payment, Transaction
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.keys import masked
from billing_worker.simulator.schedules import Schedule
from billing_worker.simulator.traffic import Request, Traffic
from billing_worker.simulator.world import World

Json = dict[str, Any]


def summary(world: World) -> Json:
    """The truth in figures, whatever its size."""
    now, bank = world.now(), world.bank
    charged: Counter[str] = Counter()
    cancelled: Counter[str] = Counter()
    for payment, transaction in bank.charges:
        charged[transaction.order.currency] += transaction.order.total
        if transaction is payment.paid and payment.cancellations:
            cancelled[transaction.order.currency] += payment.cancelled_total
    return {
        "clock": rfc3339(now),
        "executions": bank.executions,
        "charges_count": len(bank.charges),
        "declines_count": bank.declines,
        "charged": charged,
        "cancelled": cancelled,
        "paid_payments_count": sum(1 for payment, transaction in bank.charges if transaction is payment.paid),
        "paid_more_than_once": {
            payment.payment_id: payment.successes for payment, _ in bank.charges if payment.successes > 1
        },
        "overlaps_count": len(bank.overlaps),
        "violations_count": world.violations_count,
        "in_flight_count": len(world.traffic.in_flight),
        "counters": _counters(world.traffic),
        "schedules_count": len(world.schedules.by_id),
        "schedules_by_status": Counter(schedule.status for schedule in world.schedules.by_id.values()),
        "webhooks": world.webhooks.counts,
    }


def truth(world: World, *, after: int, limit: int | None) -> Json:
    """The summary with every charge really made (or a page of them), every overlap and every violation."""
    report = summary(world)
    end = None if limit is None else after + limit
    page = world.bank.charges[after:end]
    report["charges"] = [charge(payment, transaction) for payment, transaction in page]
    if after == 0:  # with the first page alone, lest many pages repeat them
        report["schedules"] = schedules(world)
    report["successes"] = {payment.payment_id: payment.successes for payment, _ in page}
    report["overlaps"] = [_instants(asdict(overlap)) for overlap in world.bank.overlaps]
    report["violations"] = [_instants(asdict(violation)) for violation in world.violations]
    return report


def payment_truth(world: World, payment_id: str) -> Json:
    """Everything that was done on one paymentId, tries that failed included."""
    world.now()
    payment = world.bank.payments.get(payment_id)
    if payment is None:
        return {"paymentId": payment_id, "successes": 0, "transactions": [], "executing": 0}
    return {
        "paymentId": payment_id,
        "successes": payment.successes,
        "executing": payment.executing,
        "transactions": [charge(payment, transaction) for transaction in payment.transactions],
    }


def charge(payment: Payment, transaction: Transaction) -> Json:
    """One try, with what became of it."""
    order = transaction.order
    view: Json = {
        "paymentId": payment.payment_id,
        "transactionId": transaction.transaction_id,
        "status": transaction.status,
        "amount": order.total,
        "currency": order.currency,
        "billing_key": masked(order.billing_key),
        "idempotency_key": order.idempotency_key,
        "requestedAt": rfc3339(transaction.requested_at),
        "pgTxId": transaction.pg_tx_id,
        "paid_late": transaction.paid_late,
        "cancelled_amount": payment.cancelled_total if transaction is payment.paid else 0,
    }
    if transaction.decline is None:
        view["paidAt"] = rfc3339(transaction.changed_at)
    else:
        view["failedAt"] = rfc3339(transaction.changed_at)
        view["pgCode"] = transaction.decline.pg_code
    if transaction.schedule_id is not None:
        view["scheduleId"] = transaction.schedule_id
    return view


def schedules(world: World, *, after: int = 0, limit: int | None = None) -> list[Json]:
    """Every schedule in the order they were made, or a page of them."""
    end = None if limit is None else after + limit
    return [schedule(one) for one in islice(world.schedules.by_id.values(), after, end)]


def schedule(schedule: Schedule) -> Json:
    """One schedule, with when it fired."""
    order = schedule.order
    instants = {
        "createdAt": schedule.created_at,
        "timeToPay": schedule.time_to_pay,
        "fired_at": schedule.started_at,
        "completedAt": schedule.completed_at,
        "revokedAt": schedule.revoked_at,
    }
    return {
        "scheduleId": schedule.schedule_id,
        "paymentId": schedule.payment_id,
        "status": schedule.status,
        "amount": order.total,
        "currency": order.currency,
        "billing_key": masked(order.billing_key),
        "awaits_word": schedule.awaits_word,
        "was_edited": schedule.was_edited,
        **{name: None if at is None else rfc3339(at) for name, at in instants.items()},
    }


def requests(found: Iterable[Request]) -> list[Json]:
    """Requests without their bodies, which hold billing keys."""
    return [
        {
            "sequence": request.sequence,
            "method": request.method,
            "path": request.path,
            "paymentId": request.payment_id or None,
            "idempotency_key": request.idempotency_key,
            "body_sha256": request.body_sha256,
            "body_bytes": len(request.body),
            "arrived_at": rfc3339(request.arrived_at),
            "stage": request.stage,
            "status": request.status,
            "type": request.kind,
        }
        for request in found
    ]


def _counters(traffic: Traffic) -> Json:
    return {
        "posts": traffic.methods["POST"],
        "gets": traffic.methods["GET"],
        "deletes": traffic.methods["DELETE"],
        "posts_without_key": traffic.posts_without_key,
        "by_type": traffic.kinds,
    }


def _instants(fields: Json) -> Json:
    renamed = {"payment_id": "paymentId"}
    return {
        renamed.get(name, name): rfc3339(value) if isinstance(value, datetime) else value
        for name, value in fields.items()
    }
