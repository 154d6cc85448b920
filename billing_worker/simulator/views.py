"""Views: how payments, transactions, cancellations and billing keys look in PortOne's JSON.

What a customer sent comes back as the contract shows it: a name goes in as an object and comes out as a string.
Payments carry one field that no document lists, because outputs may be extended without notice.
"""

import json
from collections.abc import Mapping
from typing import Any

from billing_worker.simulator.bank import Cancellation, Dispute, Happening, Order, Payment, Status, Transaction
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.feed import EVENT_TYPES
from billing_worker.simulator.keys import BillingKey
from billing_worker.simulator.notices import WAITS_MINUTES, Notice
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.simulator.schedules import Schedule

Json = dict[str, Any]

DEFAULT_CHANNEL_KEY = "channel-key-simulator"
MERCHANT_ID = "merchant-simulator"

_CARD = {
    "publisher": "SHINHAN_CARD",
    "issuer": "SHINHAN_CARD",
    "brand": "LOCAL",
    "type": "CREDIT",
    "ownerType": "PERSONAL",
    "bin": "94099999",
    "name": "연습카드",
    "number": "94099999****0000",
}
_PG_PROVIDERS = {"KPN": "KPN", "OTHER": "TOSSPAYMENTS"}
_ECHOED_CUSTOMER = ("id", "birthYear", "birthMonth", "birthDay", "gender", "email", "phoneNumber", "zipcode")
_ECHOED = ("customData", "products", "productCount", "country", "promotionId")
_ECHOED_OF_SCHEDULES = ("installmentMonth", "noticeUrls", "products")
_ORIGIN = {"platformType": "API", "ipAddress": "127.0.0.1"}


class Views:
    """The shapes of one store's answers."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options

    def channel(self, channel_key: str | None) -> Json:
        """The channel something was paid or issued on."""
        configured = self._options.channel_keys
        return {
            "type": "TEST" if self._options.is_test else "LIVE",
            "id": "channel-id-simulator",
            "key": channel_key or (configured[0] if configured else DEFAULT_CHANNEL_KEY),
            "name": "연습 채널",
            "pgProvider": _PG_PROVIDERS[self._options.pg],
            "pgMerchantId": "merchantest9",
        }

    def payment(self, payment: Payment) -> Json:
        """GET /payments/{paymentId}."""
        shown = payment.shown
        return {
            "id": payment.payment_id,
            "transactionId": shown.transaction_id,
            **self._common(payment, shown, payment.status),
            "origin": _ORIGIN,
            "simulated": True,
            **({"disputes": _disputes(payment)} if payment.status is Status.PAID else {}),
        }

    def transactions(self, payment: Payment) -> Json:
        """GET /payments/{paymentId}/transactions."""
        items = []
        for transaction in payment.transactions:
            status = payment.status if transaction is payment.paid else transaction.status
            item = self._common(payment, transaction, status)
            items.append({"id": transaction.transaction_id, "paymentId": payment.payment_id, **item})
        return {"items": items}

    def cancellation(self, cancellation: Cancellation) -> Json:
        """One cancellation, which succeeded at once."""
        at = rfc3339(cancellation.cancelled_at)
        return {
            "status": "SUCCEEDED",
            "id": cancellation.cancellation_id,
            "pgCancellationId": f"pg{cancellation.cancellation_id}",
            "totalAmount": cancellation.total,
            "taxFreeAmount": cancellation.tax_free,
            "vatAmount": cancellation.vat,
            "reason": cancellation.reason,
            "cancelledAt": at,
            "requestedAt": at,
            "trigger": cancellation.trigger,
        }

    def schedule(self, schedule: Schedule) -> Json:
        """GET /payment-schedules/{paymentScheduleId}."""
        order = schedule.order
        asked = json.loads(order.raw)
        view: Json = {
            "status": schedule.status,
            "id": schedule.schedule_id,
            "merchantId": MERCHANT_ID,
            "storeId": self._options.store_id,
            "paymentId": schedule.payment_id,
            "billingKey": order.billing_key,
            "orderName": asked["orderName"],
            "isCulturalExpense": False,
            "isEscrow": False,
            "customer": _customer(asked.get("customer") or {}),
            "customData": asked.get("customData") or "",
            "totalAmount": order.total,
            "taxFreeAmount": order.tax_free,
            "vatAmount": _vat(order, asked["amount"].get("vat")),
            "currency": order.currency,
            "createdAt": rfc3339(schedule.created_at),
            "timeToPay": rfc3339(schedule.time_to_pay),
            "simulated": True,
        }
        view |= {name: asked[name] for name in _ECHOED_OF_SCHEDULES if asked.get(name) is not None}
        ends = {
            "startedAt": schedule.started_at,
            "completedAt": schedule.completed_at,
            "revokedAt": schedule.revoked_at,
        }
        return view | {name: rfc3339(at) for name, at in ends.items() if at is not None}

    def webhook(self, notice: Notice) -> Json:
        """One webhook, as a payment lists it."""
        view: Json = {
            "paymentStatus": notice.news.payment_status,
            "id": notice.webhook_id,
            "url": notice.url,
            "isAsync": False,
            "currentExecutionCount": notice.executions,
            "maxExecutionCount": len(WAITS_MINUTES),
            "request": {"body": notice.body},
            "triggeredAt": rfc3339(notice.made_at),
        }
        if notice.sent is not None:
            view["status"] = notice.sent
        if notice.trigger is not None:
            view["trigger"] = notice.trigger
        if notice.sent_at is not None:
            view["request"]["requestedAt"] = rfc3339(notice.sent_at)
        if notice.reply is not None:
            reply = notice.reply
            said = {"code": str(reply.status), "header": reply.headers, "body": reply.body}
            view["response"] = said | {"respondedAt": rfc3339(reply.at)}
        return view

    def event(self, happening: Happening) -> Json:
        """One item of GET /payment-events-by-cursor, with the amounts as they were by then."""
        payment, transaction = happening.payment, happening.transaction
        common = self._common(payment, transaction, transaction.status)
        names = "merchantId storeId method channel version scheduleId requestedAt orderName currency customer pgTxId"
        amount = common["amount"] | {
            "cancelled": happening.cancelled,
            "cancelledTaxFree": happening.cancelled_tax_free,
        }
        cancellation = happening.cancellation
        view: Json = {
            "type": EVENT_TYPES[happening.what],
            "id": f"event-{transaction.transaction_id}-{happening.serial}",
            "paymentId": payment.payment_id,
            "transactionId": transaction.transaction_id,
            **{name: common[name] for name in (*names.split(), *_ECHOED) if name in common},
            "createdAt": rfc3339(happening.at),
            "totalAmount": amount,
            "eventAmount": transaction.order.total if cancellation is None else -cancellation.total,
            "origin": _ORIGIN,
            "simulated": True,
        }
        if cancellation is None:
            return view | {"disputes": _disputes(payment)}
        return view | {"cancellation": self.cancellation(cancellation)}

    def issued_key(self, key: BillingKey) -> Json:
        """POST /billing-keys."""
        issued_at = rfc3339(key.issued_at)
        channels = [self.channel(key.channel_key)]
        return {"billingKeyInfo": {"billingKey": key.name, "channels": channels, "issuedAt": issued_at}}

    def billing_key(self, key: BillingKey) -> Json:
        """GET /billing-keys/{billingKey}."""
        view: Json = {
            "status": "ISSUED" if key.deleted_at is None else "DELETED",
            "billingKey": key.name,
            "merchantId": MERCHANT_ID,
            "storeId": self._options.store_id,
            "methods": [{"type": "BillingKeyPaymentMethodCard", "card": _CARD}],
            "channels": [self.channel(key.channel_key)],
            "customer": _customer(key.customer),
            "issuedAt": rfc3339(key.issued_at),
            "requestedAt": rfc3339(key.issued_at),
        }
        if key.custom_data is not None:
            view["customData"] = key.custom_data
        if key.deleted_at is not None:
            view["deletedAt"] = rfc3339(key.deleted_at)
        return view

    def _common(self, payment: Payment, transaction: Transaction, status: Status) -> Json:
        order = transaction.order
        asked = json.loads(order.raw)
        last_change = transaction.changed_at
        cancelled = transaction is payment.paid and bool(payment.cancellations)
        if cancelled:
            last_change = payment.cancellations[-1].cancelled_at
        view: Json = {
            "status": status,
            "merchantId": MERCHANT_ID,
            "storeId": self._options.store_id,
            "method": _method(transaction),
            "channel": self.channel(order.channel_key),
            "version": "V2",
            "billingKey": order.billing_key,
            "requestedAt": rfc3339(transaction.requested_at),
            "updatedAt": rfc3339(last_change),
            "statusChangedAt": rfc3339(last_change),
            "orderName": asked["orderName"],
            "amount": _amount(payment, transaction, asked["amount"].get("vat")),
            "currency": order.currency,
            "customer": _customer(asked.get("customer") or {}),
        }
        view |= {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
        if transaction.schedule_id is not None:
            view["scheduleId"] = transaction.schedule_id
        view |= _ending(transaction)
        if cancelled:
            view["cancelledAt"] = rfc3339(last_change)
            view["cancellations"] = [self.cancellation(cancellation) for cancellation in payment.cancellations]
        return view


def vat_of(total: int, tax_free: int) -> int:
    """The tax within an amount when nobody states it: an eleventh of the taxed part, as the contract says."""
    return (total - tax_free) // 11


def _disputes(payment: Payment) -> list[Json]:
    return [_dispute(dispute) for dispute in payment.disputes]


def _dispute(dispute: Dispute) -> Json:
    view = {
        "status": "UNRESOLVED" if dispute.resolved_at is None else "RESOLVED",
        "pgDisputeId": dispute.dispute_id,
        "reason": dispute.reason,
        "createdAt": rfc3339(dispute.created_at),
    }
    return view if dispute.resolved_at is None else view | {"resolvedAt": rfc3339(dispute.resolved_at)}


def _ending(transaction: Transaction) -> Json:
    changed_at = rfc3339(transaction.changed_at)
    if transaction.decline is None:
        return {"paidAt": changed_at, "pgTxId": transaction.pg_tx_id}
    code, message = transaction.decline.pg_code, transaction.decline.pg_message
    return {"failedAt": changed_at, "failure": {"reason": message, "pgCode": code, "pgMessage": message}}


def _amount(payment: Payment, transaction: Transaction, stated_vat: int | None) -> Json:
    order: Order = transaction.order
    vat = _vat(order, stated_vat)
    is_paid_one = transaction is payment.paid
    return {
        "total": order.total,
        "taxFree": order.tax_free,
        "vat": vat,
        "supply": order.total - order.tax_free - vat,
        "discount": 0,
        "paid": order.total if transaction.status is Status.PAID else 0,
        "cancelled": payment.cancelled_total if is_paid_one else 0,
        "cancelledTaxFree": payment.cancelled_tax_free if is_paid_one else 0,
    }


def _vat(order: Order, stated: int | None) -> int:
    # KPN ignores the stated VAT and PortOne echoes it nevertheless.
    return vat_of(order.total, order.tax_free) if stated is None else stated


def _method(transaction: Transaction) -> Json:
    method: Json = {
        "type": "PaymentMethodCard",
        "card": _CARD,
        "installment": {"month": 0, "isInterestFree": False},
        "pointUsed": False,
    }
    if transaction.pg_tx_id is not None:
        method["approvalNumber"] = transaction.pg_tx_id[-8:]
    return method


def _customer(given: Mapping[str, Any]) -> Json:
    view = {name: given[name] for name in _ECHOED_CUSTOMER if given.get(name) is not None}
    name = given.get("name")
    if name is not None:
        separated = name.get("separated")
        view["name"] = name["full"] if separated is None else separated["last"] + separated["first"]
    return view
