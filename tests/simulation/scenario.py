"""What a run is to be like, worked out from its seed alone: who owes what, how many workers, which faults, where.

Two cells of every run follow from the seed's number, so that a row of seeds aims at every cell; the rest is chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import Customer
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit, first_number_from
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from tests.simulation.faults import ASKS_PORTONE, CELLS, OF_BOOKINGS, Cell, Fault, Point, Side
from tests.simulation.oracle_dates import owed_from
from tests.simulation.world import DAY, HOUR, Aim, Rate

START = datetime(2026, 1, 20, tzinfo=UTC)
# With these every cell is aimed at once in so many seeds as there are cells, each time beside another one.
SECOND_STEP, SECOND_FIRST = 191, 77

DUNNING = ((1.0, 3.0, 5.0, 7.0), (1.0, 3.0), (0.5, 1.0), (1.0,), (1.0,), (1.0,), ())
RECHECKS = ((600, 10_800, 86_400), (86_400,), (86_400,), (86_400,))
_TEMPERS = (*((0.0, 0.0),) * 9, (0.4, 0.0), (0.4, 0.0), (1.0, 0.0), (0.2, 0.3))


@dataclass(frozen=True, slots=True)
class Planned:
    """A subscription and how its card behaves: the chances of a soft and of a hard decline."""

    plan: PlannedSubscription
    soft: float
    hard: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a run that is settled before it begins."""

    seed: int
    started_at: datetime
    subscriptions: tuple[Planned, ...]
    workers: int
    days: float
    dunning: tuple[float, ...]
    rechecks: tuple[int, ...]  # seconds after a decline; the last one is later than any late success
    aims: tuple[Aim, ...]
    rates: tuple[Rate, ...]
    atomic: bool
    slow: float
    stops: tuple[float, ...]  # moments of a SIGTERM to somebody
    portone_clock: tuple[tuple[float, float, float], ...]  # from when, for how long and by how much it is wrong
    halts: tuple[tuple[float, float], ...] = ()  # from when and for how long a person has sending halted
    schedules: bool = False  # whether anything may be booked
    lead_seconds: float = 3 * DAY
    webhooks: bool = False  # whether PortOne sends hints
    # When a person changes a subscription, which one, and what: price, card, mode, cancel.
    changes: tuple[tuple[float, str, str], ...] = ()
    sets_aside: float = 0.0  # the chance that a person sets a cycle aside while it is being collected

    @property
    def rest_days(self) -> float:
        """How long after the last fault everything may take: the longest freeze, a voiding, and all of the dunning."""
        return 5.0 + max(self.dunning, default=0.0)


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    chance = Random(f"plan {seed}")
    aims = tuple(_aims(seed, chance))
    days = chance.choice((5.0, 9.0) if _wants_declines(aims) else (2.0, 3.0, 5.0, 9.0, 16.0, 28.0, 40.0))
    schedules = _wants_bookings(aims) or chance.random() < 0.35
    if schedules:
        days = max(days, 3.0)
    started_at = START + timedelta(days=chance.randrange(400), seconds=chance.randrange(86_400))
    sets_aside = chance.random() < 0.12
    stops = [chance.uniform(0.0, days) * DAY for _ in range(chance.choice((0, 0, 1, 2)))]
    subscriptions = tuple(_subscriptions(seed, chance, started_at, days, _wants_declines(aims), schedules=schedules))
    lead_seconds = chance.choice((6 * HOUR, DAY, 3 * DAY))
    changes = tuple(_changes(chance, started_at, days, lead_seconds, subscriptions, aims=aims)) if schedules else ()
    return Plan(
        seed=seed,
        started_at=started_at,
        subscriptions=subscriptions,
        workers=chance.choice((2, 2, 3)),
        days=days,
        dunning=DUNNING[1] if _wants_declines(aims) else chance.choice(DUNNING),
        rechecks=chance.choice(RECHECKS),
        aims=aims,
        rates=tuple(_rates(aims, chance, sets_aside=sets_aside)),
        schedules=schedules,
        lead_seconds=lead_seconds,
        changes=changes,
        webhooks=chance.random() < 0.4,
        atomic=chance.random() < 0.6,
        slow=chance.choice((0.02, 0.1, 0.3)),
        stops=tuple(sorted(stops)),
        portone_clock=tuple(_wrong_spells(chance, days)),
        halts=tuple(_halts(chance, started_at, subscriptions)) if chance.random() < 0.12 else (),
        sets_aside=0.5 if sets_aside else 0.0,
    )


# --- who owes what --------------------------------------------------------------------------------------------------


def _subscriptions(
    seed: int, chance: Random, started_at: datetime, days: float, declines: bool, *, schedules: bool
) -> Iterator[Planned]:
    count = chance.choice((3, 3, 3, 3, 3, 3, 4, 4, 5, 12)) if not declines else 3
    together = chance.random() < 0.3  # everybody is due at one moment
    charge_at = time(chance.randrange(24), chance.choice((0, 0, 30)))
    for number in range(count):
        cadence = _cadence(chance, started_at, days, charge_at if together else time(chance.randrange(24), 0))
        soft, hard = chance.choice(_TEMPERS)
        if declines and number == 0:
            soft, hard = 0.9, 0.0
        books = schedules and (number == 1 or chance.random() < 0.6) and not (declines and number == 0)
        plan = PlannedSubscription(
            business_key=f"s{seed}-{number}",
            customer=Customer(f"customer-{number}", "홍길동", "010-0000-0000", "a@example.com"),
            billing_key=BillingKey(f"billing-key-{seed}-{number}"),
            order_name="월간 이용권",
            price=Money(chance.randrange(100, 99_000), "KRW"),
            cadence=cadence,
            mode=Mode.SCHEDULE if books else Mode.CHARGE,
            first_cycle_number=first_number_from(
                cadence, started_at.date() - timedelta(days=chance.choice((0, 0, 1, 3)))
            ),
        )
        yield Planned(plan, soft, hard)


def _wants_bookings(aims: tuple[Aim, ...]) -> bool:
    return any(aim.cell.point in OF_BOOKINGS for aim in aims)


def _changes(
    chance: Random,
    started_at: datetime,
    days: float,
    lead_seconds: float,
    subscriptions: tuple[Planned, ...],
    *,
    aims: tuple[Aim, ...],
) -> Iterator[tuple[float, str, str]]:
    """What a person changes while bookings are out: most of it in the days before a period is due."""
    wanted = {Point.REVOKE, Point.SETTLE_REVOKED} & {aim.cell.point for aim in aims}
    count = chance.choice((2, 3)) if wanted else chance.choice((0, 0, 1, 1, 3))
    booked = [each.plan for each in subscriptions if each.plan.mode is Mode.SCHEDULE]
    for _ in range(count):
        each = chance.choice(booked)
        what = chance.choice(("price", "price", "price", "card", "card", "mode", "cancel"))
        moment = chance.uniform(0.0, days) * DAY
        dues = [_seconds_to(each, number, started_at) for number in range(3)]
        near = [due for due in dues if 0.0 < due < (days + 2.0) * DAY]
        if near:
            # Some seconds before it, or while it is being charged, or at any time while it is booked.
            before = chance.choice((chance.uniform(-5.0, 90.0), chance.uniform(0.0, lead_seconds)))
            moment = max(chance.choice(near) - before, 60.0)
        yield moment, each.business_key, what


def _seconds_to(plan: PlannedSubscription, number: int, started_at: datetime) -> float:
    return (owed_from(plan.cadence, plan.first_cycle_number + number) - started_at).total_seconds()


def _cadence(chance: Random, started_at: datetime, days: float, charge_at: time) -> Cadence:
    if chance.random() < 0.12 and (last_of_month := _last_of_a_month(started_at.date(), round(days))) is not None:
        # The 31st of a January before: whoever adds a month to the last date loses days in February.
        anchor_on = date(last_of_month.year - 1, 1, 31)
        return Cadence(unit=PeriodUnit.MONTH, count=1, anchor_on=anchor_on, zone="Asia/Seoul", charge_at=charge_at)
    begun_on: date = started_at.date() - timedelta(days=chance.choice((0, 1, 29, 31, 59, 365)))
    every = max(1, round(days / chance.choice((1, 1, 1, 2))))
    unit, count = chance.choice(((PeriodUnit.MONTH, 1), (PeriodUnit.DAY, every), (PeriodUnit.DAY, every)))
    anchor_on = begun_on + timedelta(days=chance.randrange(2))
    zone = chance.choice(("Asia/Seoul", "Asia/Seoul", "UTC", "America/New_York"))
    return Cadence(unit=unit, count=count, anchor_on=anchor_on, zone=zone, charge_at=charge_at)


def _last_of_a_month(first: date, days: int) -> date | None:
    """The last day of a month that falls into those days, if one does."""
    each = (first + timedelta(days=day) for day in range(1, days))
    return next((on for on in each if (on + timedelta(days=1)).day == 1), None)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def _aims(seed: int, chance: Random) -> Iterator[Aim]:
    cells = [CELLS[seed % len(CELLS)], CELLS[(seed * SECOND_STEP + SECOND_FIRST) % len(CELLS)]]
    cells += [chance.choice(CELLS) for _ in range(chance.choice((0, 1, 2, 4)))]
    for cell in cells:
        yield Aim(cell, chance.choice((1, 1, 2, 3, 5)) if cell.point in _OFTEN else 1)
    if any(cell.point is Point.HAND_OVER for cell in cells):
        # Attempts are handed over when the gate closes between their intent and their turn.
        for nth in (1, 3):
            yield Aim(Cell(Point.INTENT, Side.AFTER, Fault.CLOCK_AHEAD), nth)


_ON_ARRIVAL = (Fault.BROKEN, Fault.TOO_MANY, Fault.UNAUTHORISED, Fault.SLOW_CONNECT)
_WEATHER = (
    *_ON_ARRIVAL, Fault.BROKEN_AFTER, Fault.BROKEN_AFTER, Fault.GARBAGE, Fault.HANG, Fault.KEY_EARLY, Fault.KEY_LATE,
    Fault.NOT_ATOMIC, Fault.LATE_SUCCESS, Fault.DECLINE_HARD, Fault.DECLINE_DUPLICATE, Fault.STALE_RECORD,
    Fault.DIFFERS, Fault.DIFFERS,
)  # fmt: skip
_BOOKING_WEATHER = (
    Fault.FIRES_LATE, Fault.FIRES_SLOWLY, Fault.CONSOLE_REVOKES, Fault.CONSOLE_MOVES, Fault.CONSOLE_EDITS,
    Fault.LATE_SUCCESS, Fault.DECLINE_HARD, Fault.DECLINE_SOFT, Fault.STALE_RECORD, Fault.INVISIBLE, Fault.KEY_EARLY,
    Fault.KEY_DELETED, Fault.HANG,
)  # fmt: skip
_LOOK_WEATHER = (Fault.BROKEN_AFTER, Fault.GARBAGE, Fault.ANSWER_LOST)
_OFTEN = frozenset({Point.READS, Point.CLAIM, Point.INTENT, Point.SETTLE, Point.POST, Point.LOOK, Point.CLAIM_LOOK,
                   Point.BOOK, Point.INTENT_BOOKING, Point.NOTE_BOOKED, Point.FIND_SCHEDULE})  # fmt: skip


def _wrong_spells(chance: Random, days: float) -> Iterator[tuple[float, float, float]]:
    if chance.random() < 0.15:
        seconds = chance.choice((-1, 1)) * chance.choice((chance.uniform(5.0, 29.0), chance.uniform(31.0, 600.0)))
        yield chance.uniform(0.0, days * 0.8) * DAY, chance.uniform(60.0, 6 * HOUR), seconds


def _halts(chance: Random, started_at: datetime, subscriptions: tuple[Planned, ...]) -> Iterator[tuple[float, float]]:
    """A person has sending halted at the start, and about the time at which a period is due."""
    yield chance.uniform(0.0, HOUR), chance.uniform(600.0, 12 * HOUR)
    each = chance.choice(subscriptions).plan
    for number in range(each.first_cycle_number, each.first_cycle_number + 4):
        due = (owed_from(each.cadence, number) - started_at).total_seconds()
        if due > DAY:
            if chance.random() < 0.4:
                # After a first decline, and for so long that more than one retry is overdue.
                yield due + chance.uniform(HOUR, 12 * HOUR), chance.uniform(2.5, 5.0) * DAY
            else:
                yield due - chance.uniform(60.0, HOUR), chance.uniform(HOUR, 12 * HOUR)
            return


def _wants_declines(aims: tuple[Aim, ...]) -> bool:
    """A list of tries is asked for only when a payment shows an older one."""
    return any(aim.cell.point is Point.TRIES for aim in aims)


def _rates(aims: tuple[Aim, ...], chance: Random, *, sets_aside: bool) -> Iterator[Rate]:
    points = {aim.cell.point for aim in aims}
    resends = bool(points & {Point.NOTE_RESEND, Point.RESEND, Point.TRIES})
    lost = 0.4 if resends else chance.choice((0.0, 0.0, 0.05, 0.2))
    if sets_aside:
        lost = 0.7  # What arrives is settled before a person can set it aside.
    answers = chance.choice((0.0, 0.0, 0.05, 0.2))
    if resends or points & {Point.BOOK_AGAIN, Point.LIST_SCHEDULES}:
        lost = max(lost, 0.4)
    for point in (Point.BOOK, Point.BOOK_AGAIN, Point.REVOKE):
        yield Rate(Cell(point, Side.BEFORE, Fault.REQUEST_LOST), lost)
        yield Rate(Cell(point, Side.AT, Fault.ANSWER_LOST), answers)
    if chance.random() < 0.3:
        weather = chance.choice(_BOOKING_WEATHER)
        yield Rate(Cell(Point.BOOK, Side.AT, weather), 0.3)
    for point in (Point.POST, Point.RESEND):
        yield Rate(Cell(point, Side.BEFORE, Fault.REQUEST_LOST), lost)
        yield Rate(Cell(point, Side.AT, Fault.ANSWER_LOST), answers)
        yield Rate(Cell(point, Side.AT, Fault.INVISIBLE), chance.choice((0.0, 0.0, 0.1)))
    yield from _weather(chance)
    if chance.random() < 0.3:
        for point in sorted(set(Point) - ASKS_PORTONE - {Point.READS}):
            yield Rate(Cell(point, Side.AT, Fault.UNACKNOWLEDGED), 0.04)
            yield Rate(Cell(point, Side.BEFORE, Fault.LOST), 0.04)
    if chance.random() < 0.2:
        for point in (Point.SETTLE, Point.INTENT, Point.POST, Point.LOOK):
            yield Rate(Cell(point, Side.AT, Fault.KILL), 0.05)


def _weather(chance: Random) -> Iterator[Rate]:
    """What goes wrong at PortOne again and again in one run."""
    if chance.random() < 0.5:
        for weather in (chance.choice(_WEATHER), chance.choice(_WEATHER)):
            for point in (Point.POST, Point.RESEND):
                side = Side.BEFORE if weather in _ON_ARRIVAL else Side.AT
                yield Rate(Cell(point, side, weather), chance.choice((0.1, 0.3)))
    if chance.random() < 0.3:
        for point in (Point.LOOK, Point.TRIES, Point.FIND_SCHEDULE, Point.LIST_SCHEDULES):
            yield Rate(Cell(point, Side.AT, chance.choice(_LOOK_WEATHER)), 0.2)
