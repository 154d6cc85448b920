"""Reviews: what a look proves of a closed attempt. Money that arrives late is never lost, nor is it invented."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.charging import (
    LOOKS_BEFORE_DOUBT,
    Contradiction,
    NothingMore,
    Verified,
    Wait,
    differences,
    review,
)
from billing_worker.billing.outcomes import PAYMENT_PENDING, Absent, Look, Paid, Payment, Unanswered
from billing_worker.billing.states import AttemptStatus, CycleStatus
from tests.builders import NOON, a_payment, an_attempt, some_rules

RULES = some_rules()

payments = st.builds(
    lambda status, amount, store, test: a_payment(status, amount_minor=amount, store_id=store, is_test=test),
    status=st.sampled_from(["PAID", "PARTIAL_CANCELLED", "CANCELLED", "FAILED", *sorted(PAYMENT_PENDING), "BRAND_NEW"]),
    amount=st.sampled_from([9900, 100]),
    store=st.sampled_from(["store-test", "store-other"]),
    test=st.sampled_from([True, False, None]),
)
looks = st.one_of(payments, st.just(Absent()), st.just(Unanswered("no answer")))


def reviewed(look: Look, *, status: AttemptStatus, now: datetime = NOON, **changes: object) -> object:
    return review(an_attempt(status=status, settled_at=NOON, **changes), look, now=now, rules=RULES)


def test_a_paid_attempt_is_compared_with_portone_s_record() -> None:
    assert reviewed(a_payment(), status=AttemptStatus.PAID) == Verified("tx-1")
    assert reviewed(a_payment("CANCELLED"), status=AttemptStatus.PAID) == Verified("tx-1")
    assert reviewed(a_payment(refunded_minor=900), status=AttemptStatus.PAID) == Verified("tx-1", 900)


@pytest.mark.parametrize(
    "look",
    [a_payment(amount_minor=1), a_payment("FAILED"), a_payment("READY"), Absent()],
    ids=lambda look: repr(look)[:40],
)
def test_a_paid_attempt_that_portone_tells_otherwise_is_put_before_a_person(look: Look) -> None:
    assert isinstance(reviewed(look, status=AttemptStatus.PAID, looks=LOOKS_BEFORE_DOUBT), Contradiction)


def test_a_payment_of_a_cycle_that_an_older_attempt_has_paid_is_that_one_s() -> None:
    paid = {"cycle_status": CycleStatus.PAID, "attempt_number": 2, "attempts_count": 2}

    assert reviewed(a_payment(), status=AttemptStatus.REFUSED, **paid) == NothingMore()


@pytest.mark.parametrize("look", [a_payment("FAILED"), a_payment("READY"), Absent()], ids=lambda look: repr(look)[:40])
def test_one_look_that_does_not_show_a_payment_wakes_nobody(look: Look) -> None:
    assert isinstance(reviewed(look, status=AttemptStatus.PAID, looks=1), Wait)


def test_what_a_person_is_shown_says_what_portone_tells_otherwise() -> None:
    def shown(look: Look) -> object:
        return reviewed(look, status=AttemptStatus.PAID, looks=LOOKS_BEFORE_DOUBT)

    assert shown(a_payment(amount_minor=1)) == Contradiction("amount is 1, asked for 9900")
    assert shown(a_payment("READY")) == Contradiction("PortOne answered paid and now says READY")
    assert shown(Absent()) == Contradiction("PortOne answered paid and now knows no such payment")


CLOSED_UNPAID = [AttemptStatus.DECLINED, AttemptStatus.REFUSED, AttemptStatus.VOIDED, AttemptStatus.REVOKED]


@pytest.mark.parametrize("status", CLOSED_UNPAID)
def test_a_closed_attempt_that_is_paid_after_all_is_paid(status: AttemptStatus) -> None:
    assert isinstance(reviewed(a_payment(), status=status), Paid)


@pytest.mark.parametrize("status", CLOSED_UNPAID)
def test_a_newer_attempt_finds_what_there_is_by_itself(status: AttemptStatus) -> None:
    found = reviewed(a_payment(), status=status, attempt_number=1, attempts_count=2)

    assert isinstance(found, NothingMore)


@pytest.mark.parametrize("status", CLOSED_UNPAID)
@pytest.mark.parametrize("look", [a_payment("FAILED"), a_payment("READY"), Absent()], ids=lambda look: repr(look)[:40])
def test_a_closed_attempt_that_shows_no_payment_is_looked_at_again(status: AttemptStatus, look: Look) -> None:
    assert reviewed(look, status=status) == Wait(NOON + RULES.recheck_after[0], "still not paid")


def test_whoever_waits_for_a_closed_attempt_is_told_for_what() -> None:
    soon = NOON + RULES.ask_first

    assert reviewed(Unanswered("HTTP 503"), status=AttemptStatus.DECLINED) == Wait(soon, "HTTP 503")
    assert reviewed(Unanswered("HTTP 503"), status=AttemptStatus.PAID) == Wait(soon, "HTTP 503")
    assert reviewed(Absent(), status=AttemptStatus.PAID) == Wait(soon, "the record does not show the payment yet")


@pytest.mark.parametrize("looks", [1, 30])
def test_a_closed_attempt_is_looked_at_at_the_moments_of_the_rules_and_then_no_more(looks: int) -> None:
    # given
    now, moments = NOON + RULES.recheck_after[0], []

    # when
    while isinstance(found := reviewed(a_payment("FAILED"), status=AttemptStatus.DECLINED, looks=looks, now=now), Wait):
        moments.append(now - NOON)
        now = found.look_at
    moments.append(now - NOON)

    # then
    assert tuple(moments) == RULES.recheck_after
    assert found == NothingMore()


@pytest.mark.parametrize("status", list(AttemptStatus))
@pytest.mark.parametrize("looks", [1, 3, 50])
def test_a_closed_attempt_is_not_left_because_portone_was_silent(status: AttemptStatus, looks: int) -> None:
    assert isinstance(reviewed(Unanswered("no answer"), status=status, looks=looks), Wait)


@given(look=looks, status=st.sampled_from(CLOSED_UNPAID), count=st.integers(1, 40))
def test_no_money_is_adopted_by_a_review_that_is_not_what_we_asked_for(
    look: Look, status: AttemptStatus, count: int
) -> None:
    found = reviewed(look, status=status, looks=count)

    if isinstance(found, Paid):
        assert isinstance(look, Payment)
        assert differences(an_attempt(), look, RULES) == ()
