"""Billing periods: which dates a subscription owes money for, and from which instant it owes it.

Every date comes from the anchor and a number, never from the date before it. An anchor on the 31st owes from
28 February and is back on 31 March; adding a month to each date in turn would leave it on the 28th for good.
Nothing here may ask what day it is.
"""

from bisect import bisect_left
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

# A year of days. Whatever renews more rarely than that is counted in months or years.
COUNT_MAX = 366

# Zones mean little before the epoch, and no date exists after the year 9999.
ANCHOR_MIN = date(1970, 1, 1)

# "localtime" is whatever the host says it is, and "Factory" means that nobody has said: two replicas might disagree.
_ZONES_UNFIT = frozenset({"localtime", "Factory"})

_SECOND = timedelta(seconds=1)


class PeriodUnit(StrEnum):
    """What a period is counted in."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_DAYS = {PeriodUnit.DAY: 1, PeriodUnit.WEEK: 7}
_MONTHS = {PeriodUnit.MONTH: 1, PeriodUnit.YEAR: 12}


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often a subscription renews, counted from which date, and at what wall time of its zone it is charged."""

    unit: PeriodUnit
    count: int
    anchor_on: date
    zone: str
    charge_at: time

    def __post_init__(self) -> None:
        """Refuse what no date can be counted from. Raises ValueError."""
        if not 1 <= self.count <= COUNT_MAX:
            raise ValueError(f"count must be between 1 and {COUNT_MAX}")
        if self.anchor_on < ANCHOR_MIN:
            raise ValueError(f"anchor must not be before {ANCHOR_MIN}")
        if self.zone not in known_zones():
            raise ValueError("zone must be a name of the time zone database, such as Asia/Seoul")
        if self.charge_at.tzinfo is not None or self.charge_at.microsecond or self.charge_at.fold:
            raise ValueError("charge time must be a plain wall time in whole seconds")


@dataclass(frozen=True, slots=True)
class Period:
    """The dates [start_on, end_on) that money is owed for, in the subscription's zone."""

    start_on: date
    end_on: date

    def __post_init__(self) -> None:
        """Refuse a period without a day in it. Raises ValueError."""
        if self.start_on >= self.end_on:
            raise ValueError("a period must end after it starts")


@cache
def known_zones() -> frozenset[str]:
    """The zones that a cadence may name: those that mean the same on every host."""
    return frozenset(available_timezones()) - _ZONES_UNFIT


def nth_period(cadence: Cadence, number: int) -> Period:
    """The period of that number; number 1 starts on the anchor. Raises ValueError below 1 and past the year 9999."""
    if number < 1:
        raise ValueError("periods are numbered from 1")
    return Period(start_on=_start_on(cadence, number), end_on=_start_on(cadence, number + 1))


def period_number_on(cadence: Cadence, on: date) -> int:
    """The number of the period that a date lies in. Raises ValueError for a date before the anchor."""
    if on < cadence.anchor_on:
        raise ValueError(f"no period lies before the anchor {cadence.anchor_on}")
    if cadence.unit in _DAYS:
        return (on - cadence.anchor_on).days // _length(cadence) + 1
    number = _months_between(cadence.anchor_on, on) // _length(cadence) + 1
    # The month of the date has its start already, but the day may not have come.
    return number if _start_on(cadence, number) <= on else number - 1


def first_number_from(cadence: Cadence, on: date) -> int:
    """The number of the first period that starts on a date or after it."""
    if on <= cadence.anchor_on:
        return 1
    number = period_number_on(cadence, on)
    return number if _start_on(cadence, number) == on else number + 1


def due_at(cadence: Cadence, period: Period) -> datetime:
    """The UTC instant at which a clock in the zone first shows the charge time, or a later one, of the first day.

    Of a wall time that a clock change repeats, that is the first showing; of one that it skips, the moment of change.
    """
    wanted = datetime.combine(period.start_on, cadence.charge_at, tzinfo=ZoneInfo(cadence.zone))
    instant = wanted.astimezone(UTC)
    shown = instant.astimezone(wanted.tzinfo)
    return instant if shown.replace(tzinfo=None) == wanted.replace(tzinfo=None) else _moment_of_change(wanted)


def _start_on(cadence: Cadence, number: int) -> date:
    """The first day of a period, straight from the anchor. Raises ValueError past the year 9999."""
    steps = (number - 1) * _length(cadence)
    if cadence.unit in _DAYS:
        if steps > (date.max - cadence.anchor_on).days:
            raise ValueError(f"period {number} of this cadence lies beyond the year {date.max.year}")
        return cadence.anchor_on + timedelta(days=steps)
    year, month = divmod(cadence.anchor_on.year * 12 + cadence.anchor_on.month - 1 + steps, 12)
    if year > date.max.year:
        raise ValueError(f"period {number} of this cadence lies beyond the year {date.max.year}")
    return date(year, month + 1, min(cadence.anchor_on.day, monthrange(year, month + 1)[1]))


def _length(cadence: Cadence) -> int:
    """The length of a period in days, or in months where months are what is counted."""
    return cadence.count * (_DAYS.get(cadence.unit) or _MONTHS[cadence.unit])


def _months_between(early: date, late: date) -> int:
    """How many month names lie between two dates; their days do not matter."""
    return (late.year - early.year) * 12 + late.month - early.month


def _moment_of_change(skipped: datetime) -> datetime:
    """The UTC instant at which the clocks jumped over a wall time."""
    # Read with the offset after the jump, a skipped time lies before the jump; with the offset before it, after it.
    too_early = skipped.replace(fold=1).astimezone(UTC)
    too_late = skipped.astimezone(UTC)
    offset_after = too_late.astimezone(skipped.tzinfo).utcoffset()

    def has_jumped(seconds: int) -> bool:
        return (too_early + seconds * _SECOND).astimezone(skipped.tzinfo).utcoffset() == offset_after

    return too_early + bisect_left(range((too_late - too_early) // _SECOND), True, key=has_jumped) * _SECOND
