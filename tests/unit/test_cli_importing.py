"""What an import does with each plan, decided without a database."""

from dataclasses import replace
from datetime import UTC, date, datetime

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.model import Customer
from billing_worker.billing.money import Money
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import SubscriptionStatus
from billing_worker.cli.importing import Judgement, Rules, judge
from billing_worker.store.subscriptions import KnownSubscription
from tests.builders import a_cadence

# In Seoul it is the 1st of April already.
NOW = datetime(2026, 3, 31, 16, tzinfo=UTC)


def a_plan(*, anchor_on: date = date(2026, 4, 1), zone: str = "Asia/Seoul", amount: int = 9900) -> PlannedSubscription:
    return PlannedSubscription(
        business_key="s-1",
        customer=Customer("c-1"),
        billing_key=BillingKey("key"),
        order_name="월간 구독",
        price=Money(amount, "KRW"),
        cadence=a_cadence(anchor_on=anchor_on, zone=zone),
        first_cycle_number=1,
        line=2,
    )


def judged(plan: PlannedSubscription, *, rules: Rules | None = None, status: str = "") -> Judgement:
    known = KnownSubscription(0, 1, SubscriptionStatus(status), a_plan()) if status else None
    return judge([plan], {"s-1": known} if known else {}, now=NOW, rules=rules or Rules())


def test_the_period_that_runs_today_may_be_collected() -> None:
    assert len(judged(a_plan(anchor_on=date(2026, 4, 1))).added) == 1
    assert len(judged(a_plan(anchor_on=date(2026, 3, 2))).added) == 1


def test_a_period_that_begins_today_makes_a_month_old_anchor_two_charges() -> None:
    faults = judged(a_plan(anchor_on=date(2026, 3, 1))).faults

    assert [(fault.line, fault.column) for fault in faults] == [(2, "start_on")]
    assert "2 periods" in faults[0].reason


def test_today_is_the_date_in_the_subscriptions_zone() -> None:
    assert judged(a_plan(anchor_on=date(2026, 3, 1), zone="Asia/Seoul")).faults
    assert not judged(a_plan(anchor_on=date(2026, 3, 1), zone="America/New_York")).faults


def test_a_later_first_period_leaves_old_ones_uncollected() -> None:
    old = a_plan(anchor_on=date(2024, 1, 1))

    assert judged(old).faults
    assert not judged(replace(old, first_cycle_number=28)).faults
    assert not judged(old, rules=Rules(collect_past=True)).faults


def test_a_known_subscription_is_never_refused_for_its_age() -> None:
    judgement = judge(
        [a_plan()],
        {"s-1": KnownSubscription(0, 1, SubscriptionStatus.ACTIVE, a_plan())},
        now=NOW.replace(year=2036),
        rules=Rules(),
    )

    assert (judgement.unchanged, judgement.faults) == (1, [])


def test_what_may_change_is_changed_by_name() -> None:
    judgement = judged(a_plan(amount=11_000), status="active")

    assert [(one.field, one.old, one.new) for one in judgement.changed[0].changes] == [("amount", "9900", "11000")]


def test_what_moves_a_date_is_a_fault_even_beside_an_allowed_change() -> None:
    judgement = judged(a_plan(amount=11_000, anchor_on=date(2026, 4, 2)), status="active")

    assert ([fault.column for fault in judgement.faults], judgement.changed) == (["anchor_on"], [])


def test_a_change_that_nobody_asked_for_is_a_fault() -> None:
    judgement = judged(a_plan(amount=11_000), status="active", rules=Rules(changes_allowed=False))

    assert ([fault.column for fault in judgement.faults], judgement.changed) == (["amount"], [])


def test_a_cancelled_subscription_is_left_alone_and_never_changed() -> None:
    same, other = judged(a_plan(), status="cancelled"), judged(a_plan(amount=11_000), status="cancelled")

    assert (same.cancelled, same.faults, same.unchanged) == (["s-1"], [], 0)
    assert ([fault.column for fault in other.faults], other.changed) == (["business_key"], [])
