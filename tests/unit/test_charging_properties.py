"""Charging decisions, whatever is found after whatever time: what is never sent again, voided or believed."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.charging import (
    BookAttempt,
    OpenAttempt,
    Resend,
    Voided,
    Wait,
    Weighed,
    differences,
    next_step,
    weigh,
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
    Payment,
    RefusalScope,
    Refused,
    Unanswered,
)
from billing_worker.billing.states import Mode
from tests.builders import NOON, a_claimed_cycle, a_payment, an_attempt, some_rules

RULES = some_rules()
PAID = Paid("pg-1", NOON)
DECLINED = Declined("51", "잔액부족")
REFUSED = Refused("INVALID_REQUEST", "no", RefusalScope.CYCLE)
SILENCE = NoVerdict("no answer")
SECOND = timedelta(seconds=1)

spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))
statuses = st.sampled_from(["PAID", "PARTIAL_CANCELLED", "CANCELLED", "FAILED", *sorted(PAYMENT_PENDING), "BRAND_NEW"])


@st.composite
def payments(draw: st.DrawFn) -> Payment:
    return a_payment(
        draw(statuses),
        transaction_id=draw(st.sampled_from(["tx-1", "tx-2", "tx-old"])),
        amount_minor=draw(st.sampled_from([9900, 100])),
        store_id=draw(st.sampled_from(["store-test", "store-other"])),
        is_test=draw(st.sampled_from([True, False, None])),
        changed_at=NOON + draw(st.timedeltas(min_value=timedelta(days=-9), max_value=timedelta(days=9))),
    )


looks = st.one_of(payments(), st.just(Absent()), st.just(Unanswered("no answer")))
answers = st.sampled_from([None, DECLINED, REFUSED, SILENCE, NoVerdict("ALREADY_PAID", look_now=True)])
attempts = st.builds(
    lambda number, looks, old: an_attempt(attempt_number=number, looks=looks, older_transaction_ids=old),
    number=st.integers(1, 9),
    looks=st.integers(1, 40),
    old=st.sampled_from([frozenset(), frozenset({"tx-old"})]),
)


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


@given(attempt=attempts, answer=answers, look=looks, after=spans)
def test_the_same_bytes_are_never_sent_again_when_the_key_may_be_forgotten(
    attempt: Attempt, answer: Outcome | None, look: Look, after: timedelta
) -> None:
    found = weighed(attempt, look, answer=answer, after=after)

    assert not isinstance(found, Resend) or after < RULES.resend_until


@given(attempt=attempts, answer=answers, look=looks, after=spans, sent_after=spans)
def test_nothing_is_voided_before_a_whole_day_has_found_nothing(
    attempt: Attempt, answer: Outcome | None, look: Look, after: timedelta, sent_after: timedelta
) -> None:
    sent_at = NOON + min(sent_after, after)

    found = weighed(replace(attempt, last_sent_at=sent_at), look, answer=answer, after=after)

    assert not isinstance(found, Voided) or NOON + after >= sent_at + RULES.void_after


@given(attempt=attempts, answer=answers, after=spans)
def test_an_unanswered_look_is_never_a_verdict(attempt: Attempt, answer: Outcome | None, after: timedelta) -> None:
    found = weighed(attempt, Unanswered("no answer"), answer=answer, after=after)

    assert isinstance(found, Wait)


@given(attempt=attempts, answer=answers, look=looks, after=spans)
def test_a_decline_is_never_taken_from_an_older_try(
    attempt: Attempt, answer: Outcome | None, look: Look, after: timedelta
) -> None:
    found = weighed(attempt, look, answer=answer, after=after)

    if isinstance(found, Declined):
        assert isinstance(look, Payment)
        assert look.status == "FAILED"
        assert look.transaction_id not in attempt.older_transaction_ids
        # An answer that declines may be replayed by PortOne: then the try is older than the attempt, and its own.
        replayed = isinstance(answer, Declined)
        assert replayed or look.changed_at >= attempt.opened_at - RULES.clock_skew_max


@given(attempt=attempts, answer=answers, look=looks, after=spans)
def test_a_payment_is_never_believed_that_is_not_what_we_asked_for(
    attempt: Attempt, answer: Outcome | None, look: Look, after: timedelta
) -> None:
    found = weighed(attempt, look, answer=answer, after=after)

    if isinstance(found, Paid):
        assert isinstance(look, Payment)
        assert differences(attempt, look, RULES) == ()


@given(attempt=attempts, answer=answers, look=looks, after=spans)
def test_whoever_waits_waits_for_a_moment_that_comes_soon_enough(
    attempt: Attempt, answer: Outcome | None, look: Look, after: timedelta
) -> None:
    found = weighed(attempt, look, answer=answer, after=after)

    if isinstance(found, Wait):
        assert RULES.ask_first <= found.look_at - (NOON + after) <= RULES.ask_widest


@given(mode=st.sampled_from(Mode), before=st.timedeltas(min_value=-timedelta(days=40), max_value=timedelta(days=40)))
def test_no_charge_of_ours_leaves_before_its_time_and_no_booking_close_to_it(mode: Mode, before: timedelta) -> None:
    step = next_step(a_claimed_cycle(mode=mode), RULES, NOON - before)

    assert isinstance(step, OpenAttempt) == (before <= timedelta(0))
    assert isinstance(step, BookAttempt) == (mode is Mode.SCHEDULE and before > RULES.book_near)
