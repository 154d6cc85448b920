"""Sound values for tests; a test names only what it is about."""

from datetime import UTC, date, datetime, time, timedelta

from billing_worker.billing.periods import Cadence, PeriodUnit


def a_cadence(
    unit: PeriodUnit = PeriodUnit.MONTH,
    *,
    count: int = 1,
    anchor_on: date = date(2026, 1, 31),
    zone: str = "Asia/Seoul",
    charge_at: time = time(10, 0),
) -> Cadence:
    """A monthly cadence of Seoul on the last day of January, unless told otherwise."""
    return Cadence(unit=unit, count=count, anchor_on=anchor_on, zone=zone, charge_at=charge_at)


class FakeClock:
    """A clock that moves only when told to. Its host's clock keeps the skew that it is given."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC), *, skew_seconds: float = 0.0) -> None:
        self._now = now
        self._seconds = 0.0
        self.skew_seconds = skew_seconds

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, **span: float) -> datetime:
        """Let time pass, as timedelta's keywords say it, and give the new now."""
        passed = timedelta(**span)
        self._now += passed
        self._seconds += passed.total_seconds()
        return self._now

    def observe_primary(self, primary_now: datetime, *, asked_at: datetime, answered_at: datetime) -> None:
        error = primary_now - (asked_at + (answered_at - asked_at) / 2)
        self._now += error
        self.skew_seconds -= error.total_seconds()
