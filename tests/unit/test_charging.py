"""Charging decisions: what answers and looks prove. Silence proves nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from billing_worker.billing.charging import (
    Contradiction,
    Resend,
    Voided,
    Wait,
    Weighed,
    differences,
    is_of_attempt,
    needs_transactions,
    newest_of_attempt,
    next_look,
    verdict_of_answer,
    weigh,
    worth_a_look,
)
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    PAYMENT_PENDING,
    Absent,
    Declined,
    Look,
    NoVerdict,
    Outcome,
    Paid,
    RefusalScope,
    Refused,
    Unanswered,
)
from billing_worker.billing.states import AttemptStatus, CycleStatus
from tests.builders import NOON, a_payment, an_attempt, some_rules

RULES = some_rules()
PAID = Paid("pg-1", NOON)
DECLINED = Declined("51", "잔액부족")
REFUSED = Refused("INVALID_REQUEST", "no", RefusalScope.CYCLE)
SILENCE = NoVerdict("no answer")
SECOND = timedelta(seconds=1)


def weighed(
    attempt: Attempt,
    look: Look,
    *,
    answer: Outcome | None = None,
    after: timedelta = SECOND,
    slept: timedelta = timedelta(),
) -> Weighed:
    now = NOON + after
    return weigh(attempt, answer, look, asked_at=now - slept, now=now, rules=RULES)


# --- what an answer proves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only_send", [True, False])
def test_a_payment_is_believed_at_once(only_send: bool) -> None:
    assert verdict_of_answer(PAID, only_send=only_send) == PAID


@pytest.mark.parametrize("only_send", [True, False])
@pytest.mark.parametrize("outcome", [DECLINED, SILENCE])
def test_a_decline_and_a_silence_wait_for_a_look(outcome: Outcome, only_send: bool) -> None:
    assert verdict_of_answer(outcome, only_send=only_send) is None


def test_a_refusal_is_believed_only_of_an_attempt_that_was_sent_once() -> None:
    assert verdict_of_answer(REFUSED, only_send=True) == REFUSED
    assert verdict_of_answer(REFUSED, only_send=False) is None


def test_a_silence_is_looked_at_later_unless_portone_says_that_there_is_more_to_see() -> None:
    assert not worth_a_look(SILENCE)
    assert worth_a_look(NoVerdict("ALREADY_PAID", look_now=True))
    assert worth_a_look(DECLINED)
    assert worth_a_look(REFUSED)
    assert worth_a_look(PAID)


# --- what a look proves of an open attempt --------------------------------------------------------------------------


def test_a_payment_that_is_there_is_adopted() -> None:
    found = weighed(an_attempt(), a_payment())

    assert found == Paid("pg-1", NOON + SECOND, transaction_id="tx-1")


def test_a_payment_that_was_cancelled_since_was_paid_first() -> None:
    found = weighed(an_attempt(), a_payment("CANCELLED", refunded_minor=9900, pg_tx_id="pg-1"))

    assert isinstance(found, Paid)
    assert found.given_back


def test_a_payment_that_its_card_holder_contests_was_paid_first() -> None:
    found = weighed(an_attempt(), a_payment(disputed=True))

    assert isinstance(found, Paid)
    assert found.given_back


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"amount_minor": 9901}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"store_id": "store-other"}, "store"),
        ({"is_test": False}, "LIVE"),
    ],
)
def test_a_payment_that_is_not_what_we_asked_for_is_put_before_a_person(changes: dict[str, object], word: str) -> None:
    found = weighed(an_attempt(), a_payment(**changes))

    assert isinstance(found, Contradiction)
    assert word in found.what


def test_a_live_worker_does_not_believe_a_payment_of_a_test_channel() -> None:
    rules = replace(RULES, live=True)

    assert differences(an_attempt(), a_payment(is_test=True), rules)
    assert not differences(an_attempt(), a_payment(is_test=False), rules)
    assert differences(an_attempt(), a_payment(is_test=None), rules)


def test_a_payment_with_another_pg_transaction_is_another_payment() -> None:
    paid = an_attempt(status=AttemptStatus.PAID, pg_tx_id="pg-other")

    assert differences(paid, a_payment(pg_tx_id="pg-1"), RULES)
    assert not differences(paid, a_payment(pg_tx_id=None), RULES)


def test_a_payment_with_the_pg_transaction_that_was_recorded_is_the_same_payment() -> None:
    paid = an_attempt(status=AttemptStatus.PAID, pg_tx_id="pg-1")

    assert differences(paid, a_payment(pg_tx_id="pg-1"), RULES) == ()
    assert differences(paid, a_payment(pg_tx_id="pg-2"), RULES) == ("PG transaction is another one",)


@pytest.mark.parametrize(
    ("live", "is_test", "word"),
    [
        (True, True, "channel is TEST, wanted LIVE"),
        (True, None, "channel is of no known type, wanted LIVE"),
        (False, False, "channel is LIVE, wanted TEST"),
        (False, None, "channel is of no known type, wanted TEST"),
    ],
)
def test_a_person_reads_which_kind_of_channel_was_wanted_and_which_was_used(
    live: bool, is_test: bool | None, word: str
) -> None:
    assert differences(an_attempt(), a_payment(is_test=is_test), replace(RULES, live=live)) == (word,)


def test_a_payment_without_the_pg_s_own_id_and_moment_is_recorded_under_portone_s() -> None:
    bare = weighed(an_attempt(), a_payment(pg_tx_id=None, paid_at=None))
    full = weighed(an_attempt(), a_payment(pg_tx_id="pg-9", paid_at=NOON))

    assert bare == Paid("tx-1", NOON + SECOND, transaction_id="tx-1")
    assert full == Paid("pg-9", NOON, transaction_id="tx-1")


def test_every_difference_is_named() -> None:
    payment = a_payment(amount_minor=1, currency="USD", store_id="store-other", is_test=False)

    assert len(differences(an_attempt(), payment, RULES)) == 4


def test_a_failed_try_of_the_first_attempt_is_its_decline() -> None:
    found = weighed(an_attempt(), a_payment("FAILED", failure_code="51", failure_message="잔액부족"))

    assert found == Declined("51", "잔액부족", "tx-1")


def test_an_older_try_s_failure_is_not_this_attempt_s() -> None:
    # given
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-old"}))
    known = a_payment("FAILED", transaction_id="tx-old", changed_at=NOON + SECOND)
    earlier = a_payment("FAILED", transaction_id="tx-2", changed_at=NOON - timedelta(seconds=31))

    # when, then
    assert not is_of_attempt(attempt, known, RULES)
    assert not is_of_attempt(attempt, earlier, RULES)
    assert isinstance(weighed(attempt, known), Resend)
    assert isinstance(weighed(attempt, earlier), Resend)
    assert needs_transactions(attempt, known, RULES)


def test_portone_s_clock_may_be_behind_ours_by_the_skew_that_is_allowed() -> None:
    attempt = an_attempt(attempt_number=2)
    payment = a_payment("FAILED", changed_at=NOON - timedelta(seconds=30))

    assert is_of_attempt(attempt, payment, RULES)


def test_the_list_of_tries_is_asked_for_only_when_the_payment_shows_an_older_one() -> None:
    attempt = an_attempt(attempt_number=2)

    assert not needs_transactions(attempt, a_payment("FAILED"), RULES)
    assert not needs_transactions(attempt, a_payment("PAID"), RULES)
    assert not needs_transactions(attempt, Absent(), RULES)
    assert not needs_transactions(attempt, Unanswered("no answer"), RULES)


def test_of_several_tries_the_paid_one_speaks_whoever_made_it() -> None:
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-old"}))
    paid = a_payment("PAID", transaction_id="tx-old", changed_at=NOON - timedelta(days=1))
    failed = a_payment("FAILED", transaction_id="tx-2")

    assert newest_of_attempt(attempt, [paid, failed], RULES) == paid


def test_of_several_failed_tries_the_newest_of_the_attempt_speaks() -> None:
    # given
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-old"}))
    older = a_payment("FAILED", transaction_id="tx-old", changed_at=NOON + timedelta(minutes=9))
    first = a_payment("FAILED", transaction_id="tx-2", changed_at=NOON + SECOND)
    second = a_payment("FAILED", transaction_id="tx-3", changed_at=NOON + 2 * SECOND)

    # when, then
    assert newest_of_attempt(attempt, [second, older, first], RULES) == second
    assert newest_of_attempt(attempt, [older], RULES) == Absent()
    assert newest_of_attempt(attempt, [], RULES) == Absent()


@pytest.mark.parametrize("status", ["PAID", "READY", "BRAND_NEW"])
def test_a_payment_that_has_not_failed_needs_no_list_of_tries_however_old_it_is(status: str) -> None:
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-1"}))

    assert needs_transactions(attempt, a_payment(status), RULES) is False
    assert needs_transactions(attempt, Absent(), RULES) is False


@pytest.mark.parametrize("status", [*sorted(PAYMENT_PENDING), "BRAND_NEW"])
@pytest.mark.parametrize("after", [SECOND, timedelta(days=30)])
def test_a_payment_under_way_is_waited_for_however_long_it_takes(status: str, after: timedelta) -> None:
    assert isinstance(weighed(an_attempt(), a_payment(status), after=after), Wait)


def test_what_was_refused_and_is_not_there_was_refused_once_every_earlier_send_has_ended() -> None:
    early = weighed(an_attempt(), Absent(), answer=REFUSED, after=RULES.at_work_for - timedelta(seconds=1))

    assert isinstance(early, Wait)
    assert weighed(an_attempt(), Absent(), answer=REFUSED, after=RULES.at_work_for) == REFUSED


def test_an_answer_read_a_day_late_proves_no_more_than_when_it_was_asked_for() -> None:
    # The machine slept with PortOne's 404 in its socket: the payment came to be shown a second after it was asked for.
    day = RULES.void_after + timedelta(hours=1)

    assert isinstance(weighed(an_attempt(), Absent(), after=day, slept=day), Wait)
    assert isinstance(weighed(an_attempt(), Absent(), after=day, slept=timedelta(hours=1)), Voided)
    assert isinstance(weighed(an_attempt(), Absent(), answer=REFUSED, after=day, slept=day), Wait)


def test_a_look_that_was_slept_over_may_still_not_send_again_once_the_key_is_forgotten() -> None:
    late = RULES.resend_until + SECOND

    assert isinstance(weighed(an_attempt(), Absent(), after=late, slept=late), Wait)


def test_a_decline_keeps_the_words_of_the_answer_that_the_look_confirms() -> None:
    bare = a_payment("FAILED", failure_code="", failure_message="")

    assert weighed(an_attempt(), bare, answer=DECLINED) == replace(DECLINED, transaction_id="tx-1")


def test_nothing_is_sent_for_a_cycle_that_a_person_decides_about() -> None:
    held = an_attempt(cycle_status=CycleStatus.HELD)

    assert isinstance(weighed(held, Absent()), Wait)


def test_a_failure_from_before_the_first_attempt_is_not_its_decline() -> None:
    old = a_payment("FAILED", changed_at=NOON - timedelta(days=20))

    assert isinstance(weighed(an_attempt(), old), Resend)


@pytest.mark.parametrize("answer", [DECLINED, SILENCE])
def test_an_answer_that_the_look_does_not_confirm_is_asked_about_again(answer: Outcome) -> None:
    assert isinstance(weighed(an_attempt(), Absent(), answer=answer), Wait)


@pytest.mark.parametrize("answer", [DECLINED, SILENCE, REFUSED])
def test_an_answer_beside_an_older_try_s_failure_is_not_answered_by_sending_again(answer: Outcome) -> None:
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-1"}))

    assert weighed(attempt, a_payment("FAILED"), answer=answer) == Wait(
        NOON + SECOND + RULES.ask_first, "the answer is not confirmed yet"
    )


def test_a_decline_that_portone_replays_is_found_however_old_its_try_is() -> None:
    # given
    attempt = an_attempt(older_transaction_ids=frozenset({"tx-known"}))
    replayed = a_payment("FAILED", changed_at=NOON - timedelta(days=20))
    known = replace(replayed, transaction_id="tx-known")

    # when, then
    assert weighed(attempt, replayed, answer=DECLINED) == replace(DECLINED, transaction_id="tx-1")
    assert isinstance(weighed(attempt, replayed, answer=SILENCE), Wait)
    assert isinstance(weighed(attempt, known, answer=DECLINED), Wait)
    assert needs_transactions(attempt, replayed, RULES, answer=DECLINED) is False
    assert needs_transactions(attempt, replayed, RULES, answer=SILENCE) is True
    assert newest_of_attempt(attempt, [known, replayed], RULES, answer=DECLINED) == replayed
    assert newest_of_attempt(attempt, [known, replayed], RULES, answer=SILENCE) == Absent()


def test_an_answer_that_said_paid_is_never_answered_by_sending_again() -> None:
    assert isinstance(weighed(an_attempt(), Absent(), answer=PAID), Wait)


@pytest.mark.parametrize(
    ("attempt", "look", "answer", "after", "reason"),
    [
        (an_attempt(), Unanswered("HTTP 503"), None, SECOND, "HTTP 503"),
        (an_attempt(), a_payment("READY"), None, SECOND, "payment is READY"),
        (an_attempt(), Absent(), SILENCE, SECOND, "the answer is not confirmed yet"),
        (an_attempt(cycle_status=CycleStatus.HELD), Absent(), None, SECOND, "a person decides about the cycle"),
        (an_attempt(), Absent(), None, timedelta(hours=3), "nothing found, and the key is forgotten"),
    ],
)
def test_whoever_waits_is_told_for_what(
    attempt: Attempt, look: Look, answer: Outcome | None, after: timedelta, reason: str
) -> None:
    assert weighed(attempt, look, answer=answer, after=after) == Wait(NOON + after + RULES.ask_first, reason)


def test_nothing_found_is_sent_again_while_portone_remembers_the_key_and_voided_after_a_day() -> None:
    # given
    attempt = an_attempt(last_sent_at=NOON + timedelta(hours=2))
    memory, day = timedelta(hours=2, minutes=30), timedelta(hours=26)

    # when, then
    assert isinstance(weighed(attempt, Absent(), after=memory - SECOND), Resend)
    assert isinstance(weighed(attempt, Absent(), after=memory), Wait)
    assert isinstance(weighed(attempt, Absent(), after=day - SECOND), Wait)
    assert isinstance(weighed(attempt, Absent(), after=day), Voided)


def test_looks_are_asked_twice_as_far_apart_each_time_up_to_a_bound() -> None:
    def gap(looks: int) -> timedelta:
        return next_look(an_attempt(looks=looks), now=NOON, rules=RULES) - NOON

    assert [gap(n).total_seconds() for n in (0, 1, 2, 3, 4)] == [20, 20, 40, 80, 160]
    assert gap(9) == gap(1_000_000) == RULES.ask_widest
