"""Firing: a schedule's time comes, the bank is tried as for any charge, and the schedule says only how it ended.

Everything happens as of the instant it was due. A schedule carries no reason for its failure; the payment does, as long
as a try was made: nothing is tried on a paymentId that is paid already or has had all its tries.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial

from billing_worker.simulator.bank import Payment, later
from billing_worker.simulator.behaviours import PLAIN, Behaviour, Firing
from billing_worker.simulator.charging import tried, watch_amount
from billing_worker.simulator.declines import Decline
from billing_worker.simulator.schedules import Schedule, ScheduleStatus
from billing_worker.simulator.world import World

# Not the PG's words: PortOne finds these out before it asks the PG, and where it then says so is in no document.
_KEY_GONE = Decline("BILLING_KEY_ALREADY_DELETED", "빌링키가 이미 삭제되었습니다.")
_CHANNEL_GONE = Decline("CHANNEL_NOT_FOUND", "요청된 채널이 존재하지 않습니다.")


def plan(world: World, schedule: Schedule) -> None:
    """Let a schedule fire at its time, in place of any time it had before."""
    schedule.turn += 1
    world.agenda.put(schedule.time_to_pay, partial(_due, world, schedule, schedule.turn))


def fire_now(world: World, schedule: Schedule, now: datetime) -> None:
    """Let a schedule fire at once, whatever its time is."""
    schedule.turn += 1
    behaviour = _behaviour(world, schedule)
    _start(world, schedule, behaviour if behaviour.firing is not Firing.NOT_UNTIL_TOLD else PLAIN, now)


def _due(world: World, schedule: Schedule, turn: int, at: datetime) -> None:
    if _is_overtaken(schedule, turn):
        return
    behaviour = _behaviour(world, schedule)
    match behaviour.firing:
        case Firing.LATE:
            seconds = _seconds(behaviour, world.options.firing_late_seconds)
            world.agenda.put(later(at, seconds), partial(_late, world, schedule, turn))
        case Firing.NOT_UNTIL_TOLD:
            schedule.awaits_word = True
        case _:
            _start(world, schedule, behaviour, at)


def _late(world: World, schedule: Schedule, turn: int, at: datetime) -> None:
    if not _is_overtaken(schedule, turn):
        _start(world, schedule, PLAIN, at)


def _is_overtaken(schedule: Schedule, turn: int) -> bool:
    return schedule.status is not ScheduleStatus.SCHEDULED or schedule.turn != turn


def _start(world: World, schedule: Schedule, behaviour: Behaviour, at: datetime) -> None:
    world.schedules.start(schedule, at)
    payment = world.bank.begin(schedule.payment_id, at)
    if not schedule.was_edited:  # an amount that the console changed is no client's mistake
        watch_amount(world, payment, schedule.order)
    finish = partial(_finish, world, schedule, payment, behaviour)
    if behaviour.slow:
        world.agenda.put(later(at, _seconds(behaviour, world.options.slow_seconds)), finish)
    elif behaviour.firing is Firing.LONG:
        world.agenda.put(later(at, _seconds(behaviour, world.options.started_seconds)), finish)
    else:
        finish(at)


def _finish(world: World, schedule: Schedule, payment: Payment, behaviour: Behaviour, at: datetime) -> None:
    payment.executing -= 1
    paid_already = payment.paid is not None and world.options.paid_check_is_atomic
    if paid_already or len(payment.transactions) >= world.options.attempt_cap:
        world.schedules.complete(schedule, ScheduleStatus.FAILED, at)
        return
    started_at = schedule.started_at
    assert started_at is not None, "it was started before it is finished"
    refusal = _refusal(world, schedule)
    transaction = tried(
        world,
        payment,
        schedule.order,
        behaviour if refusal is None else replace(PLAIN, decline=refusal),
        requested_at=started_at,
        now=at,
        schedule_id=schedule.schedule_id,
    )
    failed = transaction.decline is not None
    world.schedules.complete(schedule, ScheduleStatus.FAILED if failed else ScheduleStatus.SUCCEEDED, at)


def _refusal(world: World, schedule: Schedule) -> Decline | None:
    key = world.keys.find(schedule.order.billing_key)
    if key is None or key.deleted_at is not None:
        return _KEY_GONE
    channel, known_channels = schedule.order.channel_key, world.options.channel_keys
    return _CHANNEL_GONE if channel is not None and known_channels and channel not in known_channels else None


def _behaviour(world: World, schedule: Schedule) -> Behaviour:
    key = world.keys.find(schedule.order.billing_key)
    return world.conduct.on_firing(schedule.payment_id, schedule.order.billing_key, key.temper if key else None)


def _seconds(behaviour: Behaviour, usual: float) -> float:
    return usual if behaviour.seconds is None else behaviour.seconds
