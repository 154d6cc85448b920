"""A decline that PortOne replays for a try that a failover or a restore has taken from us."""

from dataclasses import replace
from datetime import timedelta

from billing_worker.billing.charging import Wait, is_of_attempt, needs_transactions, newest_of_attempt, weigh
from billing_worker.billing.outcomes import Absent, Declined, Paid
from tests.builders import NOON, a_payment, an_attempt, some_rules

RULES = some_rules()
NOW = NOON + timedelta(seconds=5)
REPLAYED = Declined("51", "잔액부족")
LOST_TRY = replace(a_payment("FAILED"), transaction_id="tx-lost", changed_at=NOON - timedelta(hours=1))


def test_the_answer_to_this_key_says_that_a_try_older_than_the_attempt_is_its_own() -> None:
    weighed = weigh(an_attempt(), REPLAYED, LOST_TRY, asked_at=NOW, now=NOW, rules=RULES)

    assert weighed == replace(REPLAYED, transaction_id="tx-lost")
    assert not needs_transactions(an_attempt(), LOST_TRY, RULES, answer=REPLAYED)
    assert newest_of_attempt(an_attempt(), [LOST_TRY], RULES, answer=REPLAYED) == LOST_TRY


def test_without_that_answer_it_is_an_older_try_and_proves_nothing() -> None:
    assert not is_of_attempt(an_attempt(), LOST_TRY, RULES)
    assert needs_transactions(an_attempt(), LOST_TRY, RULES)
    assert newest_of_attempt(an_attempt(), [LOST_TRY], RULES) == Absent()


def test_a_try_that_an_older_attempt_is_known_by_is_never_this_one_s() -> None:
    attempt = an_attempt(attempt_number=2, older_transaction_ids=frozenset({"tx-lost"}))

    assert isinstance(weigh(attempt, REPLAYED, LOST_TRY, asked_at=NOW, now=NOW, rules=RULES), Wait)


def test_money_goes_before_a_replayed_decline() -> None:
    paid = replace(a_payment("PAID"), transaction_id="tx-paid", changed_at=NOON - timedelta(hours=2))

    found = newest_of_attempt(an_attempt(), [LOST_TRY, paid], RULES, answer=REPLAYED)

    assert found == paid
    assert isinstance(weigh(an_attempt(), REPLAYED, paid, asked_at=NOW, now=NOW, rules=RULES), Paid)
