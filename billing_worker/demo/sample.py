"""The sample: made-up Korean subscriptions, and what the simulated PortOne will do to each of them.

Names, plans and shares are the same in every run; only the dates follow the calendar. It decides what should happen and
must never look at what did.
"""

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from billing_worker.demo.stories import NOT_DUE, SCHEDULE, STORIES, Change, Story

SEED = 20_260_401

_SURNAMES = "김이박최정강조윤장임한오서신권황안송류홍"
_GIVEN_NAMES = (
    "민준", "서연", "도윤", "지우", "하준", "서윤", "시우", "하은", "지호", "민서",
    "예준", "수아", "주원", "지민", "준서", "채원", "건우", "다은", "현우", "은서",
    "유진", "지훈", "소율", "성민", "가은", "동현", "나연", "재윤", "예린", "승현",
)  # fmt: skip

# What a month costs, in won, and how often it is chosen.
_PLANS = (
    ("클라우드 저장소 100GB 월 이용권", 2_400, 15),
    ("베이직 월 정기결제", 4_900, 25),
    ("스탠다드 월 정기결제", 9_900, 30),
    ("프리미엄 월 정기결제", 14_900, 15),
    ("패밀리 4인 월 정기결제", 19_900, 8),
    ("원두 정기배송 500g", 23_000, 5),
    ("팀 요금제 5인 월 이용료", 49_000, 2),
)

# A period that begins at the earliest the day after tomorrow is not due however long the demo is left running tonight.
_NOT_DUE_DAYS = (2, 27)
_DUE_DAYS = (1, 3)
_MONTHS_BACK_MAX = 30

_COLUMNS = (
    "business_key", "customer_id", "customer_name", "customer_phone", "customer_email", "billing_key", "order_name",
    "amount", "currency", "anchor_on", "start_on", "zone", "mode",
)  # fmt: skip


# Where the demo plays, and elsewhere in the minutes in which a run might outlast the day there.
_ZONE, _ZONE_AT_MIDNIGHT = "Asia/Seoul", "Europe/London"
_LAST_START = time(23, 40)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One line of the file, and the story that it is part of.

    due is when a subscription of schedule mode is due: 0 at the first due moment, 1 at the last.
    """

    business_key: str
    story: Story
    billing_key: str
    amount: int
    due: float
    cells: tuple[str, ...]

    @property
    def is_due(self) -> bool:
        """Whether its period has begun."""
        return self.story.end != NOT_DUE


@dataclass(frozen=True, slots=True)
class Sample:
    """The subscribers in the order of the file."""

    subscribers: tuple[Subscriber, ...]

    @property
    def due_keys(self) -> frozenset[str]:
        """The business keys of those whose period has begun."""
        return frozenset(one.business_key for one in self.subscribers if one.is_due)

    @property
    def due_shares(self) -> dict[str, float]:
        """When those of schedule mode are due, by their business keys: 0 at the first due moment, 1 at the last."""
        return {one.business_key: one.due for one in self.subscribers if one.story.mode == SCHEDULE}

    def keys_to(self, change: Change) -> list[str]:
        """The business keys of those whose price changes, or who are cancelled."""
        return [one.business_key for one in self.subscribers if one.story.change is change]

    def keys_beginning(self, billing_key: str) -> int:
        """How many billing keys begin so."""
        return sum(one.billing_key.startswith(billing_key) for one in self.subscribers)

    def csv_text(self) -> str:
        """The file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(one.cells for one in self.subscribers)
        return text.getvalue()

    def keys_of(self, story: Story) -> list[str]:
        """The business keys of the story's subscribers."""
        return [one.business_key for one in self.subscribers if one.story is story]


def where_it_is_day(now: datetime) -> tuple[str, date]:
    """The zone to play in and its date: what is due within the run must be due on the day on which it starts."""
    in_seoul = now.astimezone(ZoneInfo(_ZONE))
    zone = _ZONE if in_seoul.time() < _LAST_START else _ZONE_AT_MIDNIGHT
    return zone, now.astimezone(ZoneInfo(zone)).date()


def make_sample(count: int, today: date, zone: str = _ZONE) -> Sample:
    """That many subscribers, with the stories in their shares. today is the date in the zone."""
    chance = random.Random(SEED)  # noqa: S311 - the same people every time is what is wanted
    parts = list(_parts(count))
    chance.shuffle(parts)
    return Sample(
        tuple(_subscriber(n, (story, key), chance, today, zone) for n, (story, key) in enumerate(parts, start=1))
    )


def _parts(count: int) -> Iterator[tuple[Story, str]]:
    """Each story's beginnings of billing keys, as often as their share of the count; what is left over goes to the
    largest remainders."""
    shares = [(story, key, share * count) for story in STORIES for key, share in story.per_mille]
    whole = [share // 1000 for _, _, share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda n: shares[n][2] % 1000, reverse=True)
    for n in by_remainder[: count - sum(whole)]:
        whole[n] += 1
    for (story, key, _), times in zip(shares, whole, strict=True):
        for _ in range(times):
            yield story, key


def _subscriber(number: int, part: tuple[Story, str], chance: random.Random, today: date, zone: str) -> Subscriber:
    story, key = part
    name = chance.choice(_SURNAMES) + chance.choice(_GIVEN_NAMES)
    order_name, amount, _ = chance.choices(_PLANS, weights=[weight for _, _, weight in _PLANS])[0]
    if story.end == NOT_DUE:
        start_on = today + timedelta(days=chance.randint(*_NOT_DUE_DAYS))
    elif story.mode == SCHEDULE:
        start_on = today
    else:
        start_on = today - timedelta(days=chance.randint(*_DUE_DAYS))
    billing_key = f"{key}-{number:07d}"
    cells = (
        f"sub-{number:07d}",
        f"member-{number:07d}",
        name,
        f"010-0000-{number % 10_000:04d}",
        f"member{number}@example.com",
        billing_key,
        order_name,
        str(amount),
        "KRW",
        _anchor(start_on, chance.randint(1, _MONTHS_BACK_MAX)).isoformat(),
        start_on.isoformat(),
        zone,
        story.mode,
    )
    return Subscriber(cells[0], story, billing_key, amount, chance.uniform(*story.due), cells)


def _anchor(start_on: date, months_back: int) -> date:
    """The day on which the customer signed up, some months before a period that starts on a date."""
    for months in range(months_back, 0, -1):
        year, month = divmod(start_on.year * 12 + start_on.month - 1 - months, 12)
        try:
            return start_on.replace(year=year, month=month + 1)
        except ValueError:
            continue  # that month is too short to have the day
    return start_on
