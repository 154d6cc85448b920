"""The calls beside the charge: looking at payments, giving money back, and billing keys.

Each takes the world and the request and returns an answer at once; waiting and the wire are for the app.
"""

from billing_worker.simulator import reading
from billing_worker.simulator.answers import Answer, declined, invalid, refusal, success
from billing_worker.simulator.bank import Payment
from billing_worker.simulator.charging import CHANNEL_NOT_FOUND, KEY_DELETED, KEY_NOT_FOUND, SCHEDULE_EXISTS
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.conduct import Call
from billing_worker.simulator.keys import BillingKey
from billing_worker.simulator.notices import News
from billing_worker.simulator.rules import Fields, cancel_fault, issue_fault
from billing_worker.simulator.views import vat_of
from billing_worker.simulator.webhooks import RESENDS_MAX
from billing_worker.simulator.world import World

PAYMENT_NOT_FOUND = refusal("PAYMENT_NOT_FOUND", "결제 건이 존재하지 않습니다.")


def look(world: World, payment_id: str) -> Answer:
    """GET /payments/{paymentId}."""
    payment = world.bank.find(payment_id, world.now())
    if payment is None:
        return PAYMENT_NOT_FOUND
    view = world.views.payment(payment)
    notices = world.webhooks.of_payments.get(payment_id)
    return success(view if not notices else view | {"webhooks": [world.views.webhook(one) for one in notices]})


def transactions(world: World, payment_id: str) -> Answer:
    """GET /payments/{paymentId}/transactions."""
    payment = world.bank.find(payment_id, world.now())
    return PAYMENT_NOT_FOUND if payment is None else success(world.views.transactions(payment))


def cancel(world: World, payment_id: str, fields: Fields) -> Answer:
    """POST /payments/{paymentId}/cancel."""
    now = world.now()
    fault = cancel_fault(fields)
    if fault is not None:
        return invalid(fault)
    payment = world.bank.find(payment_id, now)
    if payment is None:
        return PAYMENT_NOT_FOUND
    whole = fields.get("amount") is None
    total = payment.cancellable_total if whole else fields["amount"]
    # Without amount everything left goes back; with an amount and no tax-free part all of it counts as taxed.
    tax_free = fields.get("taxFreeAmount")
    if tax_free is None:
        tax_free = payment.cancellable_tax_free if whole else 0
    vat = fields.get("vatAmount")
    vat = vat_of(total, tax_free) if vat is None else vat
    error_type = _cancel_error(payment, fields, total=total, tax_free=tax_free, vat=vat)
    if error_type is not None:
        return refusal(error_type)
    behaviour = world.conduct.on_execution(Call.CANCEL, payment_id, "", None)
    if behaviour.decline is not None:
        return declined(behaviour.decline.pg_code, behaviour.decline.pg_message)
    given = world.bank.give_back(
        payment,
        total=total,
        tax_free=tax_free,
        vat=vat,
        reason=fields["reason"],
        now=now,
        silent=fields.get("skipWebhook", False),
    )
    return success({"cancellation": world.views.cancellation(given)})


def _cancel_error(payment: Payment, fields: Fields, *, total: int, tax_free: int, vat: int) -> str | None:
    expected = fields.get("currentCancellableAmount")
    left, left_tax_free = payment.cancellable_total, payment.cancellable_tax_free
    broken = {
        "PAYMENT_NOT_PAID": payment.paid is None,
        "PAYMENT_ALREADY_CANCELLED": payment.paid is not None and left == 0,
        "CANCELLABLE_AMOUNT_CONSISTENCY_BROKEN": expected is not None and expected != left,
        "CANCEL_AMOUNT_EXCEEDS_CANCELLABLE_AMOUNT": total > left,
        "SUM_OF_PARTS_EXCEEDS_CANCEL_AMOUNT": tax_free + max(vat, 0) > total,
        "CANCEL_TAX_FREE_AMOUNT_EXCEEDS_CANCELLABLE_TAX_FREE_AMOUNT": tax_free > left_tax_free,
        "CANCEL_TAX_AMOUNT_EXCEEDS_CANCELLABLE_TAX_AMOUNT": total - tax_free > left - left_tax_free,
    }
    return next((error_type for error_type, is_so in broken.items() if is_so), None)


def issue_key(world: World, fields: Fields) -> Answer:
    """POST /billing-keys."""
    fault = issue_fault(fields, world.pg)
    if fault is not None:
        return invalid(fault)
    channel_key = fields.get("channelKey")
    known_channels = world.options.channel_keys
    if channel_key is not None and known_channels and channel_key not in known_channels:
        return CHANNEL_NOT_FOUND
    key = world.keys.issue(
        world.now(),
        channel_key=channel_key,
        customer=fields.get("customer") or {},
        custom_data=fields.get("customData"),
    )
    if not fields.get("skipWebhook", False):
        _tell_of_key(world, key, "BillingKey.Issued", tuple(fields.get("noticeUrls") or ()))
    return success(world.views.issued_key(key))


def look_at_key(world: World, billing_key: str) -> Answer:
    """GET /billing-keys/{billingKey}."""
    key = world.keys.find(billing_key)
    return KEY_NOT_FOUND if key is None else success(world.views.billing_key(key))


def delete_key(world: World, billing_key: str) -> Answer:
    """DELETE /billing-keys/{billingKey}."""
    key = world.keys.find(billing_key)
    if key is None:
        return KEY_NOT_FOUND
    if key.deleted_at is not None:
        return KEY_DELETED
    now = world.now()
    if world.schedules.living_with(billing_key):
        return SCHEDULE_EXISTS
    key.deleted_at = now
    _tell_of_key(world, key, "BillingKey.Deleted", ())
    return success({"deletedAt": rfc3339(now)})


def resend_webhook(world: World, payment_id: str, fields: Fields) -> Answer:
    """POST /payments/{paymentId}/resend-webhook."""
    wanted = reading.text(fields, "webhookId")
    if world.bank.find(payment_id, world.now()) is None:
        return PAYMENT_NOT_FOUND
    known = [one for one in world.webhooks.of_payments.get(payment_id, ()) if wanted in (None, one.webhook_id)]
    if not known:
        return refusal("WEBHOOK_NOT_FOUND", "웹훅 내역이 존재하지 않습니다.")
    notice = known[-1]
    if notice.resends >= RESENDS_MAX:
        return refusal("MAX_WEBHOOK_RETRY_COUNT_REACHED")
    world.webhooks.resend(notice)
    return success({"webhook": world.views.webhook(notice)})


def _tell_of_key(world: World, key: BillingKey, kind: str, urls: tuple[str, ...]) -> None:
    subject = {"storeId": world.options.store_id, "billingKey": key.name}
    world.webhooks.tell(News(kind, world.clock.now(), subject, urls=urls))
