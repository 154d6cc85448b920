"""Charging decisions: what is done next about a due cycle."""

from datetime import timedelta

import pytest

from billing_worker.billing.charging import (
    ATTEMPTS_MAX,
    BookAttempt,
    Hold,
    NotYet,
    OpenAttempt,
    Skip,
    next_step,
)
from billing_worker.billing.model import booking_key, idempotency_key
from billing_worker.billing.states import Mode, SubscriptionStatus
from tests.builders import NOON, a_claimed_cycle, some_rules

RULES = some_rules()


def test_a_due_cycle_is_tried_under_the_next_number_and_its_own_key() -> None:
    cycle = a_claimed_cycle(attempts_count=2)

    step = next_step(cycle, RULES, NOON)

    assert step == OpenAttempt(3, idempotency_key(cycle.payment_id, 3))


def test_a_cancelled_subscription_s_cycle_is_not_collected() -> None:
    cycle = a_claimed_cycle(subscription_status=SubscriptionStatus.CANCELLED)

    assert isinstance(next_step(cycle, RULES, NOON), Skip)


def test_a_period_already_owed_is_collected_while_its_subscription_is_held() -> None:
    cycle = a_claimed_cycle(subscription_status=SubscriptionStatus.HELD)

    assert isinstance(next_step(cycle, RULES, NOON), OpenAttempt)


def test_a_cycle_that_is_claimed_again_and_again_without_an_attempt_is_put_before_a_person() -> None:
    last, beyond = a_claimed_cycle(fruitless_claims=5), a_claimed_cycle(fruitless_claims=6)

    assert isinstance(next_step(last, RULES, NOON), OpenAttempt)
    assert isinstance(next_step(beyond, RULES, NOON), Hold)


def test_a_cycle_that_was_tried_a_hundred_times_is_put_before_a_person() -> None:
    assert isinstance(next_step(a_claimed_cycle(attempts_count=ATTEMPTS_MAX - 1), RULES, NOON), OpenAttempt)
    assert isinstance(next_step(a_claimed_cycle(attempts_count=ATTEMPTS_MAX), RULES, NOON), Hold)


def test_whoever_is_not_tried_is_told_apart_in_words() -> None:
    cancelled = a_claimed_cycle(subscription_status=SubscriptionStatus.CANCELLED)

    assert next_step(cancelled, RULES, NOON) == Skip("subscription cancelled")
    # The claim that finds the cycle has opened nothing yet: only those before it were fruitless.
    assert next_step(a_claimed_cycle(fruitless_claims=6), RULES, NOON) == Hold("claimed 5 times without an attempt")
    assert next_step(a_claimed_cycle(attempts_count=ATTEMPTS_MAX), RULES, NOON) == Hold(
        f"not collected in {ATTEMPTS_MAX} attempts"
    )


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=400)])
def test_a_cycle_is_charged_by_us_from_its_due_time_on_whatever_its_mode(mode: Mode, late: timedelta) -> None:
    cycle = a_claimed_cycle(mode=mode, attempts_count=1)

    assert next_step(cycle, RULES, cycle.due_at + late) == OpenAttempt(2, idempotency_key(cycle.payment_id, 2))


def test_a_cycle_of_schedule_mode_is_booked_for_its_due_time_while_that_is_not_near() -> None:
    # given
    cycle = a_claimed_cycle(mode=Mode.SCHEDULE, attempts_count=1)
    booked = BookAttempt(2, booking_key(cycle.payment_id, 2), time_to_pay=cycle.due_at)
    near = cycle.due_at - RULES.book_near

    # when, then
    assert next_step(cycle, RULES, near - timedelta(days=3)) == booked
    assert next_step(cycle, RULES, near - timedelta(microseconds=1)) == booked
    assert next_step(cycle, RULES, near) == NotYet(cycle.due_at)
    assert next_step(cycle, RULES, cycle.due_at - timedelta(microseconds=1)) == NotYet(cycle.due_at)


def test_a_cycle_of_charge_mode_that_is_not_due_yet_is_given_back() -> None:
    cycle = a_claimed_cycle()

    assert next_step(cycle, RULES, cycle.due_at - timedelta(days=3)) == NotYet(cycle.due_at)


def test_whoever_is_not_collected_is_not_booked_either() -> None:
    early = NOON - timedelta(days=3)
    booked = {"mode": Mode.SCHEDULE}
    cancelled = a_claimed_cycle(subscription_status=SubscriptionStatus.CANCELLED, **booked)

    assert isinstance(next_step(cancelled, RULES, early), Skip)
    assert isinstance(next_step(a_claimed_cycle(fruitless_claims=6, **booked), RULES, early), Hold)
    assert isinstance(next_step(a_claimed_cycle(attempts_count=ATTEMPTS_MAX, **booked), RULES, early), Hold)
