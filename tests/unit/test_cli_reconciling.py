"""How what PortOne has is compared with what we have."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from billing_worker.billing.outcomes import Absent, Look, Payment, Unanswered
from billing_worker.cli.reconciling import Comparison, Verdict, compare

AT = datetime(2026, 3, 1, tzinfo=UTC)
PAID = Payment(
    status="PAID",
    transaction_id="t-1",
    amount_minor=9900,
    currency="KRW",
    store_id="store-1",
    is_test=False,
    requested_at=AT,
    changed_at=AT,
    pg_tx_id="pg-1",
    paid_at=AT,
)


def compared(look: Look, *, status: str, pg_tx_id: str | None = None) -> Comparison:
    ours: dict[str, Any] = {"status": status, "amount_minor": 9900, "currency": "KRW", "pg_tx_id": pg_tx_id}
    return compare(ours, look, store_id="store-1", live=True)


@pytest.mark.parametrize(
    ("status", "look", "verdict"),
    [
        ("paid", PAID, Verdict.EQUAL),
        ("paid", replace(PAID, status="CANCELLED"), Verdict.EQUAL),
        ("declined", replace(PAID, status="FAILED"), Verdict.EQUAL),
        ("voided", Absent(), Verdict.EQUAL),
        ("open", PAID, Verdict.OPEN),
        ("open", Absent(), Verdict.OPEN),
        ("open", replace(PAID, status="FAILED"), Verdict.OPEN),
        ("declined", replace(PAID, status="PAY_PENDING"), Verdict.OPEN),
        ("declined", PAID, Verdict.DIFFERENT),
        ("paid", Absent(), Verdict.DIFFERENT),
        ("paid", replace(PAID, status="FAILED"), Verdict.DIFFERENT),
        ("paid", Unanswered("no answer"), Verdict.UNANSWERED),
    ],
)
def test_the_two_sides_are_compared_by_their_statuses(status: str, look: Look, verdict: Verdict) -> None:
    assert compared(look, status=status).verdict is verdict


@pytest.mark.parametrize(
    ("look", "what"),
    [
        (replace(PAID, amount_minor=9901), "amount"),
        (replace(PAID, currency="USD"), "currency"),
        (replace(PAID, store_id="store-2"), "store"),
        (replace(PAID, is_test=True), "kind"),
        (replace(PAID, pg_tx_id="pg-2"), "PG transaction"),
    ],
)
@pytest.mark.parametrize("status", ["paid", "open"])
def test_a_payment_that_is_not_the_one_asked_for_is_different(look: Payment, what: str, status: str) -> None:
    comparison = compared(look, status=status, pg_tx_id="pg-1")

    assert comparison.verdict is Verdict.DIFFERENT
    assert any(difference.startswith(f"{what} is ") for difference in comparison.differences)
