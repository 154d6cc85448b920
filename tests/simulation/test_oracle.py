"""The oracles that count by hand: what they are told to expect, and that they cannot be satisfied by silence."""

from datetime import UTC, date, datetime, time

import pytest

from billing_worker.billing.periods import Cadence, PeriodUnit, due_at, nth_period
from tests.simulation import oracle_asking
from tests.simulation.oracle_dates import first_day, owed_from
from tests.simulation.portone_books import Execution, PortOneBooks, Try
from tests.simulation.portone_cards import DUPLICATE, HARD, SOFT, Words
from tests.simulation.scenario import START, plan_of
from tests.simulation.world import DAY, HOUR


def test_the_hand_counts_as_the_calendar_of_the_product_does() -> None:
    cadences = {each.plan.cadence for seed in range(300) for each in plan_of(seed).subscriptions}

    for cadence in cadences:
        for number in range(1, 15):
            period = nth_period(cadence, number)
            assert (first_day(cadence, number), first_day(cadence, number + 1)) == (period.start_on, period.end_on)
            assert owed_from(cadence, number) == due_at(cadence, period)


@pytest.mark.parametrize(
    ("anchor_on", "number", "charge_at", "instant"),
    [
        (date(2026, 1, 31), 2, time(9), datetime(2026, 2, 28, 14, tzinfo=UTC)),
        (date(2026, 1, 31), 3, time(9), datetime(2026, 3, 31, 13, tzinfo=UTC)),
        (date(2026, 3, 8), 1, time(2, 30), datetime(2026, 3, 8, 7, tzinfo=UTC)),
        (date(2026, 11, 1), 1, time(1, 30), datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
    ],
)
def test_month_ends_come_back_and_clock_changes_are_walked_through(
    anchor_on: date, number: int, charge_at: time, instant: datetime
) -> None:
    cadence = Cadence(PeriodUnit.MONTH, 1, anchor_on, "America/New_York", charge_at)

    assert owed_from(cadence, number) == instant


@pytest.mark.parametrize(
    ("words", "next_at", "why"),
    [
        (SOFT[0], DAY + 60.0, ""),
        (SOFT[0], DAY - HOUR, "it may come from"),
        (HARD[0], DAY + 60.0, "a hard decline"),
        (DUPLICATE[0], DAY + 60.0, "the PG said that it has been paid"),
    ],
)
def test_a_card_that_has_said_no_is_asked_again_on_its_day_or_never(words: Words, next_at: float, why: str) -> None:
    books = _asked_at(0.0, next_at, words=words)

    found = list(oracle_asking.faults(books, (1.0, 3.0)))

    assert [why in fault for fault in found] == ([True] if why else [])


def test_after_an_outage_a_card_gets_some_hours_between_two_declines() -> None:
    books = _asked_at(0.0, 5 * DAY, 5 * DAY + HOUR, words=SOFT[0])

    found = list(oracle_asking.faults(books, (1.0, 3.0)))

    assert ["after 2 declines" in fault for fault in found] == [True]


def test_after_the_last_day_of_the_plan_a_card_is_asked_no_more() -> None:
    books = _asked_at(0.0, 1 * DAY, 9 * DAY, words=SOFT[0])

    found = list(oracle_asking.faults(books, (1.0,)))

    assert ["2 declines were the last" in fault for fault in found] == [True]


def _asked_at(*moments: float, words: Words) -> PortOneBooks:
    books = PortOneBooks()
    payment = books.payment("p")
    for number, moment in enumerate(moments):
        key = f"p-g{number}"
        books.executions.append(Execution("p", key, "", moment, moment + 1.0))
        payment.tries.append(Try(f"tx-{number}", key, 100, "KRW", START, START, moment, moment + 1.0, failure=words))
    return books
