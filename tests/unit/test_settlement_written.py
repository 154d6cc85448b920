"""What each verdict writes, to the last field: entries, events, statuses and moments."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from billing_worker.billing.charging import Revoked, Verdict, Voided
from billing_worker.billing.ledger import Entry
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import Declined, Paid, RefusalScope, Refused
from billing_worker.billing.settlement import Event, Settlement, settle
from billing_worker.billing.states import (
    AttemptStatus,
    CycleStatus,
    EntryKind,
    Source,
)
from tests.builders import A_PAYMENT_ID, NOON, a_policy, an_attempt, some_rules
from tests.sound_bookings import TIME, a_booking

RULES = some_rules()
POLICY = a_policy()
SOFT = Declined("51", "잔액부족", "tx-1")
HARD = Declined("41", "분실카드")
NO_CARD = Refused("BILLING_KEY_NOT_FOUND", "no such key", RefusalScope.CARD)
DELETED = Refused("BILLING_KEY_ALREADY_DELETED", "deleted", RefusalScope.CARD)
BAD_REQUEST = Refused("INVALID_REQUEST", "orderName", RefusalScope.CYCLE)
NO_CHANNEL = Refused("UNAUTHORIZED", "who?", RefusalScope.CHANNEL)
PAID = Paid("pg-1", NOON)
UNPAID = [SOFT, HARD, NO_CARD, DELETED, BAD_REQUEST, NO_CHANNEL, Voided()]

verdicts = st.sampled_from([PAID, Paid("pg-1", NOON, "tx-1", given_back=True), *UNPAID])
sources = st.sampled_from([Source.ANSWER, Source.LOOK])


NAMED = {
    "business_key": "sub-1",
    "cycle_number": 2,
    "payment_id": A_PAYMENT_ID,
    "attempt_number": 1,
    "amount_minor": 9900,
    "currency": "KRW",
}
RECHECK_AT = NOON + RULES.recheck_after[0]


def settled(attempt: Attempt, verdict: Verdict, source: Source = Source.ANSWER) -> Settlement:
    return settle(attempt, verdict, source, now=NOON, rules=RULES, policy=POLICY)


def test_everything_that_an_answer_that_says_paid_writes() -> None:
    attempt = an_attempt()

    assert settled(attempt, Paid("pg-1", NOON)) == Settlement(
        attempt=attempt,
        source=Source.ANSWER,
        attempt_status=AttemptStatus.PAID,
        cycle_from=frozenset({CycleStatus.COLLECTING, CycleStatus.HELD}),
        cycle_status=CycleStatus.PAID,
        entries=(Entry(EntryKind.PAID, Source.ANSWER, amount_minor=9900, pg_tx_id="pg-1"),),
        events=(Event("charge.succeeded", NAMED | {"paid_at": NOON.isoformat(), "pg_tx_id": "pg-1"}),),
        look_at=NOON + RULES.verify_after,
        pg_tx_id="pg-1",
        paid_at=NOON,
    )


def test_everything_that_a_late_payment_with_a_refund_writes() -> None:
    # given
    attempt = an_attempt(status=AttemptStatus.DECLINED, cycle_status=CycleStatus.GIVEN_UP)
    paid = Paid("pg-1", NOON, transaction_id="tx-1", given_back=True)

    # when, then
    assert settled(attempt, paid, Source.LOOK) == Settlement(
        attempt=attempt,
        source=Source.LOOK,
        attempt_status=AttemptStatus.PAID,
        cycle_from=frozenset({CycleStatus.DUE, CycleStatus.GIVEN_UP, CycleStatus.HELD, CycleStatus.SKIPPED}),
        cycle_status=CycleStatus.PAID,
        entries=(
            Entry(
                EntryKind.CORRECTED,
                Source.LOOK,
                code="declined",
                message="the attempt was recorded as declined and PortOne has been paid",
            ),
            Entry(EntryKind.PAID, Source.LOOK, amount_minor=9900, pg_tx_id="pg-1"),
        ),
        events=(Event("charge.succeeded", NAMED | {"paid_at": NOON.isoformat(), "pg_tx_id": "pg-1"}),),
        look_at=NOON,
        transaction_id="tx-1",
        pg_tx_id="pg-1",
        paid_at=NOON,
    )


def test_everything_that_a_payment_by_an_older_try_enters() -> None:
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-old"}))

    done = settled(attempt, Paid("pg-1", NOON, transaction_id="tx-old"), Source.LOOK)

    assert done.entries == (
        Entry(
            EntryKind.CORRECTED,
            Source.LOOK,
            code="older_try",
            message="an older try on this payment_id, recorded as unpaid, has been paid after all",
        ),
        Entry(EntryKind.PAID, Source.LOOK, amount_minor=9900, pg_tx_id="pg-1"),
    )


def test_everything_that_a_soft_decline_writes() -> None:
    attempt = an_attempt()
    retry_at = NOON + timedelta(days=1)
    told = {"code": "51", "message": "잔액부족", "retry_at": retry_at.isoformat()}

    assert settled(attempt, SOFT, Source.LOOK) == Settlement(
        attempt=attempt,
        source=Source.LOOK,
        attempt_status=AttemptStatus.DECLINED,
        cycle_from=frozenset({CycleStatus.COLLECTING}),
        cycle_status=CycleStatus.DUE,
        entries=(Entry(EntryKind.DECLINED, Source.LOOK, amount_minor=9900, code="51", message="잔액부족"),),
        events=(Event("charge.declined", NAMED | told),),
        claimable_at=retry_at,
        look_at=RECHECK_AT,
        transaction_id="tx-1",
        decline_code="51",
        decline_message="잔액부족",
        declines_added=1,
    )


def test_everything_that_a_deleted_billing_key_writes() -> None:
    attempt = an_attempt()
    told = {"code": "BILLING_KEY_ALREADY_DELETED", "message": "deleted", "retry_at": None}

    assert settled(attempt, DELETED) == Settlement(
        attempt=attempt,
        source=Source.ANSWER,
        attempt_status=AttemptStatus.REFUSED,
        cycle_from=frozenset({CycleStatus.COLLECTING}),
        cycle_status=CycleStatus.GIVEN_UP,
        entries=(
            Entry(
                EntryKind.REFUSED,
                Source.ANSWER,
                amount_minor=9900,
                code="BILLING_KEY_ALREADY_DELETED",
                message="deleted",
            ),
            Entry(EntryKind.GIVEN_UP, Source.RULE, amount_minor=9900, code="billing_key_deleted"),
        ),
        events=(
            Event("charge.declined", NAMED | told),
            Event("charge.given_up", NAMED | {"reason": "billing_key_deleted"}),
        ),
        look_at=RECHECK_AT,
        decline_code="BILLING_KEY_ALREADY_DELETED",
        decline_message="deleted",
        declines_added=1,
    )


def test_everything_that_a_refused_request_writes() -> None:
    attempt = an_attempt()

    assert settled(attempt, BAD_REQUEST) == Settlement(
        attempt=attempt,
        source=Source.ANSWER,
        attempt_status=AttemptStatus.REFUSED,
        cycle_from=frozenset({CycleStatus.COLLECTING}),
        cycle_status=CycleStatus.HELD,
        entries=(
            Entry(EntryKind.REFUSED, Source.ANSWER, amount_minor=9900, code="INVALID_REQUEST", message="orderName"),
            Entry(EntryKind.HELD, Source.RULE, code="INVALID_REQUEST"),
        ),
        events=(Event("charge.held", NAMED | {"reason": "INVALID_REQUEST"}),),
        held_reason="INVALID_REQUEST",
        look_at=RECHECK_AT,
        decline_code="INVALID_REQUEST",
        decline_message="orderName",
    )


def test_everything_that_a_voided_attempt_of_a_held_cycle_writes() -> None:
    attempt = an_attempt(cycle_status=CycleStatus.HELD)

    assert settled(attempt, Voided(), Source.LOOK) == Settlement(
        attempt=attempt,
        source=Source.LOOK,
        attempt_status=AttemptStatus.VOIDED,
        cycle_from=frozenset({CycleStatus.HELD}),
        cycle_status=CycleStatus.HELD,
        entries=(Entry(EntryKind.VOIDED, Source.LOOK, amount_minor=9900, code="not_found"),),
        events=(),
        held_reason="held while an attempt ended unpaid",
        look_at=RECHECK_AT,
        decline_code="not_found",
        decline_message="",
    )


def test_a_decline_of_a_held_cycle_is_told_and_its_hold_is_not_told_twice() -> None:
    done = settled(an_attempt(cycle_status=CycleStatus.HELD), SOFT)

    assert [event.event_type for event in done.events] == ["charge.declined"]


def test_an_attempt_of_a_cycle_that_is_not_under_way_can_end_from_nowhere() -> None:
    assert settled(an_attempt(cycle_status=CycleStatus.DUE), SOFT).cycle_from == frozenset()


def test_rules_without_rechecks_look_at_no_unpaid_attempt_again() -> None:
    rules = replace(RULES, recheck_after=())

    assert settle(an_attempt(), SOFT, Source.ANSWER, now=NOON, rules=rules, policy=POLICY).look_at is None


def test_retries_are_counted_from_the_first_decline_of_the_cycle() -> None:
    # given
    first = NOON - timedelta(days=1)
    attempt = an_attempt(attempt_number=2, declines_count=1, first_declined_at=first)

    # when
    done = settled(attempt, SOFT)

    # then
    assert done.claimable_at == first + timedelta(days=3)


def test_the_words_of_portone_are_cut_where_the_ledger_cuts_them() -> None:
    declined = settled(an_attempt(), Declined("c" * 101, "m" * 501))
    refused = settled(an_attempt(), Refused("E" * 101, "m" * 501, RefusalScope.CARD))

    assert (declined.decline_code, declined.decline_message) == ("c" * 100, "m" * 500)
    assert (refused.decline_code, refused.decline_message) == ("E" * 100, "m" * 500)


def test_a_verdict_says_nothing_of_what_it_does_not_change() -> None:
    paid, unpaid = settled(an_attempt(), PAID), settled(an_attempt(), NO_CARD)

    assert (paid.claimable_at, paid.held_reason, paid.transaction_id) == (None, None, None)
    assert (paid.decline_code, paid.decline_message, paid.declines_added) == (None, None, 0)
    assert (unpaid.transaction_id, unpaid.pg_tx_id, unpaid.paid_at, unpaid.held_reason) == (None, None, None, None)


def test_an_entry_says_nothing_that_it_was_not_given() -> None:
    bare = Entry(EntryKind.OPERATOR, Source.OPERATOR)

    assert (bare.amount_minor, bare.pg_tx_id) == (None, None)
    assert (bare.code, bare.message, bare.actor) == ("", "", "")


def test_everything_that_a_revoked_booking_writes() -> None:
    booking = a_booking(revoke_reason="price")

    assert settled(booking, Revoked(), Source.LOOK) == Settlement(
        attempt=booking,
        source=Source.LOOK,
        attempt_status=AttemptStatus.REVOKED,
        cycle_from=frozenset({CycleStatus.COLLECTING}),
        cycle_status=CycleStatus.DUE,
        entries=(Entry(EntryKind.REVOKED, Source.LOOK, amount_minor=9900, code="price"),),
        events=(),
        claimable_at=NOON,
        look_at=RECHECK_AT,
        decline_code="price",
        decline_message="",
    )


def test_everything_that_a_refused_booking_writes() -> None:
    booking = a_booking()

    assert settled(booking, NO_CARD) == Settlement(
        attempt=booking,
        source=Source.ANSWER,
        attempt_status=AttemptStatus.REFUSED,
        cycle_from=frozenset({CycleStatus.COLLECTING}),
        cycle_status=CycleStatus.DUE,
        entries=(
            Entry(
                EntryKind.REFUSED, Source.ANSWER, amount_minor=9900, code="BILLING_KEY_NOT_FOUND", message="no such key"
            ),
        ),
        events=(),
        claimable_at=TIME,
        look_at=RECHECK_AT,
        decline_code="BILLING_KEY_NOT_FOUND",
        decline_message="no such key",
    )


def test_everything_that_a_decline_on_a_skipped_cycle_writes() -> None:
    # given
    booking = a_booking(cycle_status=CycleStatus.SKIPPED, revoke_reason="skipped")
    told = {"code": "51", "message": "잔액부족", "retry_at": None}

    # when, then
    assert settled(booking, SOFT, Source.LOOK) == Settlement(
        attempt=booking,
        source=Source.LOOK,
        attempt_status=AttemptStatus.DECLINED,
        cycle_from=frozenset({CycleStatus.SKIPPED}),
        cycle_status=CycleStatus.SKIPPED,
        entries=(Entry(EntryKind.DECLINED, Source.LOOK, amount_minor=9900, code="51", message="잔액부족"),),
        events=(Event("charge.declined", NAMED | told),),
        look_at=RECHECK_AT,
        transaction_id="tx-1",
        decline_code="51",
        decline_message="잔액부족",
        declines_added=1,
    )


def test_a_booking_that_was_paid_before_it_was_taken_back_pays_its_skipped_cycle() -> None:
    # given
    skipped = a_booking(cycle_status=CycleStatus.SKIPPED, revoke_reason="skipped")

    # when
    done = settled(skipped, PAID, Source.LOOK)

    # then
    assert done.cycle_from == frozenset({CycleStatus.COLLECTING, CycleStatus.HELD, CycleStatus.SKIPPED})
    assert (done.attempt_status, done.cycle_status) == (AttemptStatus.PAID, CycleStatus.PAID)
    assert [entry.kind for entry in done.entries] == [EntryKind.PAID]


def test_nothing_is_settled_from_a_skipped_cycle_but_a_booking() -> None:
    assert settled(an_attempt(cycle_status=CycleStatus.SKIPPED), SOFT).cycle_from == frozenset()


def test_money_that_is_not_ours_holds_its_skipped_cycle_and_is_entered() -> None:
    # given
    booking = a_booking(cycle_status=CycleStatus.SKIPPED, revoke_reason="skipped")

    # when
    done = settled(booking, Voided("amount is 1, asked for 9900"), Source.LOOK)

    # then
    assert (done.attempt_status, done.cycle_status) == (AttemptStatus.VOIDED, CycleStatus.HELD)
    assert done.held_reason == "amount is 1, asked for 9900"
    assert [(entry.kind, entry.message) for entry in done.entries] == [
        (EntryKind.VOIDED, ""),
        (EntryKind.MISMATCH, "amount is 1, asked for 9900"),
    ]
    assert [event.event_type for event in done.events] == ["charge.held"]
