"""The clock: the primary's time decides, and the host's only shows as skew."""

from datetime import UTC, datetime, timedelta

import pytest

from billing_worker import clock as clock_module
from billing_worker.clock import Clock, SystemClock, clock_error
from tests.builders import FakeClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def both_clocks() -> list[Clock]:
    """The one in use and the one of tests, which must agree on what they promise."""
    return [SystemClock(), FakeClock(NOON)]


@pytest.mark.parametrize("clock", both_clocks())
def test_the_time_is_the_primarys_after_it_was_observed(clock: Clock) -> None:
    asked_at = clock.now()
    primary_now = asked_at + timedelta(seconds=42)

    clock.observe_primary(primary_now, asked_at=asked_at, answered_at=asked_at)

    assert abs((clock.now() - primary_now).total_seconds()) < 1
    assert clock.skew_seconds == pytest.approx(-42, abs=1)


@pytest.mark.parametrize("clock", both_clocks())
def test_the_time_is_aware_and_seconds_never_go_back(clock: Clock) -> None:
    first, second = clock.monotonic(), clock.monotonic()

    assert clock.now().tzinfo is UTC
    assert second >= first


def test_a_step_of_the_hosts_clock_moves_nothing_but_the_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now()

    monkeypatch.setattr(clock_module, "_host_now", lambda: before + timedelta(hours=3))

    assert clock.now() - before < timedelta(seconds=5)
    assert clock.skew_seconds == pytest.approx(3 * 3600, abs=5)


def test_an_answer_too_slow_to_contradict_the_clock_changes_nothing() -> None:
    slow = clock_error(NOON + timedelta(seconds=3), asked_at=NOON, answered_at=NOON + timedelta(seconds=4))
    quick = clock_error(NOON + timedelta(seconds=3), asked_at=NOON, answered_at=NOON + timedelta(seconds=1))

    assert slow == timedelta()
    assert quick == timedelta(seconds=2.5)
