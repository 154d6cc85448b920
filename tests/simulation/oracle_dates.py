"""Which dates a period has and from when it is owed, counted by hand: the product's own calendar is what is judged."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from billing_worker.billing.periods import Cadence, PeriodUnit

# Every charge time of a plan and every change of a clock falls on a quarter of an hour.
STEP = timedelta(minutes=15)


@cache
def first_day(cadence: Cadence, number: int) -> date:
    """The day on which a period starts: so many whole steps after the anchor, on the anchor's day of the month.

    In a month that has no such day it is the last one.
    """
    steps = cadence.count * (number - 1)
    if cadence.unit is PeriodUnit.DAY:
        return cadence.anchor_on + timedelta(days=steps)
    assert cadence.unit is PeriodUnit.MONTH, "no plan counts in anything else"
    year, month = cadence.anchor_on.year, cadence.anchor_on.month
    for _ in range(steps):
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return date(year, month, min(cadence.anchor_on.day, monthrange(year, month)[1]))


@cache
def owed_from(cadence: Cadence, number: int) -> datetime:
    """The first instant at which a clock of the zone shows the charge time of the first day, or a later one."""
    wanted, zone = datetime.combine(first_day(cadence, number), cadence.charge_at), ZoneInfo(cadence.zone)
    offset = (wanted - timedelta(days=1)).replace(tzinfo=zone).utcoffset() or timedelta()
    instant = (wanted - offset).replace(tzinfo=UTC) - timedelta(hours=3)
    while instant.astimezone(zone).replace(tzinfo=None) < wanted:
        instant += STEP
    return instant
