"""Dunning of bookings that PortOne refused: when their cycles go on."""

from datetime import timedelta

import pytest

from billing_worker.billing.dunning import CHANNEL_PAUSE, DunningPolicy, unbooked_until
from billing_worker.billing.outcomes import RefusalScope, Refused
from tests.builders import NOON

POLICY = DunningPolicy.of_days([1, 3])
PAUSE = CHANNEL_PAUSE
SECOND = timedelta(seconds=1)


def goes_on(scope: RefusalScope, *, due_in: timedelta) -> timedelta:
    refused = Refused("ANY", "no", scope)
    return unbooked_until(POLICY, refused, due_at=NOON + due_in, now=NOON) - NOON


@pytest.mark.parametrize("scope", [RefusalScope.CARD, RefusalScope.CYCLE])
@pytest.mark.parametrize("due_in", [timedelta(days=3), SECOND, timedelta(0)])
def test_a_cycle_that_cannot_be_booked_is_charged_when_it_is_due(scope: RefusalScope, due_in: timedelta) -> None:
    assert goes_on(scope, due_in=due_in) == due_in


@pytest.mark.parametrize("scope", list(RefusalScope))
def test_a_cycle_that_is_due_already_is_charged_at_once(scope: RefusalScope) -> None:
    assert goes_on(scope, due_in=-timedelta(days=1)) == timedelta(0)


def test_a_broken_channel_is_tried_again_after_its_pause_and_no_later_than_when_it_is_due() -> None:
    assert goes_on(RefusalScope.CHANNEL, due_in=timedelta(days=3)) == PAUSE
    assert goes_on(RefusalScope.CHANNEL, due_in=PAUSE - SECOND) == PAUSE - SECOND
