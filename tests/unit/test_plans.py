"""What an import may change in a subscription, by name, and what it must not."""

from dataclasses import replace

import pytest

from billing_worker.billing.channels import KPN
from billing_worker.billing.intake import IntakeDefaults, read_rows
from billing_worker.billing.money import Money
from billing_worker.billing.plans import Change, PlannedSubscription, changes, refused_changes

ROW = {
    "business_key": "gym-0001",
    "customer_id": "cust-1",
    "customer_name": "김하늘",
    "customer_phone": "010-1234-5678",
    "billing_key": "billing-key-0190a1b2-c3d4-7e5f-8a6b-9c0d1e2f3a4b",
    "order_name": "Pro 월간 이용권",
    "amount": "9900",
    "anchor_on": "2026-01-31",
}


def plan_of(**cells: str) -> PlannedSubscription:
    row = ROW | cells
    text = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    (plan,) = read_rows(text, profile=KPN, defaults=IntakeDefaults()).plans
    return plan


def test_the_same_file_again_changes_nothing() -> None:
    first, second = plan_of(), plan_of()

    assert changes(first, second) == ()
    assert refused_changes(first, second) == ()
    assert changes(first, replace(second, line=77)) == ()


def test_what_may_change_is_named_without_secrets_or_persons() -> None:
    new = plan_of(amount="12900", order_name="Pro", customer_name="박바다", customer_phone="", billing_key="k" * 48)

    assert changes(plan_of(), new) == (
        Change("customer_name", "given", "given"),
        Change("customer_phone", "given", "none"),
        Change("billing_key", "BillingKey(len=48)", "BillingKey(len=48)"),
        Change("order_name", "Pro 월간 이용권", "Pro"),
        Change("amount", "9900", "12900"),
    )
    assert refused_changes(plan_of(), new) == ()


@pytest.mark.parametrize(
    ("column", "cell", "named"),
    [
        ("anchor_on", "2026-01-30", "anchor_on"),
        ("anchor_on", "2025-12-31", "anchor_on"),
        ("period_unit", "year", "period_unit"),
        ("period_count", "2", "period_count"),
        ("zone", "UTC", "zone"),
        ("charge_at", "11:00", "charge_at"),
        ("start_on", "2026-03-01", "start_on"),
    ],
)
def test_what_would_move_a_date_is_refused_with_its_line(column: str, cell: str, named: str) -> None:
    faults = refused_changes(plan_of(), plan_of(**{column: cell}))

    assert [(fault.line, fault.column) for fault in faults] == [(2, named)]
    assert "moves dates" in faults[0].reason


def test_another_currency_is_another_subscription() -> None:
    won = plan_of()

    (fault,) = refused_changes(won, replace(won, price=Money(9900, "USD")))

    assert fault.column == "currency"


def test_only_another_currency_is_called_other_money() -> None:
    won = plan_of()

    (money,) = refused_changes(won, replace(won, price=Money(9900, "USD")))
    (zone,) = refused_changes(won, plan_of(zone="UTC"))

    assert (money.column, money.reason) == ("currency", "cannot change; end this subscription and add another")
    assert (zone.column, zone.reason) == ("zone", "moves dates; end this subscription and add another")


def test_the_mode_may_change() -> None:
    assert changes(plan_of(), plan_of(mode="schedule")) == (Change("mode", "charge", "schedule"),)
    assert refused_changes(plan_of(), plan_of(mode="schedule")) == ()


def test_another_payer_is_a_change_and_no_address_is_quoted() -> None:
    first, new = plan_of(customer_email="a@example.com"), plan_of(customer_id="cust-2", customer_email="b@example.com")

    assert changes(first, new) == (
        Change("customer_id", "cust-1", "cust-2"),
        Change("customer_email", "given", "given"),
    )
