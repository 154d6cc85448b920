"""The twin's tables as the migrations make them: their unique indexes, their CHECKs and what is lively in each."""

import re
from collections.abc import Callable, Hashable
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tests.simulation.store_twin_tables import (
    RESTRICT,
    Check,
    Journal,
    Row,
    Table,
    Unique,
    refused,
)

AMOUNT_MAX = 1_000_000_000
MODES = frozenset({"charge", "schedule"})
_PAYMENT_ID = re.compile(r"[0-9a-z]{30}")
_BILLING_KEY = re.compile(r"[!-~]{1,200}")


@cache
def _zone_known(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    return True


def _zone_holds(row: Row) -> bool:
    if not _zone_known(row["zone"]):
        raise refused("InvalidParameterValueError 22023")
    return True


_SUBSCRIPTION_REQUIRED = (
    "shard", "business_key", "customer_id", "customer_name", "customer_phone", "customer_email", "billing_key",
    "order_name", "amount_minor", "mode", "currency", "period_unit", "period_count", "anchor_on", "zone", "charge_at",
    "first_cycle_number", "next_due_at",
)  # fmt: skip


def subscriptions_table(journal: Journal) -> Table:
    """billing.subscriptions. Lively are those that may renew."""
    return Table(
        "subscriptions",
        "subscription_id",
        journal,
        uniques=(Unique("subscriptions_business_key", lambda row: (row["shard"], row["business_key"])),),
        checks=(
            Check("subscriptions_shard", lambda row: 0 <= row["shard"] <= 63),
            Check("subscriptions_amount", lambda row: 1 <= row["amount_minor"] <= AMOUNT_MAX, moving=True),
            Check("subscriptions_period_unit", lambda row: row["period_unit"] in {"day", "week", "month", "year"}),
            Check("subscriptions_period_count", lambda row: 1 <= row["period_count"] <= 366),
            Check("subscriptions_mode", lambda row: row["mode"] in MODES, moving=True),
            Check("subscriptions_status", lambda row: row["status"] in {"active", "held", "cancelled"}, moving=True),
            Check(
                "subscriptions_held", lambda row: row["status"] != "held" or row["held_reason"] is not None, moving=True
            ),
            Check(
                "subscriptions_next_cycle",
                lambda row: 1 <= row["first_cycle_number"] <= row["next_cycle_number"],
                moving=True,
            ),
            Check("subscriptions_business_key_form", lambda row: 1 <= len(row["business_key"]) <= 120),
            Check(
                "subscriptions_billing_key_form",
                lambda row: bool(_BILLING_KEY.fullmatch(row["billing_key"])),
                moving=True,
            ),
            Check("subscriptions_order_name_form", lambda row: 1 <= len(row["order_name"]) <= 256, moving=True),
            Check("subscriptions_currency", lambda row: row["currency"] in {"KRW", "USD", "JPY"}),
            Check("subscriptions_zone", _zone_holds),
        ),
        required=_SUBSCRIPTION_REQUIRED,
        lively_if=lambda row: row["status"] == "active",
    )


def cycles_table(journal: Journal) -> Table:
    """billing.cycles. Lively are those that are due."""
    statuses = {"due", "collecting", "paid", "given_up", "held", "skipped"}
    return Table(
        "cycles",
        "cycle_id",
        journal,
        uniques=(
            Unique("cycles_number", lambda row: (row["shard"], row["subscription_id"], row["cycle_number"])),
            Unique("cycles_payment_id", lambda row: (row["shard"], row["payment_id"])),
        ),
        checks=(
            Check("cycles_payment_id_form", lambda row: bool(_PAYMENT_ID.fullmatch(row["payment_id"]))),
            Check("cycles_period", lambda row: row["period_end_on"] > row["period_start_on"]),
            Check("cycles_amount", lambda row: 1 <= row["amount_minor"] <= AMOUNT_MAX, moving=True),
            Check("cycles_mode", lambda row: row["mode"] in MODES),
            Check("cycles_status", lambda row: row["status"] in statuses, moving=True),
            Check("cycles_paid", lambda row: (row["status"] == "paid") == (row["paid_at"] is not None), moving=True),
            Check("cycles_held", lambda row: row["status"] != "held" or row["held_reason"] is not None, moving=True),
        ),
        required=("order_name", "mode", "store_id", "claimable_at"),
        lively_if=lambda row: row["status"] == "due",
        before_update=_keep_price,
    )


def _keep_price(old: Row, new: Row) -> None:
    """The trigger cycles_price."""
    open_to_change = new["status"] == "due" and new["mode"] == "schedule"
    same = (old["amount_minor"], old["order_name"]) == (new["amount_minor"], new["order_name"])
    # As the booking that paid it; that there is one with this price, settle_attempts sees to.
    paid = new["status"] == "paid" and new["mode"] == "schedule" and old["order_name"] == new["order_name"]
    if not (open_to_change or same or paid):
        raise refused(RESTRICT)


def attempts_table(journal: Journal) -> Table:
    """billing.attempts. Lively are those that are to be looked at."""

    def cycle_if(status: str) -> Callable[[Row], Hashable | None]:
        return lambda row: (row["shard"], row["cycle_id"]) if row["status"] == status else None

    statuses = {"open", "paid", "declined", "refused", "voided", "revoked"}
    reasons = {None, "cancelled", "price", "card", "held", "skipped", "retried"}
    return Table(
        "attempts",
        "attempt_id",
        journal,
        uniques=(
            Unique("attempts_number", lambda row: (row["shard"], row["cycle_id"], row["attempt_number"])),
            Unique("attempts_idempotency_key", lambda row: (row["shard"], row["idempotency_key"])),
            Unique("attempts_one_open", cycle_if("open"), partial=True),
            Unique("attempts_one_paid", cycle_if("paid"), partial=True),
        ),
        checks=(
            Check("attempts_status", lambda row: row["status"] in statuses, moving=True),
            Check("attempts_source", lambda row: row["source"] in {None, "answer", "look", "operator"}, moving=True),
            Check(
                "attempts_body", lambda row: (row["status"] == "open") == (row["request_body"] is not None), moving=True
            ),
            Check(
                "attempts_settled", lambda row: (row["status"] == "open") == (row["settled_at"] is None), moving=True
            ),
            Check(
                "attempts_booking",
                lambda row: (
                    row["time_to_pay"] is not None
                    or (row["schedule_id"] is None and row["revoke_reason"] is None and row["status"] != "revoked")
                ),
                moving=True,
            ),
            Check("attempts_revoke_reason", lambda row: row["revoke_reason"] in reasons, moving=True),
            Check("attempts_asked", lambda row: row["status"] != "open" or row["look_at"] is not None, moving=True),
        ),
        required=("request_sha256", "opened_at", "last_sent_at", "worker"),
        lively_if=lambda row: row["look_at"] is not None,
    )


def outbox_table(journal: Journal) -> Table:
    """billing.outbox."""
    return Table("outbox", "event_id", journal)
