"""The audit: cycles, attempts and entries that tell one story have no fault, and each that does not is named."""

from dataclasses import replace
from typing import Any

import pytest

from billing_worker.billing.audit import AttemptFacts, CycleFacts, disagreements
from billing_worker.billing.ledger import StoredEntry
from tests.builders import NOON

CYCLE = CycleFacts(
    cycle_id=11, subscription_id=1, payment_id="rb1abc", amount_minor=9900, currency="KRW", status="paid"
)
ATTEMPT = AttemptFacts(
    attempt_id=21,
    cycle_id=11,
    subscription_id=1,
    payment_id="rb1abc",
    amount_minor=9900,
    currency="KRW",
    status="paid",
    pg_tx_id="pg-1",
)
UNPAID_CYCLE = replace(CYCLE, status="due")


def an_entry(sequence: int, kind: str, **changes: Any) -> StoredEntry:
    """An entry about the attempt, that says all of it."""
    entry = StoredEntry(
        subscription_id=1,
        sequence=sequence,
        kind=kind,
        cycle_id=11,
        attempt_id=21,
        payment_id="rb1abc",
        amount_minor=9900,
        currency="KRW",
        pg_tx_id="pg-1" if kind == "paid" else None,
        code="",
        message="",
        source="answer",
        actor="worker-1",
        written_by="billing_login",
        recorded_at=NOON,
        previous_hash=b"",
        entry_hash=b"",
    )
    return replace(entry, **changes)


INTENT, PAID = an_entry(1, "intent"), an_entry(2, "paid")


def faults(
    *entries: StoredEntry,
    cycle: CycleFacts = CYCLE,
    attempt: AttemptFacts = ATTEMPT,
    more: tuple[AttemptFacts, ...] = (),
) -> list[str]:
    return list(disagreements([cycle], [attempt, *more], entries))


def test_a_payment_and_its_entries_tell_one_story() -> None:
    assert faults(INTENT, PAID) == []
    assert list(disagreements([], [], [])) == []


@pytest.mark.parametrize("status", ["declined", "refused", "voided", "revoked"])
def test_an_attempt_that_ended_unpaid_and_its_entry_tell_one_story(status: str) -> None:
    attempt = replace(ATTEMPT, status=status, pg_tx_id=None)

    assert faults(INTENT, an_entry(2, status), cycle=UNPAID_CYCLE, attempt=attempt) == []


def test_an_open_attempt_has_its_intent_and_no_outcome() -> None:
    attempt = replace(ATTEMPT, status="open", pg_tx_id=None)
    collecting = replace(CYCLE, status="collecting")

    assert faults(INTENT, cycle=collecting, attempt=attempt) == []
    assert faults(INTENT, an_entry(2, "declined"), cycle=collecting, attempt=attempt) == [
        "payment rb1abc, attempt 21: is open, and its entries say declined"
    ]


@pytest.mark.parametrize("earlier", ["declined", "refused", "voided", "revoked"])
def test_a_late_payment_is_one_story_only_with_its_correction(earlier: str) -> None:
    late, corrected = an_entry(4, "paid"), an_entry(3, "corrected", amount_minor=None)

    assert faults(INTENT, an_entry(2, earlier), corrected, late) == []
    assert faults(INTENT, an_entry(2, earlier), late) == [
        f"payment rb1abc, attempt 21: is paid, and its entries say {earlier}, paid"
    ]


def test_a_correction_excuses_no_story_of_an_unpaid_attempt() -> None:
    attempt = replace(ATTEMPT, status="declined", pg_tx_id=None)
    told = (an_entry(2, "refused"), an_entry(3, "corrected"), an_entry(4, "declined"))

    assert faults(INTENT, *told, cycle=UNPAID_CYCLE, attempt=attempt) == [
        "payment rb1abc, attempt 21: is declined, and its entries say refused, declined"
    ]


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ((PAID,), ["payment rb1abc, attempt 21: has 0 intent entries"]),
        ((INTENT, an_entry(3, "intent"), PAID), ["payment rb1abc, attempt 21: has 2 intent entries"]),
        (
            (INTENT,),
            [
                "payment rb1abc: the cycle is paid, its paid entry is not there",
                "payment rb1abc, attempt 21: is paid, and its entries say nothing",
            ],
        ),
        (
            (INTENT, PAID, an_entry(3, "paid")),
            [
                "payment rb1abc: the cycle is paid, its paid entry is 2, 3",
                "payment rb1abc, attempt 21: is paid, and its entries say paid, paid",
            ],
        ),
    ],
)
def test_entries_that_are_missing_or_too_many_are_counted(entries: tuple[StoredEntry, ...], found: list[str]) -> None:
    assert faults(*entries) == found


def test_a_cycle_is_paid_exactly_when_an_attempt_on_it_is() -> None:
    paid_cycle = faults(INTENT, an_entry(2, "declined"), attempt=replace(ATTEMPT, status="declined", pg_tx_id=None))
    paid_attempt = faults(INTENT, PAID, cycle=UNPAID_CYCLE)

    assert paid_cycle == [
        "payment rb1abc: the cycle is paid, its paid entry is not there",
        "payment rb1abc: the cycle is paid, and no attempt on it is paid",
    ]
    assert paid_attempt == [
        "payment rb1abc: the cycle is due, its paid entry is 2",
        "payment rb1abc: the cycle is due, and an attempt on it is paid",
    ]


def test_a_payment_of_one_attempt_speaks_for_no_other_cycle() -> None:
    other_cycle = replace(CYCLE, cycle_id=12, payment_id="rb1other")

    found = list(disagreements([CYCLE, other_cycle], [ATTEMPT], [INTENT, PAID]))

    assert found == [
        "payment rb1other: the cycle is paid, its paid entry is not there",
        "payment rb1other: the cycle is paid, and no attempt on it is paid",
    ]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"pg_tx_id": "pg-2"}, ["its PG transaction is not the attempt's"]),
        ({"payment_id": "rb1xyz"}, ["its payment id is not the cycle's", "its payment id is not the attempt's"]),
        ({"payment_id": None}, ["its payment id is not the cycle's", "its payment id is not the attempt's"]),
        ({"currency": "USD"}, ["its currency is not the cycle's", "its currency is not the attempt's"]),
        ({"currency": None}, ["its currency is not the cycle's", "its currency is not the attempt's"]),
        ({"amount_minor": 9901}, ["its amount is not the cycle's", "its amount is not the attempt's"]),
    ],
)
def test_a_paid_entry_says_all_of_the_cycle_and_of_the_attempt(changes: dict[str, object], found: list[str]) -> None:
    assert faults(INTENT, an_entry(2, "paid", **changes)) == [
        f"subscription 1, entry 2 (paid): {fault}" for fault in found
    ]


def test_an_entry_that_names_nothing_of_ours_is_named() -> None:
    def found(**changes: object) -> list[str]:
        sound = (INTENT, PAID)
        return [fault for fault in faults(*sound, an_entry(9, "mismatch", **changes)) if "entry 9" in fault]

    about = "subscription 1, entry 9 (mismatch): "
    assert found(cycle_id=99) == [f"{about}its cycle is not one of the subscription's"]
    assert found(attempt_id=99) == [f"{about}its attempt is not one of the cycle's"]
    assert found(cycle_id=None, attempt_id=None) == []
    assert found(attempt_id=None) == []
    assert found() == []


def test_an_entry_of_another_subscription_is_not_about_this_cycle() -> None:
    foreign = an_entry(9, "mismatch", subscription_id=2)

    assert faults(INTENT, PAID, foreign) == [
        "subscription 2, entry 9 (mismatch): its cycle is not one of the subscription's"
    ]


def test_an_attempt_of_another_cycle_is_not_this_cycle_s() -> None:
    other_cycle = replace(UNPAID_CYCLE, cycle_id=12, payment_id="rb1other")
    other = replace(ATTEMPT, attempt_id=22, cycle_id=12, payment_id="rb1other", status="open", pg_tx_id=None)
    entries = (
        INTENT,
        PAID,
        an_entry(3, "intent", cycle_id=12, attempt_id=22, payment_id="rb1other"),
        an_entry(4, "mismatch", attempt_id=22),
    )

    found = list(disagreements([CYCLE, other_cycle], [ATTEMPT, other], entries))

    assert found == ["subscription 1, entry 4 (mismatch): its attempt is not one of the cycle's"]


@pytest.mark.parametrize(
    "kind", ["intent", "paid", "declined", "refused", "voided", "scheduled", "revoked", "refunded"]
)
@pytest.mark.parametrize("changes", [{"cycle_id": None}, {"attempt_id": None}])
def test_an_entry_about_an_attempt_names_it_and_its_cycle(kind: str, changes: dict[str, object]) -> None:
    found = faults(INTENT, PAID, an_entry(9, kind, **changes))

    assert f"subscription 1, entry 9 ({kind}): names no attempt on a cycle" in found


def test_an_entry_about_something_else_need_not_say_what_was_paid() -> None:
    bare = an_entry(3, "operator", payment_id=None, currency=None, amount_minor=None, attempt_id=None)
    wrong = an_entry(4, "operator", payment_id="rb1xyz", currency="USD", amount_minor=1, attempt_id=None)

    assert faults(INTENT, PAID, bare) == []
    assert faults(INTENT, PAID, wrong) == [
        "subscription 1, entry 4 (operator): its payment id is not the cycle's",
        "subscription 1, entry 4 (operator): its currency is not the cycle's",
    ]


def test_a_person_s_voiding_names_no_amount() -> None:
    attempt = replace(ATTEMPT, status="voided", pg_tx_id=None)
    voided = an_entry(2, "voided", amount_minor=None)

    assert faults(INTENT, voided, cycle=UNPAID_CYCLE, attempt=attempt) == []


def test_no_more_is_given_back_than_was_paid() -> None:
    whole, rest = an_entry(3, "refunded"), an_entry(4, "refunded", amount_minor=1)

    assert faults(INTENT, PAID, whole) == []
    assert faults(INTENT, PAID, an_entry(3, "refunded", amount_minor=None)) == []
    assert faults(INTENT, PAID, whole, rest) == ["payment rb1abc: 9901 is refunded of 9900 that were paid"]
    assert "payment rb1abc: 1 is refunded of 0 that were paid" in faults(INTENT, rest)


def test_a_paid_entry_without_an_amount_was_no_payment_of_anything() -> None:
    found = faults(INTENT, an_entry(2, "paid", amount_minor=None), an_entry(3, "refunded", amount_minor=1))

    assert "payment rb1abc: 1 is refunded of 0 that were paid" in found


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"subscription_id": 2}, "its subscription or payment id is not the cycle's"),
        ({"payment_id": "rb1xyz"}, "its subscription or payment id is not the cycle's"),
        ({"amount_minor": 1}, "its amount or currency is not the cycle's"),
        ({"currency": "USD"}, "its amount or currency is not the cycle's"),
    ],
)
def test_an_attempt_asks_for_what_its_cycle_is_owed(changes: dict[str, Any], fault: str) -> None:
    attempt = replace(ATTEMPT, **changes)

    assert f"payment {attempt.payment_id}, attempt 21: {fault}" in faults(INTENT, PAID, attempt=attempt)


def test_a_payment_by_an_older_try_is_corrected_without_an_outcome_before_it() -> None:
    corrected = an_entry(2, "corrected", amount_minor=None, code="older_try")

    assert faults(INTENT, corrected, an_entry(3, "paid")) == []


def test_a_correction_excuses_no_second_payment() -> None:
    assert faults(INTENT, PAID, an_entry(3, "corrected"), an_entry(4, "paid")) == [
        "payment rb1abc: the cycle is paid, its paid entry is 2, 4",
        "payment rb1abc, attempt 21: is paid, and its entries say paid, paid",
    ]


def test_a_refund_without_an_amount_gives_nothing_back() -> None:
    assert faults(INTENT, PAID, an_entry(3, "refunded"), an_entry(4, "refunded", amount_minor=None)) == []


# --- bookings -------------------------------------------------------------------------------------------------------

BOOKING = replace(ATTEMPT, status="revoked", pg_tx_id=None, booking=True)
BOOKED_STORY = (INTENT, an_entry(2, "scheduled"), an_entry(3, "revoked"))
DEARER = replace(UNPAID_CYCLE, amount_minor=12_900)


@pytest.mark.parametrize("status", ["revoked", "refused", "voided", "declined"])
def test_a_booking_that_came_to_nothing_may_have_been_of_another_price(status: str) -> None:
    ended = replace(BOOKING, status=status)

    assert faults(INTENT, an_entry(2, "scheduled"), an_entry(3, status), cycle=DEARER, attempt=ended) == []


def test_a_charge_that_came_to_nothing_may_not() -> None:
    attempt = replace(ATTEMPT, status="declined", pg_tx_id=None)

    found = faults(INTENT, an_entry(2, "declined"), cycle=DEARER, attempt=attempt)

    assert "subscription 1, entry 2 (declined): its amount is not the cycle's" in found
    assert "payment rb1abc, attempt 21: its amount or currency is not the cycle's" in found


def test_a_booking_that_is_open_or_paid_is_of_its_cycle_s_price() -> None:
    open_found = faults(INTENT, cycle=replace(DEARER, status="collecting"), attempt=replace(BOOKING, status="open"))
    paid_found = faults(INTENT, PAID, cycle=replace(CYCLE, amount_minor=1), attempt=replace(ATTEMPT, booking=True))

    assert "payment rb1abc, attempt 21: its amount or currency is not the cycle's" in open_found
    assert "payment rb1abc, attempt 21: its amount or currency is not the cycle's" in paid_found


def test_a_booking_is_still_in_its_cycle_s_currency_and_its_entries_of_its_own_amount() -> None:
    in_dollars = faults(*BOOKED_STORY, cycle=replace(DEARER, currency="USD"), attempt=BOOKING)
    of_another = faults(INTENT, an_entry(2, "scheduled", amount_minor=1), an_entry(3, "revoked"), attempt=BOOKING)

    assert "payment rb1abc, attempt 21: its amount or currency is not the cycle's" in in_dollars
    assert "subscription 1, entry 2 (scheduled): its amount is not the attempt's" in of_another


@pytest.mark.parametrize(
    ("booking", "times", "found"),
    [
        (True, 0, []),
        (True, 1, []),
        (True, 2, ["payment rb1abc, attempt 21: is a booking, and has 2 scheduled entries"]),
        (False, 1, ["payment rb1abc, attempt 21: is no booking, and has 1 scheduled entries"]),
    ],
)
def test_what_is_no_booking_is_not_scheduled_and_a_booking_once(booking: bool, times: int, found: list[str]) -> None:
    scheduled = (an_entry(number, "scheduled") for number in range(2, 2 + times))

    assert faults(INTENT, *scheduled, an_entry(9, "paid"), attempt=replace(ATTEMPT, booking=booking)) == found
