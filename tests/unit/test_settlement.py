"""Settlements: every verdict on every attempt leaves legal statuses, and money is entered once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from billing_worker.billing.charging import Revoked, Verdict, Voided
from billing_worker.billing.dunning import counts_as_decline
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import Declined, Paid, RefusalScope, Refused
from billing_worker.billing.settlement import Settlement, settle
from billing_worker.billing.states import (
    ATTEMPT_MOVES,
    CYCLE_MOVES,
    AttemptStatus,
    CycleStatus,
    EntryKind,
    Source,
    may_move,
)
from tests.builders import NOON, a_policy, an_attempt, some_rules
from tests.sound_bookings import a_booking

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
verdicts_of_any = verdicts | st.just(Revoked())
sources = st.sampled_from([Source.ANSWER, Source.LOOK])


def settled(attempt: Attempt, verdict: Verdict, source: Source = Source.ANSWER) -> Settlement:
    return settle(attempt, verdict, source, now=NOON, rules=RULES, policy=POLICY)


def kinds(settlement: Settlement) -> list[EntryKind]:
    return [entry.kind for entry in settlement.entries]


def test_a_payment_pays_its_cycle_and_is_verified_later() -> None:
    done = settled(an_attempt(), PAID)

    assert (done.attempt_status, done.cycle_status) == (AttemptStatus.PAID, CycleStatus.PAID)
    assert kinds(done) == [EntryKind.PAID]
    assert done.entries[0].amount_minor == 9900
    assert done.look_at == NOON + RULES.verify_after
    assert [event.event_type for event in done.events] == ["charge.succeeded"]


def test_a_payment_that_a_look_found_has_been_compared_already() -> None:
    assert settled(an_attempt(), PAID, Source.LOOK).look_at is None


def test_what_was_given_back_before_its_payment_was_learnt_is_looked_at_at_once() -> None:
    done = settled(an_attempt(), Paid("pg-1", NOON, given_back=True), Source.LOOK)

    assert kinds(done) == [EntryKind.PAID]
    assert done.look_at == NOON


def test_a_soft_decline_is_tried_again_by_the_policy() -> None:
    done = settled(an_attempt(), SOFT)

    assert (done.attempt_status, done.cycle_status) == (AttemptStatus.DECLINED, CycleStatus.DUE)
    assert done.claimable_at == NOON + timedelta(days=1)
    assert done.declines_added == 1
    assert (done.decline_code, done.decline_message, done.transaction_id) == ("51", "잔액부족", "tx-1")
    assert done.look_at == NOON + RULES.recheck_after[0]


@pytest.mark.parametrize("verdict", [HARD, DELETED])
def test_a_hard_decline_is_not_retried(verdict: Verdict) -> None:
    done = settled(an_attempt(), verdict)

    assert done.cycle_status is CycleStatus.GIVEN_UP
    assert kinds(done)[-1] is EntryKind.GIVEN_UP
    assert [event.event_type for event in done.events] == ["charge.declined", "charge.given_up"]


def test_the_last_retry_s_decline_gives_up() -> None:
    done = settled(an_attempt(attempt_number=4, declines_count=3, first_declined_at=NOON - timedelta(days=5)), SOFT)

    assert done.cycle_status is CycleStatus.GIVEN_UP


def test_a_request_that_portone_refuses_is_put_before_a_person() -> None:
    done = settled(an_attempt(), BAD_REQUEST)

    assert (done.attempt_status, done.cycle_status) == (AttemptStatus.REFUSED, CycleStatus.HELD)
    assert done.held_reason == "INVALID_REQUEST"
    assert kinds(done) == [EntryKind.REFUSED, EntryKind.HELD]
    assert done.declines_added == 0


def test_a_refused_channel_uses_up_no_try_of_the_customer_s() -> None:
    done = settled(an_attempt(), NO_CHANNEL)

    assert (done.cycle_status, done.declines_added) == (CycleStatus.DUE, 0)
    assert done.claimable_at == NOON + POLICY.channel_pause
    assert done.events == ()  # no customer hears of our rotated secret


def test_a_voided_attempt_makes_its_cycle_due_at_once() -> None:
    done = settled(an_attempt(), Voided(), Source.LOOK)

    assert (done.attempt_status, done.cycle_status, done.claimable_at) == (AttemptStatus.VOIDED, CycleStatus.DUE, NOON)
    assert (kinds(done), done.declines_added) == ([EntryKind.VOIDED], 0)


@pytest.mark.parametrize(
    "status", [AttemptStatus.DECLINED, AttemptStatus.REFUSED, AttemptStatus.VOIDED, AttemptStatus.REVOKED]
)
def test_a_late_payment_is_a_correction_by_name(status: AttemptStatus) -> None:
    done = settled(an_attempt(status=status, cycle_status=CycleStatus.GIVEN_UP), PAID, Source.LOOK)

    assert kinds(done) == [EntryKind.CORRECTED, EntryKind.PAID]
    assert (done.entries[0].code, done.entries[0].amount_minor) == (status, None)
    assert CycleStatus.COLLECTING not in done.cycle_from
    assert CycleStatus.PAID not in done.cycle_from


def test_a_payment_by_an_older_try_is_a_correction_by_name() -> None:
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-old"}))

    done = settled(attempt, Paid("pg-1", NOON, transaction_id="tx-old"), Source.LOOK)

    assert kinds(done) == [EntryKind.CORRECTED, EntryKind.PAID]
    assert done.entries[0].code == "older_try"


@pytest.mark.parametrize("verdict", UNPAID, ids=repr)
def test_a_verdict_does_not_take_a_cycle_from_the_person_who_decides(verdict: Verdict) -> None:
    done = settled(an_attempt(cycle_status=CycleStatus.HELD), verdict)

    assert done.cycle_status is CycleStatus.HELD
    assert done.held_reason


@pytest.mark.parametrize("reason", ["cancelled", "price", "card", "moved"])
def test_a_booking_that_was_taken_back_makes_its_cycle_due_at_once(reason: str) -> None:
    done = settled(a_booking(revoke_reason=reason), Revoked(), Source.LOOK)

    assert (done.attempt_status, done.cycle_status, done.claimable_at) == (AttemptStatus.REVOKED, CycleStatus.DUE, NOON)
    assert (kinds(done), done.entries[0].code, done.declines_added) == ([EntryKind.REVOKED], reason, 0)
    assert done.events == ()


@pytest.mark.parametrize("status", [CycleStatus.HELD, CycleStatus.SKIPPED])
@pytest.mark.parametrize("verdict", [Revoked(), Voided(), SOFT, BAD_REQUEST], ids=repr)
def test_what_a_person_decided_stands_when_the_booking_has_ended(status: CycleStatus, verdict: Verdict) -> None:
    done = settled(a_booking(cycle_status=status, revoke_reason="held"), verdict, Source.LOOK)

    assert (done.cycle_status, done.cycle_from, done.claimable_at) == (status, frozenset({status}), None)
    assert (done.held_reason is None) == (status is CycleStatus.SKIPPED)


def test_nothing_is_taken_back_without_a_reason() -> None:
    with pytest.raises(AssertionError):
        settled(a_booking(), Revoked())


@pytest.mark.parametrize("verdict", [NO_CARD, DELETED, BAD_REQUEST], ids=repr)
def test_a_refused_booking_is_no_decline_and_is_charged_when_it_is_due(verdict: Verdict) -> None:
    # given
    booking = a_booking(declines_count=99, first_declined_at=NOON)

    # when
    done = settled(booking, verdict)

    # then
    assert (done.attempt_status, done.cycle_status) == (AttemptStatus.REFUSED, CycleStatus.DUE)
    assert done.claimable_at == booking.due_at
    assert (kinds(done), done.declines_added, done.events) == ([EntryKind.REFUSED], 0, ())


def test_a_booking_that_a_broken_channel_refused_may_be_booked_again_after_a_pause() -> None:
    done = settled(a_booking(), NO_CHANNEL)

    assert (done.cycle_status, done.claimable_at) == (CycleStatus.DUE, NOON + POLICY.channel_pause)


def test_a_booking_that_was_declined_is_dunned_as_a_charge_is() -> None:
    charge, booking = settled(an_attempt(), SOFT, Source.LOOK), settled(a_booking(), SOFT, Source.LOOK)
    hard = settled(a_booking(), HARD, Source.LOOK)

    assert replace(booking, attempt=charge.attempt) == charge
    assert hard.cycle_status is CycleStatus.GIVEN_UP


@pytest.mark.parametrize("status", [status for status in AttemptStatus if status is not AttemptStatus.OPEN])
@pytest.mark.parametrize("verdict", UNPAID, ids=repr)
def test_only_an_open_attempt_can_end_unpaid(status: AttemptStatus, verdict: Verdict) -> None:
    with pytest.raises(AssertionError):
        settled(an_attempt(status=status), verdict)


@given(code=st.text(max_size=2000), message=st.text(max_size=2000))
def test_whatever_the_pg_writes_the_ledger_can_keep(code: str, message: str) -> None:
    done = settled(an_attempt(), Declined(code, message))

    for text in (done.decline_code, done.decline_message, done.entries[0].code, done.entries[0].message):
        assert text is not None
        assert len(text) <= 500
        assert "\x00" not in text
        assert text.encode().decode() == text


def is_open_booking(attempt: Attempt) -> bool:
    return attempt.status is AttemptStatus.OPEN and attempt.time_to_pay is not None


def skipped(attempt: Attempt) -> Attempt:
    """What a person's skip leaves of an attempt: a booking is still to be taken back."""
    if is_open_booking(attempt):
        return replace(attempt, revoke_reason="skipped")
    return replace(attempt, status=AttemptStatus.VOIDED) if attempt.status is AttemptStatus.OPEN else attempt


class OneCycle(RuleBasedStateMachine):
    """One cycle under every order of verdicts, stale ones among them, written the way the store writes them.

    A decision is kept and may be written at any later time, as two workers on one attempt would do it.
    """

    decisions = Bundle("decisions")

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.cycle_id = 0
        self.the_next_period_begins()

    @rule()
    def the_next_period_begins(self) -> None:
        self.cycle_id += 1
        self.cycle = CycleStatus.DUE
        self.declines = 0
        self.attempts: list[Attempt] = []
        self.entries: list[EntryKind] = []

    def move_cycle(self, new: CycleStatus) -> None:
        assert new is self.cycle or may_move(CYCLE_MOVES, old=self.cycle, new=new), f"{self.cycle} to {new}"
        self.cycle = new

    def standing(self, attempt: Attempt) -> Attempt:
        """The attempt as a claim would hand it out now."""
        return replace(
            self.attempts[attempt.attempt_number - 1],
            cycle_status=self.cycle,
            attempts_count=len(self.attempts),
            declines_count=self.declines,
            first_declined_at=NOON if self.declines else None,
        )

    def open_attempts(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.status is AttemptStatus.OPEN]

    @rule()
    def an_attempt_is_opened(self) -> None:
        self.open(an_attempt)

    @rule()
    def a_charge_is_booked(self) -> None:
        self.open(a_booking)

    def open(self, make: Callable[..., Attempt]) -> None:
        if self.cycle is CycleStatus.DUE:
            number = len(self.attempts) + 1
            self.attempts.append(make(cycle_id=self.cycle_id, attempt_number=number))
            self.move_cycle(CycleStatus.COLLECTING)

    @rule()
    def the_booking_is_to_be_taken_back(self) -> None:
        self.attempts = [
            replace(attempt, revoke_reason="price") if is_open_booking(attempt) else attempt
            for attempt in self.attempts
        ]

    @rule(target=decisions, verdict=verdicts_of_any, source=sources, back=st.sampled_from([0, 0, 0, 1, 2]))
    def a_verdict_is_reached(self, verdict: Verdict, source: Source, back: int) -> object:
        decision = self.decided(verdict, source, back)
        return multiple() if decision is None else decision

    @rule(verdict=verdicts_of_any, source=sources)
    def an_attempt_is_opened_and_settled(self, verdict: Verdict, source: Source) -> None:
        self.an_attempt_is_opened()
        decision = self.decided(verdict, source, 0)
        if decision is not None:
            self.write(decision)

    @rule(decision=consumes(decisions))
    def a_decision_is_written(self, decision: Settlement) -> None:
        self.write(decision)

    def decided(self, verdict: Verdict, source: Source, back: int) -> Settlement | None:
        if len(self.attempts) <= back:
            return None
        attempt = self.standing(self.attempts[-1 - back])
        closed = attempt.status is not AttemptStatus.OPEN
        unasked = isinstance(verdict, Revoked) and attempt.revoke_reason is None
        if attempt.status is AttemptStatus.PAID or (closed and not isinstance(verdict, Paid)) or unasked:
            return None  # no such decision is made
        return settle(attempt, verdict, source, now=self.now, rules=RULES, policy=POLICY)

    @rule(hours=st.integers(1, 200))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    def write(self, decision: Settlement) -> None:
        if decision.attempt.cycle_id != self.cycle_id:
            return
        standing = self.attempts[decision.attempt.attempt_number - 1]
        late_beside_an_open_one = decision.attempt.status is not AttemptStatus.OPEN and self.open_attempts()
        stale = standing.status is not decision.attempt.status or self.cycle not in decision.cycle_from
        if stale or late_beside_an_open_one:
            return
        assert may_move(ATTEMPT_MOVES, old=standing.status, new=decision.attempt_status)
        self.move_cycle(decision.cycle_status)
        self.attempts[standing.attempt_number - 1] = replace(standing, status=decision.attempt_status)
        self.declines += decision.declines_added
        self.entries.extend(entry.kind for entry in decision.entries)
        self.matches_what_it_says(decision)

    def matches_what_it_says(self, decision: Settlement) -> None:
        wrote = kinds(decision)
        assert wrote.count(EntryKind(decision.attempt_status.value)) == 1
        assert (EntryKind.GIVEN_UP in wrote) == (decision.cycle_status is CycleStatus.GIVEN_UP)
        assert (decision.claimable_at is not None) == (decision.cycle_status is CycleStatus.DUE)
        assert (decision.held_reason is not None) == (decision.cycle_status is CycleStatus.HELD)
        assert (decision.paid_at is not None) == (decision.cycle_status is CycleStatus.PAID)
        assert decision.claimable_at is None or decision.claimable_at >= NOON
        names = [event.event_type for event in decision.events]
        assert ("charge.succeeded" in names) == (decision.cycle_status is CycleStatus.PAID)
        assert ("charge.given_up" in names) == (decision.cycle_status is CycleStatus.GIVEN_UP)

    @rule()
    def portone_contradicts(self) -> None:
        if self.attempts and self.cycle in {CycleStatus.COLLECTING, CycleStatus.DUE, CycleStatus.GIVEN_UP}:
            self.move_cycle(CycleStatus.HELD)

    @rule()
    def a_person_orders_another_try(self) -> None:
        if self.cycle in {CycleStatus.GIVEN_UP, CycleStatus.HELD} and not self.open_attempts():
            self.move_cycle(CycleStatus.DUE)
            self.declines = 0

    @rule()
    def a_person_skips_the_cycle(self) -> None:
        if self.attempts and self.cycle in {CycleStatus.DUE, CycleStatus.GIVEN_UP, CycleStatus.HELD}:
            self.move_cycle(CycleStatus.SKIPPED)
            self.attempts = [skipped(attempt) for attempt in self.attempts]

    @invariant()
    def money_is_entered_once_and_only_for_a_paid_cycle(self) -> None:
        paid = [attempt for attempt in self.attempts if attempt.status is AttemptStatus.PAID]
        assert len(paid) == self.entries.count(EntryKind.PAID) == int(self.cycle is CycleStatus.PAID)

    @invariant()
    def at_most_one_attempt_is_open_and_its_cycle_says_so(self) -> None:
        count = len(self.open_attempts())
        booked = {CycleStatus.SKIPPED} if any(map(is_open_booking, self.attempts)) else set()
        assert count <= 1
        assert not count or self.cycle in {CycleStatus.COLLECTING, CycleStatus.HELD} | booked
        assert count or self.cycle is not CycleStatus.COLLECTING

    @invariant()
    def a_correction_goes_with_a_payment(self) -> None:
        assert self.entries.count(EntryKind.CORRECTED) <= self.entries.count(EntryKind.PAID)


OneCycle.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestOneCycle = OneCycle.TestCase


@given(verdict=verdicts)
def test_only_what_counts_against_the_customer_uses_up_a_try(verdict: Verdict) -> None:
    done = settled(an_attempt(), verdict)

    counts = isinstance(verdict, Declined | Refused) and counts_as_decline(verdict)
    assert done.declines_added == int(counts)
