"""The oracle itself: each kind of fault, put into sound books by hand, is named, and nothing else is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.crash.books import Attempt, Books, Bounds, Charge, Cycle, Post, Schedule
from tests.crash.oracle import faults, known_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

CHARGE = Charge("p1", 9900, "KRW", "pg1")
FIRST = Attempt("p1", 1, "p1-g0001", "aa", NOON, NOON + 2 * SECOND)
SECOND_TRY = Attempt("p1", 2, "p1-g0002", "aa", NOON + 3 * SECOND, NOON + 5 * SECOND)
POSTS = (Post("p1", "p1-g0001", "aa", NOON + SECOND), Post("p1", "p1-g0002", "aa", NOON + 4 * SECOND))
CYCLE = Cycle("s1", 1, date(2026, 3, 1), date(2026, 3, 2), "paid")

SOUND = Books(
    charges=(CHARGE,),
    posts=POSTS,
    posts_without_key=0,
    overlaps=(),
    violations=(),
    paid=(CHARGE,),
    cycles=(CYCLE,),
    attempts=(FIRST, SECOND_TRY),
    subscriptions_overdue=(),
    events=Counter({"p1": 1}),
    chain_faults=(),
    paid_at={"p1": NOON + 5 * SECOND},
    bounds=Bounds(send_window=10 * SECOND, resend_until=100 * SECOND),
)
# A third send of the last key, allowed by the note that it had, long before the cycle was known to be paid.
RESENT = replace(
    SOUND,
    attempts=(FIRST, replace(SECOND_TRY, settled_at=NOON + 60 * SECOND, resent_at=(NOON + 49 * SECOND,))),
    posts=(*POSTS, replace(POSTS[1], arrived_at=NOON + 50 * SECOND)),
    paid_at={"p1": NOON + 60 * SECOND},
)

# Booked first and declined by PortOne at its time; then charged.
SCHEDULE = Schedule("schedule-1", "p1", "FAILED", NOON + SECOND, NOON + 1.5 * SECOND, NOON + 1.8 * SECOND)
BOOKED = replace(
    SOUND,
    schedules=(SCHEDULE,),
    posts=(replace(POSTS[0], books=True), POSTS[1]),
    attempts=(replace(FIRST, is_booking=True, status="declined"), replace(SECOND_TRY, status="paid")),
)


def _booked(**changes: object) -> Books:
    return replace(BOOKED, schedules=(replace(SCHEDULE, **changes),))  # type: ignore[arg-type]


SPOILT_BOOKINGS: dict[str, tuple[set[str], Books]] = {
    "charged while the booking waits": (
        {"charged beside a booking", "ended while booked"},
        _booked(ended_at=NOON + 4.5 * SECOND),
    ),
    "settled while it may fire": ({"ended while booked"}, _booked(ended_at=NOON + 3 * SECOND)),
    "never ended": (
        {"charged beside a booking", "ended while booked", "left to fire"},
        _booked(status="SCHEDULED", fired_at=None, ended_at=None),
    ),
    "fired after it was taken back": (
        {"fired unknown"},
        replace(BOOKED, attempts=(replace(BOOKED.attempts[0], status="revoked"), BOOKED.attempts[1])),
    ),
    "fired for nobody": (
        {"fired unknown"},
        replace(BOOKED, attempts=(replace(BOOKED.attempts[0], is_booking=False), BOOKED.attempts[1])),
    ),
}

SPOILT: dict[str, tuple[str, Callable[[Books], Books]]] = {
    "charged twice": (
        "paid twice",
        lambda books: replace(books, charges=(CHARGE, CHARGE)),
    ),
    "no entry": ("lost", lambda books: replace(books, paid=())),
    "no charge": ("phantom", lambda books: replace(books, charges=())),
    "due for ever": ("missed", lambda books: replace(books, cycles=(replace(CYCLE, status="due"),))),
    "open for ever": ("missed", lambda books: replace(books, cycles=(replace(CYCLE, status="collecting"),))),
    "a period left out": (
        "missed",
        lambda books: replace(books, cycles=(CYCLE, replace(CYCLE, number=2, period_start_on=date(2026, 3, 3)))),
    ),
    "the first period left out": ("missed", lambda books: replace(books, cycles=(replace(CYCLE, number=2),))),
    "never renewed": ("missed", lambda books: replace(books, subscriptions_overdue=("s1",))),
    "two at once": ("overlaps", lambda books: replace(books, overlaps=({"paymentId": "p1"},))),
    "a rule broken": ("violations", lambda books: replace(books, violations=({"kind": "key_body_mismatch"},))),
    "other bytes": (
        "other bytes under one key",
        lambda books: replace(books, posts=(POSTS[0], replace(POSTS[1], body_sha256="bb"))),
    ),
    "no attempt": (
        "sent without intent",
        lambda books: replace(books, posts=(*POSTS, replace(POSTS[1], key="p1-g0003"))),
    ),
    "sent before its intent": (
        "sent without intent",
        lambda books: replace(books, posts=(replace(POSTS[0], arrived_at=NOON - SECOND), POSTS[1])),
    ),
    "sent after its window": (
        "sent too late",
        lambda books: replace(
            books, posts=(replace(POSTS[0], arrived_at=NOON + 14 * SECOND),), attempts=(FIRST,), paid_at={}
        ),
    ),
    "resent after the last note's window": (
        "sent too late",
        lambda _: replace(RESENT, posts=(*POSTS, replace(POSTS[1], arrived_at=NOON + 63 * SECOND)), paid_at={}),
    ),
    "resent without a note": (
        "sent too late",
        lambda _: replace(RESENT, attempts=(FIRST, replace(SECOND_TRY, settled_at=NOON + 60 * SECOND))),
    ),
    "resent when the key may be forgotten": (
        "sent too late",
        lambda _: replace(RESENT, bounds=Bounds(send_window=10 * SECOND, resend_until=20 * SECOND)),
    ),
    "sent for a paid cycle": (
        "sent when paid",
        lambda books: replace(books, paid_at={"p1": NOON + 3 * SECOND}),
    ),
    "other bytes under a key whose row is lost": (
        "other bytes under one key",
        lambda books: replace(
            books,
            posts=(replace(POSTS[0], body_sha256="bb", key="p1-g0000"), replace(POSTS[0], key="p1-g0000"), *POSTS),
            keys_lost=frozenset({"p1-g0000"}),
            history_lost_at=NOON + 2 * SECOND,
        ),
    ),
    "no attempt, and its history is there": (
        "sent without intent",
        lambda books: replace(
            books,
            posts=(*POSTS, replace(POSTS[1], key="p1-g0003")),
            keys_lost=frozenset({"p1-g0003"}),
            history_lost_at=NOON + 2 * SECOND,
        ),
    ),
    "no key": ("sent without intent", lambda books: replace(books, posts_without_key=1)),
    "the next one opened too early": (
        "next key before proof",
        lambda books: replace(books, attempts=(replace(FIRST, settled_at=NOON + 4 * SECOND), SECOND_TRY)),
    ),
    "the older one sent again": (
        "next key before proof",
        lambda books: replace(books, posts=(*POSTS, replace(POSTS[0], arrived_at=NOON + 5 * SECOND))),
    ),
    "told twice": ("told otherwise", lambda books: replace(books, events=Counter({"p1": 2}))),
    "a broken chain": ("chain", lambda books: replace(books, chain_faults=("subscription 1",))),
}


def test_sound_books_have_no_fault() -> None:
    assert faults(SOUND) == {}


@pytest.mark.parametrize("name", SPOILT)
def test_a_fault_is_named(name: str) -> None:
    fault, spoil = SPOILT[name]

    assert list(faults(spoil(SOUND))) == [fault]


def test_a_booking_that_was_declined_and_then_charged_is_no_fault() -> None:
    assert faults(BOOKED) == {}


@pytest.mark.parametrize("name", SPOILT_BOOKINGS)
def test_a_fault_of_a_booking_is_named_unless_its_row_was_lost(name: str) -> None:
    names, spoilt = SPOILT_BOOKINGS[name]

    lost = replace(spoilt, keys_lost=frozenset({FIRST.key}), history_lost_at=NOON)

    assert set(faults(spoilt)) == names
    assert set(faults(lost)) <= {"left to fire"}


def test_an_overlap_is_excused_only_beside_a_booking_whose_row_was_lost() -> None:
    overlap = ({"paymentId": "p1"},)

    assert set(faults(replace(BOOKED, overlaps=overlap))) == {"overlaps"}
    assert faults(replace(BOOKED, overlaps=overlap, keys_lost=frozenset({FIRST.key}), history_lost_at=NOON)) == {}
    assert set(faults(replace(SOUND, overlaps=overlap, keys_lost=frozenset({FIRST.key})))) == {"overlaps"}


def test_a_noted_resend_is_no_fault() -> None:
    assert faults(RESENT) == {}


# What needs a row, an allowance, an unpaid cycle or a proof, whoever else's rows are lost.
@pytest.mark.parametrize(
    "name",
    [
        "no attempt",
        "sent before its intent",
        "sent after its window",
        "resent after the last note's window",
        "resent without a note",
        "sent for a paid cycle",
        "the older one sent again",
    ],
)
def test_the_loss_of_one_key_excuses_no_other(name: str) -> None:
    fault, spoil = SPOILT[name]
    spoilt = replace(spoil(SOUND), history_lost_at=NOON + 1000 * SECOND)

    of_another = faults(replace(spoilt, keys_lost=frozenset({"p2-g0001"})))
    of_its_own = faults(replace(spoilt, keys_lost=frozenset(post.key for post in spoilt.posts)))

    assert list(of_another) == [fault]
    assert of_its_own == {}


def test_what_was_sent_on_a_lost_history_needs_no_row() -> None:
    books = replace(
        SOUND,
        attempts=(replace(FIRST, opened_at=NOON + 3 * SECOND, settled_at=NOON + 4 * SECOND),),
        posts=(*POSTS, replace(POSTS[0], arrived_at=NOON + 3 * SECOND)),
        keys_lost=frozenset({FIRST.key}),
        history_lost_at=NOON + 2.5 * SECOND,
    )

    found = faults(replace(books, posts=(POSTS[0], books.posts[-1])))

    assert found == {}


def test_money_of_a_lost_history_that_is_not_found_again_is_lost() -> None:
    assert set(
        faults(
            replace(SOUND, paid=(), keys_lost=frozenset({FIRST.key, SECOND_TRY.key}), history_lost_at=NOON + 9 * SECOND)
        )
    ) == {"lost"}


def test_another_amount_is_money_lost_and_money_invented() -> None:
    books = replace(SOUND, paid=(replace(CHARGE, amount_minor=990_000),))

    assert set(faults(books)) == {"lost", "phantom"}


def test_of_a_fault_everything_is_told_that_is_known_of_its_payment() -> None:
    other = Post("p2", "p2-g0001", "aa", NOON)
    late = replace(POSTS[0], arrived_at=NOON + 14 * SECOND)
    books = replace(
        SOUND,
        posts=(late, POSTS[1], other),
        keys_lost=frozenset({"p1-g0002", "p2-g0001"}),
        history_lost_at=NOON + 9 * SECOND,
    )

    known = known_of(books, faults(books)["sent too late"][0])

    assert known == [
        *map(str, (FIRST, SECOND_TRY, POSTS[1], late)),
        f"p1 paid at {NOON + 5 * SECOND}",
        f"history lost until {NOON + 9 * SECOND}, of these keys: p1-g0002",
    ]
