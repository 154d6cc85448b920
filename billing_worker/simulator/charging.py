"""One charge: every check before the PG in the contract's order, then the try itself, then the answer.

A try that has begun runs to its end whether or not anybody still listens. The paid-check is made again at the moment of
charging, so that two tries of one paymentId at the same time cannot both succeed.
"""

from datetime import datetime

from billing_worker.simulator.answers import Answer, declined, refusal, success
from billing_worker.simulator.bank import Order, Payment, Transaction, later
from billing_worker.simulator.behaviours import PLAIN, Behaviour
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.conduct import Call
from billing_worker.simulator.holds import Gate
from billing_worker.simulator.rules import Fields, read_order
from billing_worker.simulator.traffic import Request, Stage
from billing_worker.simulator.world import World

ALREADY_PAID = refusal("ALREADY_PAID", "결제가 이미 완료되었습니다.")
KEY_NOT_FOUND = refusal("BILLING_KEY_NOT_FOUND", "빌링키가 존재하지 않습니다.")
KEY_DELETED = refusal("BILLING_KEY_ALREADY_DELETED", "빌링키가 이미 삭제되었습니다.")
CHANNEL_NOT_FOUND = refusal("CHANNEL_NOT_FOUND", "요청된 채널이 존재하지 않습니다.")
SCHEDULE_EXISTS = refusal("PAYMENT_SCHEDULE_ALREADY_EXISTS", "결제 예약건이 이미 존재합니다.")
CAP_REACHED = refusal("MAX_TRANSACTION_COUNT_REACHED", "결제 시도 횟수가 최대에 도달했습니다.")


async def charge(world: World, request: Request, fields: Fields, arrival: Behaviour) -> Answer:
    """POST /payments/{paymentId}/billing-key."""
    order = read_order(request.payment_id, fields, request.body, world.pg, key=request.idempotency_key)
    if isinstance(order, Answer):
        return order
    refused = _refused(world, request.payment_id, order)
    if refused is not None:
        return refused
    answer = await _executed(world, request, order, arrival)
    await world.holds.wait(Gate.AFTER_CHARGE, request, order.billing_key, world.traffic)
    return answer


def _refused(world: World, payment_id: str, order: Order) -> Answer | None:
    """What PortOne says before it asks the PG."""
    refused = key_refused(world, order.billing_key)
    if refused is not None:
        return refused
    known_channels = world.options.channel_keys
    if order.channel_key is not None and known_channels and order.channel_key not in known_channels:
        return CHANNEL_NOT_FOUND
    if is_booked(world, payment_id, revoked_counts=world.options.revoked_schedules_block == "everything"):
        return SCHEDULE_EXISTS
    payment = world.bank.payments.get(payment_id)
    if payment is None:
        return None
    if payment.paid is not None:
        return ALREADY_PAID
    return CAP_REACHED if len(payment.transactions) >= world.options.attempt_cap else None


def key_refused(world: World, billing_key: str) -> Answer | None:
    """Why a billing key cannot be used."""
    key = world.keys.find(billing_key)
    if key is None:
        return KEY_NOT_FOUND
    return None if key.deleted_at is None else KEY_DELETED


def is_booked(world: World, payment_id: str, *, revoked_counts: bool) -> bool:
    """Whether a schedule keeps this paymentId from being charged or booked."""
    if world.schedules.living_on(payment_id) is not None:
        return True
    return revoked_counts and world.schedules.was_revoked_on(payment_id)


async def _executed(world: World, request: Request, order: Order, arrival: Behaviour) -> Answer:
    requested_at = world.clock.now()
    payment = world.bank.begin(request.payment_id, requested_at)
    watch_amount(world, payment, order)
    try:
        await world.holds.wait(Gate.BEFORE_CHARGE, request, order.billing_key, world.traffic)
        behaviour = _at_the_pg(world, request.payment_id, order, arrival)
        world.traffic.moved(request, Stage.EXECUTING)
        await world.pause(_extra_seconds(world, behaviour))
        now = world.now()
        if payment.paid is not None and world.options.paid_check_is_atomic:
            return ALREADY_PAID
        return _answer_to(tried(world, payment, order, behaviour, requested_at=requested_at, now=now))
    finally:
        payment.executing -= 1


def _at_the_pg(world: World, payment_id: str, order: Order, arrival: Behaviour) -> Behaviour:
    """The behaviour of this try: the one the request met on arrival, else the one waiting at the PG."""
    if arrival is not PLAIN:
        return arrival
    key = world.keys.find(order.billing_key)
    return world.conduct.on_execution(Call.CHARGE, payment_id, order.billing_key, key.temper if key else None)


def _extra_seconds(world: World, behaviour: Behaviour) -> float:
    if not behaviour.slow:
        return 0.0
    return world.options.slow_seconds if behaviour.seconds is None else behaviour.seconds


def tried(
    world: World,
    payment: Payment,
    order: Order,
    behaviour: Behaviour,
    *,
    requested_at: datetime,
    now: datetime,
    schedule_id: str | None = None,
) -> Transaction:
    """One try at the PG, as the behaviour has it."""
    if behaviour.invisible and not payment.transactions:
        seconds = world.options.invisible_seconds if behaviour.seconds is None else behaviour.seconds
        world.bank.hide(payment, later(now, seconds))
    if behaviour.decline is None:
        return world.bank.approve(payment, order, requested_at=requested_at, now=now, schedule_id=schedule_id)
    failed = world.bank.decline(
        payment, order, behaviour.decline, requested_at=requested_at, now=now, schedule_id=schedule_id
    )
    if behaviour.pays_late:
        seconds = world.options.late_success_seconds if behaviour.seconds is None else behaviour.seconds
        world.bank.pay_later(payment, failed, due_at=later(now, seconds))
    return failed


def watch_amount(world: World, payment: Payment, order: Order) -> None:
    """Put it on record when tries of one paymentId are for different amounts."""
    if not payment.transactions:
        return
    before = payment.transactions[-1].order
    if (before.total, before.currency) != (order.total, order.currency):
        world.violated(
            "amount_changed",
            payment_id=payment.payment_id,
            idempotency_key=order.idempotency_key,
            explanation=f"{before.total} {before.currency} became {order.total} {order.currency} on one paymentId",
        )


def _answer_to(transaction: Transaction) -> Answer:
    if transaction.decline is not None:
        return declined(transaction.decline.pg_code, transaction.decline.pg_message)
    return success({"payment": {"pgTxId": transaction.pg_tx_id, "paidAt": rfc3339(transaction.changed_at)}})
