"""Taking over: what is taken over is what the subscription asks for, and the next look has nothing against it."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from billing_worker.billing import booking
from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.charging import Wait
from billing_worker.billing.csv_rows import Fault
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Absent, Look, Schedule, Unanswered
from billing_worker.billing.states import SubscriptionStatus
from billing_worker.billing.taking_over import (
    Candidate,
    NotTaken,
    Row,
    TakenBefore,
    TakeOver,
    judge,
    judge_known,
    read_rows,
)
from tests.builders import STORE_ID, a_cadence, a_payment, some_rules
from tests.sound_bookings import a_booking, a_schedule

THEIRS = "order-0001"
ROW = Row(2, "sub-1", THEIRS)
SEOUL = ZoneInfo("Asia/Seoul")
AT = datetime(2026, 3, 31, 0, 30, tzinfo=SEOUL)


def a_candidate(**changes: Any) -> Candidate:
    candidate = Candidate(
        shard=1,
        subscription_id=1,
        business_key="sub-1",
        status=SubscriptionStatus.ACTIVE,
        billing_key=BillingKey("bk-ok-1"),
        price=Money(9900, "KRW"),
        cadence=a_cadence(anchor_on=date(2026, 1, 31)),
        first_cycle_number=2,
        next_cycle_number=3,
    )
    return replace(candidate, **changes)


def theirs(status: str = "SCHEDULED", **changes: Any) -> Schedule:
    return a_schedule(status, **{"payment_id": THEIRS, "time_to_pay": AT} | changes)


def judged(*schedules: Schedule, payment: Look | None = None, **changes: Any) -> Any:
    found = Absent() if payment is None else payment
    return judge(ROW, a_candidate(**changes), schedules, found, store_id=STORE_ID)


def test_a_schedule_on_the_day_of_the_next_period_is_taken_over() -> None:
    taken = judged(theirs("REVOKED", schedule_id="older"), theirs())

    assert isinstance(taken, TakeOver)
    assert (taken.schedule_id, taken.period.start_on, taken.period.end_on) == (
        "schedule-1", date(2026, 3, 31), date(2026, 4, 30),
    )  # fmt: skip
    assert taken.next_due_at == datetime(2026, 4, 30, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (theirs(amount_minor=9901), "has a schedule of 9901, and the subscription costs 9900"),
        (theirs(currency="USD"), "has a schedule in USD, and the subscription is in KRW"),
        (theirs(store_id="another"), "has a schedule of another store"),
        (theirs(payment_id="another"), "is not that of the schedule"),
        (theirs(billing_key_matches=False), "has a schedule that does not show the subscription's billing key"),
        (theirs(billing_key_matches=None), "has a schedule that does not show the subscription's billing key"),
        (theirs("STARTED"), "has a schedule that does not wait to be charged: it is STARTED"),
        (theirs("NEW_STATUS"), "has a schedule that does not wait to be charged: it is NEW_STATUS"),
        (
            theirs(time_to_pay=AT - timedelta(minutes=31)),
            "has a schedule of 2026-03-30, and the next period begins on 2026-03-31",
        ),
        (
            theirs(time_to_pay=datetime(2026, 2, 28, 1, tzinfo=UTC)),
            "has a schedule of 2026-02-28, and the period of that day has been opened here under another payment id",
        ),
        (
            theirs(time_to_pay=datetime(2026, 1, 31, 1, tzinfo=UTC)),
            "has a schedule of 2026-01-31, and the next period begins on 2026-03-31",
        ),
    ],
)
def test_whatever_differs_is_refused_with_a_reason_and_a_remedy(schedule: Schedule, reason: str) -> None:
    refused = judged(schedule)

    assert isinstance(refused, NotTaken)
    assert refused.reason == reason
    assert refused.remedy


def test_of_none_and_of_several_nothing_is_taken_over() -> None:
    assert isinstance(judged(), NotTaken)
    assert isinstance(judged(theirs(), theirs(schedule_id="schedule-2")), NotTaken)


@pytest.mark.parametrize("status", ["PAID", "READY", "CANCELLED", "PAY_PENDING", "NEW_STATUS"])
def test_a_payment_that_may_be_money_keeps_its_schedule_from_being_taken_over(status: str) -> None:
    assert isinstance(judged(theirs(), payment=a_payment(status)), NotTaken)


def test_an_older_decline_is_no_hindrance_and_silence_is_no_answer() -> None:
    assert isinstance(judged(theirs(), payment=a_payment("FAILED")), TakeOver)
    assert judged(theirs(), payment=Unanswered("no answer")) == Unanswered("no answer")


def test_a_subscription_that_has_no_next_period_takes_none() -> None:
    cadence = a_cadence(anchor_on=date(9999, 10, 31))

    assert isinstance(judge_known(ROW, a_candidate(cadence=cadence), None), NotTaken)


@pytest.mark.parametrize(
    ("candidate", "owner", "wanted"),
    [
        (a_candidate(), None, type(None)),
        (a_candidate(), "sub-1", TakenBefore),
        (a_candidate(status=SubscriptionStatus.CANCELLED), "sub-1", TakenBefore),
        (a_candidate(), "sub-2", NotTaken),
        (a_candidate(status=SubscriptionStatus.HELD), None, NotTaken),
        (a_candidate(status=SubscriptionStatus.CANCELLED), None, NotTaken),
        (None, None, NotTaken),
    ],
)
def test_our_own_books_are_asked_first(candidate: Candidate | None, owner: str | None, wanted: type) -> None:
    assert isinstance(judge_known(ROW, candidate, owner), wanted)


schedules = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["STARTED", "SUCCEEDED", "FAILED", "REVOKED", "PENDING", "X"]),
        "amount_minor": st.sampled_from([9900, 4900]),
        "currency": st.sampled_from(["KRW", "USD"]),
        "store_id": st.sampled_from([STORE_ID, "another"]),
        "billing_key_matches": st.sampled_from([True, False, None]),
        "time_to_pay": st.sampled_from([AT + timedelta(hours=hours) for hours in (-24, -1, 0, 23, 24)]),
    },
).map(lambda changes: theirs(**changes))


@given(schedule=schedules, minutes=st.integers(0, 60))
def test_the_next_look_has_nothing_against_what_was_taken_over(schedule: Schedule, minutes: int) -> None:
    # given
    taken = judged(schedule)
    assume(isinstance(taken, TakeOver))

    # when
    now = AT - timedelta(days=2) + timedelta(minutes=minutes)
    attempt = a_booking(
        payment_id=taken.payment_id, schedule_id=taken.schedule_id, time_to_pay=taken.time_to_pay, opened_at=now
    )
    weighed = booking.weigh_booking(attempt, schedule, Absent(), asked_at=now, now=now, rules=some_rules())

    # then
    assert isinstance(weighed, Wait), weighed
    assert schedule.time_to_pay.astimezone(SEOUL).date() == taken.period.start_on


@given(offset=st.integers(0, 72), absent=st.booleans())
def test_one_that_portone_loses_is_never_sent_again(offset: int, absent: bool) -> None:
    now = AT - timedelta(days=1) + timedelta(hours=offset)
    attempt = a_booking(payment_id=THEIRS, schedule_id="schedule-1", time_to_pay=AT, opened_at=AT - timedelta(days=1))
    schedule = Absent() if absent else theirs("FAILED")

    weighed = booking.weigh_booking(attempt, schedule, Absent(), asked_at=now, now=now, rules=some_rules())

    assert not isinstance(weighed, booking.Resend)


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_sound_file_is_read_whole() -> None:
    text = "payment_id,business_key\n-hyphen-first,sub-1\nabc123,sub-2\n"

    assert read_rows(text) == (Row(2, "sub-1", "-hyphen-first"), Row(3, "sub-2", "abc123"))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("sub-1,short\n", [(2, "payment_id")]),
        ("sub-1," + "a" * 65 + "\n", [(2, "payment_id")]),
        ("sub-1,with space\n", [(2, "payment_id")]),
        ("sub-1,rb1" + "a" * 27 + "\n", [(2, "payment_id")]),
        ("sub-1,billing-key-0192\n", [(2, "payment_id")]),
        (",abc123\n", [(2, "business_key")]),
        ("=sub,abc123\n", [(2, "business_key")]),
        ("s" * 121 + ",abc123\n", [(2, "business_key")]),
        ("sub-1,abc123\nsub-1,abc124\nsub-2,abc123\n", [(3, "business_key"), (4, "payment_id")]),
        ("sub-1\n", [(2, "")]),
        ("", [(1, "")]),
    ],
)
def test_a_fault_names_its_place(rows: str, found: list[tuple[int, str]]) -> None:
    faults = read_rows(f"business_key,payment_id\n{rows}")

    assert [(each.line, each.column) for each in faults if isinstance(each, Fault)] == found
    assert len(faults) == len(found)


@given(text=st.text(max_size=200))
def test_no_file_is_too_odd_to_be_read(text: str) -> None:
    assert isinstance(read_rows(text), tuple)


@given(cell=st.from_regex(r"[A-Za-z0-9 =_-]{7,40}", fullmatch=True))
def test_no_fault_quotes_a_cell(cell: str) -> None:
    found = read_rows(f"business_key,payment_id\n{cell},{cell} \n{cell},{cell} \n")

    assert all(isinstance(each, Fault) and cell not in each.reason for each in found)


def test_a_time_of_the_day_is_the_merchants_to_choose() -> None:
    late = theirs(time_to_pay=datetime.combine(AT.date(), time(23, 59), tzinfo=SEOUL))

    assert isinstance(judged(late), TakeOver)
