"""Periods over every anchor, zone and decade."""

from calendar import isleap, monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.periods import (
    ANCHOR_MIN,
    COUNT_MAX,
    Cadence,
    Period,
    PeriodUnit,
    due_at,
    first_number_from,
    known_zones,
    nth_period,
    period_number_on,
)
from tests.builders import a_cadence

ZONES = sorted(known_zones())
DAY = timedelta(days=1)

# Zones that crossed the date line since 1970 and so left out a whole day, with the day (their other names have it too).
LEFT_OUT = {
    "Pacific/Apia": date(2011, 12, 30),
    "Pacific/Fakaofo": date(2011, 12, 30),
    "Pacific/Kwajalein": date(1993, 8, 21),
}

cadences = st.builds(
    Cadence,
    unit=st.sampled_from(PeriodUnit),
    count=st.integers(1, 12) | st.integers(1, COUNT_MAX),
    anchor_on=st.dates(ANCHOR_MIN, date(2100, 12, 31)),
    zone=st.sampled_from(ZONES),
    charge_at=st.times().map(lambda at: at.replace(microsecond=0, fold=0)),
)
numbers = st.integers(1, 20)  # with 366 years a period, the twentieth is still within the calendar


def local(instant: datetime, zone: ZoneInfo) -> datetime:
    """What a clock in the zone shows."""
    return instant.astimezone(zone).replace(tzinfo=None)


def starts(cadence: Cadence, count: int) -> list[date]:
    return [nth_period(cadence, number).start_on for number in range(1, count + 1)]


@given(cadence=cadences)
def test_the_first_period_starts_on_the_anchor(cadence: Cadence) -> None:
    assert nth_period(cadence, 1).start_on == cadence.anchor_on


@given(cadence=cadences, number=numbers)
def test_a_period_ends_where_the_next_one_starts(cadence: Cadence, number: int) -> None:
    this, following = nth_period(cadence, number), nth_period(cadence, number + 1)

    assert this.end_on == following.start_on
    assert this.start_on < this.end_on


@given(cadence=cadences, number=numbers, choice=st.floats(0, 1))
def test_each_day_of_a_period_knows_its_number(cadence: Cadence, number: int, choice: float) -> None:
    # given
    period = nth_period(cadence, number)
    days = (period.end_on - period.start_on).days

    # when
    inside = period.start_on + timedelta(days=int(choice * (days - 1)))

    # then
    for on in (period.start_on, inside, period.end_on - DAY):
        assert period_number_on(cadence, on) == number
    assert period_number_on(cadence, period.end_on) == number + 1


@given(cadence=cadences, on=st.dates(ANCHOR_MIN, date(2500, 1, 1)))
def test_the_first_number_from_a_date_is_the_least_that_starts_then_or_later(cadence: Cadence, on: date) -> None:
    number = first_number_from(cadence, on)

    assert nth_period(cadence, number).start_on >= on
    assert number == 1 or nth_period(cadence, number - 1).start_on < on


@pytest.mark.parametrize(("unit", "months"), [(PeriodUnit.MONTH, 1), (PeriodUnit.YEAR, 12)])
def test_no_anchor_of_a_leap_cycle_ever_drifts(unit: PeriodUnit, months: int) -> None:
    """Every anchor of four years, fifty periods each: the anchor's day where the month has it, else its last."""
    for offset in range(4 * 365 + 1):
        anchor = date(2023, 1, 1) + timedelta(days=offset)
        for index, start in enumerate(starts(a_cadence(unit, anchor_on=anchor), 50)):
            year, month = divmod(anchor.year * 12 + anchor.month - 1 + index * months, 12)
            assert (start.year, start.month) == (year, month + 1)
            assert start.day == min(anchor.day, monthrange(start.year, start.month)[1])


@pytest.mark.parametrize(("unit", "days"), [(PeriodUnit.DAY, 1), (PeriodUnit.WEEK, 7)])
@given(count=st.integers(1, COUNT_MAX), anchor=st.dates(ANCHOR_MIN, date(2100, 1, 1)), number=st.integers(1, 1000))
def test_days_and_weeks_are_of_one_length(unit: PeriodUnit, days: int, count: int, anchor: date, number: int) -> None:
    period = nth_period(a_cadence(unit, count=count, anchor_on=anchor), number)

    assert period.start_on == anchor + timedelta(days=days * count * (number - 1))
    assert period.end_on - period.start_on == timedelta(days=days * count)


def test_the_thirty_first_comes_back_after_february() -> None:
    assert starts(a_cadence(anchor_on=date(2024, 1, 31)), 4) == [
        date(2024, 1, 31),
        date(2024, 2, 29),
        date(2024, 3, 31),
        date(2024, 4, 30),
    ]
    assert nth_period(a_cadence(anchor_on=date(2026, 1, 31)), 2) == Period(date(2026, 2, 28), date(2026, 3, 31))


def test_a_leap_day_is_kept_in_leap_years_only() -> None:
    yearly = starts(a_cadence(PeriodUnit.YEAR, anchor_on=date(1996, 2, 29)), 110)

    assert all(start.day == (29 if isleap(start.year) else 28) for start in yearly)
    assert date(2000, 2, 29) in yearly
    assert date(2100, 2, 28) in yearly


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"count": 0}, "count"),
        ({"count": COUNT_MAX + 1}, "count"),
        ({"anchor_on": date(1969, 12, 31)}, "anchor"),
        ({"zone": "Asia/Pyeongchang"}, "zone"),
        ({"zone": "localtime"}, "zone"),
        ({"zone": "../Asia/Seoul"}, "zone"),
        ({"zone": "America"}, "zone"),
        ({"zone": "\ud800"}, "zone"),
        ({"zone": "a" * 5000}, "zone"),
        ({"charge_at": time(10, tzinfo=UTC)}, "charge time"),
        ({"charge_at": time(10, 0, 0, 1)}, "charge time"),
        ({"charge_at": time(10, fold=1)}, "charge time"),
    ],
)
def test_a_cadence_without_meaning_is_refused(bad: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        a_cadence(**bad)  # type: ignore[arg-type]


def test_a_period_has_at_least_one_day() -> None:
    with pytest.raises(ValueError, match="end after"):
        Period(date(2026, 1, 1), date(2026, 1, 1))


@pytest.mark.parametrize("unit", PeriodUnit)
@pytest.mark.parametrize("number", [2, 10**6, 10**30])
def test_periods_end_with_the_calendar(unit: PeriodUnit, number: int) -> None:
    cadence = a_cadence(unit, anchor_on=date(9999, 12, 31))

    with pytest.raises(ValueError, match="beyond the year 9999"):
        nth_period(cadence, number)
    assert period_number_on(cadence, date(9999, 12, 31)) == 1


def test_numbers_begin_at_one_and_dates_at_the_anchor() -> None:
    cadence = a_cadence()

    for number in (0, -1):
        with pytest.raises(ValueError, match="numbered from 1"):
            nth_period(cadence, number)
    with pytest.raises(ValueError, match="before the anchor"):
        period_number_on(cadence, cadence.anchor_on - DAY)


def test_a_number_is_found_without_walking_there() -> None:
    daily = a_cadence(PeriodUnit.DAY, anchor_on=ANCHOR_MIN)

    # Eight thousand years of days, ten thousand times: walking would take hours, and this test has two minutes.
    for _ in range(10_000):
        assert period_number_on(daily, date(9999, 12, 30)) == 2_932_896


def test_seoul_at_ten_is_one_in_the_morning_utc() -> None:
    cadence = a_cadence()

    assert due_at(cadence, nth_period(cadence, 2)) == datetime(2026, 2, 28, 1, 0, tzinfo=UTC)
    assert due_at(cadence, nth_period(cadence, 2)).tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "on", "at", "instant"),
    [
        # 02:00 to 03:00 on 8 March does not exist, nor does midnight of São Paulo on 4 November 2018.
        ("America/New_York", date(2026, 3, 8), time(2, 30), datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
        ("America/Sao_Paulo", date(2018, 11, 4), time(0, 0), datetime(2018, 11, 4, 3, 0, tzinfo=UTC)),
        # Half an hour only.
        ("Australia/Lord_Howe", date(2026, 10, 4), time(2, 15), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
        # Seoul had summer time for the last time in 1988.
        ("Asia/Seoul", date(1988, 5, 8), time(2, 30), datetime(1988, 5, 7, 17, 0, tzinfo=UTC)),
        # The whole day is missing.
        ("Pacific/Apia", date(2011, 12, 30), time(10, 0), datetime(2011, 12, 30, 10, 0, tzinfo=UTC)),
    ],
)
def test_a_wall_time_that_is_skipped_is_the_moment_of_the_change(
    zone: str, on: date, at: time, instant: datetime
) -> None:
    cadence = a_cadence(anchor_on=on, zone=zone, charge_at=at)

    assert due_at(cadence, nth_period(cadence, 1)) == instant


def test_a_wall_time_that_comes_twice_is_the_first_of_the_two() -> None:
    cadence = a_cadence(anchor_on=date(2026, 11, 1), zone="America/New_York", charge_at=time(1, 30))

    assert due_at(cadence, nth_period(cadence, 1)) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@given(cadence=cadences, number=numbers)
def test_due_is_when_the_clock_first_shows_the_charge_time(cadence: Cadence, number: int) -> None:
    # given
    zone = ZoneInfo(cadence.zone)
    period = nth_period(cadence, number)
    wanted = datetime.combine(period.start_on, cadence.charge_at)

    # when
    instant = due_at(cadence, period)

    # then
    assert local(instant, zone) >= wanted
    assert local(instant - timedelta(seconds=1), zone) < wanted


@pytest.mark.parametrize("year", [1970, 1988, 1995, 2011, 2026, 2037])
def test_every_clock_change_of_every_zone_has_its_first_showing(year: int) -> None:
    for zone_name in ZONES:
        zone = ZoneInfo(zone_name)
        for on in _days_of_change(zone, year):
            for at in (time(0, 0), time(0, 30), time(1, 30), time(2, 0), time(2, 30), time(3, 0), time(23, 30)):
                instant = due_at(a_cadence(anchor_on=on, zone=zone_name, charge_at=at), Period(on, on + DAY))
                wanted = datetime.combine(on, at)
                assert local(instant, zone) >= wanted
                quarters = (instant - timedelta(seconds=1) - n * timedelta(minutes=15) for n in range(5))
                assert all(local(earlier, zone) < wanted for earlier in quarters)


def _days_of_change(zone: ZoneInfo, year: int) -> list[date]:
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(366)]
    offsets = [datetime(on.year, on.month, on.day, 12, tzinfo=zone).utcoffset() for on in days]
    return [on for on, before, after in zip(days[1:], offsets, offsets[1:], strict=False) if before != after]


@given(cadence=cadences, number=numbers)
def test_due_instants_increase(cadence: Cadence, number: int) -> None:
    # given
    this, following = nth_period(cadence, number), nth_period(cadence, number + 1)

    # when
    instants = due_at(cadence, this), due_at(cadence, following)

    # then
    if any(skipped in (this.start_on, following.start_on) for skipped in LEFT_OUT.values()):
        assert instants[0] <= instants[1]
    else:
        assert instants[0] < instants[1]


@pytest.mark.parametrize(("zone", "left_out"), LEFT_OUT.items())
def test_a_day_that_a_zone_never_had_is_due_when_the_next_one_begins(zone: str, left_out: date) -> None:
    daily = a_cadence(PeriodUnit.DAY, anchor_on=left_out - DAY, zone=zone, charge_at=time(0, 0))

    before, never, after = (due_at(daily, nth_period(daily, number)) for number in (1, 2, 3))

    assert before < never == after


def test_the_moment_of_a_change_is_told_in_utc() -> None:
    cadence = Cadence(PeriodUnit.DAY, 1, date(2026, 3, 29), "Europe/Berlin", time(2, 30))

    due = due_at(cadence, nth_period(cadence, 1))

    assert due == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert due.tzinfo is UTC


def test_the_last_day_of_the_calendar_can_begin_a_period_s_end() -> None:
    cadence = Cadence(PeriodUnit.DAY, 1, date(9999, 12, 30), "UTC", time(0))

    assert nth_period(cadence, 1) == Period(date(9999, 12, 30), date(9999, 12, 31))


@pytest.mark.parametrize("zone", ["localtime", "Factory"])
def test_a_zone_that_each_host_reads_otherwise_is_no_zone(zone: str) -> None:
    assert zone not in known_zones()
