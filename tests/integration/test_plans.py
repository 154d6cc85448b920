"""The plans of the queries that a sweep repeats or a person asks: others' rows must cost nothing.

Each is read with the server's own settings, once for these values and once for any: a session keeps the latter. A shard
of a big shop: 100,000 subscriptions and 200,000 cycles that are not due, a thousand that are.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from billing_worker.store import db
from tests.conftest import DatabaseUrls, changed_url, execute

NOW = "timestamptz '2026-03-01 12:00+00'"
FILL = """
SET synchronous_commit = off;
SET session_replication_role = replica;
INSERT INTO billing.subscriptions (shard, business_key, customer_id, billing_key, order_name, amount_minor, anchor_on, mode, next_due_at)
SELECT n % 4, 'sub-' || n, 'c', 'bk-ok-' || n, 'x', 9900, '2026-01-31', CASE WHEN n % 97 = 0 THEN 'schedule' ELSE 'charge' END,
       '2026-03-02 00:00+00'::timestamptz + n * interval '20 seconds' - CASE WHEN n % 200 = 0 THEN interval '60 days' ELSE '0' END
FROM generate_series(1, 100000) AS n;
INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency,
                            order_name, store_id, payment_id, status, claimable_at, paid_at)
SELECT shard, subscription_id, number, '2026-01-31', '2026-02-28', now(), 9900, 'KRW', 'x', 'store-test',
       'rb1' || lpad((subscription_id * 10 + number)::text, 27, '0'),
       CASE WHEN number = 1 THEN 'paid' ELSE 'due' END,
       '2026-03-02 00:00+00'::timestamptz + subscription_id * interval '20 seconds'
           - CASE WHEN subscription_id % 200 = 1 THEN interval '60 days' ELSE '0' END,
       CASE WHEN number = 1 THEN now() END
FROM billing.subscriptions CROSS JOIN generate_series(1, 3) AS number;
INSERT INTO billing.attempts (shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor, currency,
                              status, request_body, request_sha256, opened_at, last_sent_at, look_at, settled_at, source)
SELECT shard, cycle_id, subscription_id, 1, payment_id, payment_id, 9900, 'KRW', 'paid', NULL, 'x', now(), now(),
       CASE WHEN cycle_id % 2 = 0 THEN '2026-03-02 00:00+00'::timestamptz WHEN cycle_id % 501 = 0 THEN '2026-03-01'::timestamptz END,
       now(), 'answer'
FROM billing.cycles WHERE status = 'paid';
INSERT INTO billing.attempts (shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor, currency,
                              status, request_body, request_sha256, opened_at, last_sent_at, look_at, settled_at, source)
SELECT shard, cycle_id, subscription_id, 1, payment_id, payment_id, 9900, 'KRW', 'declined', NULL, 'x', now(), now(), NULL, now(), 'answer'
FROM billing.cycles WHERE cycle_number = 2;
UPDATE billing.cycles SET status = CASE WHEN subscription_id % 2 = 0 THEN 'held' ELSE 'collecting' END, held_reason = 'x'
WHERE cycle_number = 2 AND subscription_id % 997 = 0;
UPDATE billing.attempts a SET status = 'open', request_body = 'x', settled_at = NULL, look_at = '2026-03-02 00:00+00'
FROM billing.cycles c WHERE c.shard = a.shard AND c.cycle_id = a.cycle_id AND c.status IN ('held', 'collecting');
UPDATE billing.attempts SET time_to_pay = '2026-03-02 00:00+00' WHERE status = 'open' AND subscription_id % 3 = 0;
UPDATE billing.attempts SET contradiction = 'x' WHERE status = 'paid' AND cycle_id % 5003 = 0;
UPDATE billing.subscriptions SET status = 'held', held_reason = 'x' WHERE subscription_id % 4999 = 0;
INSERT INTO billing.ledger (shard, subscription_id, kind, source, recorded_at, sequence, previous_hash, entry_hash)
SELECT shard, subscription_id, 'operator', 'operator', now(), 0, '', ''
FROM billing.subscriptions CROSS JOIN generate_series(1, 2) WHERE subscription_id <= 5000;
INSERT INTO billing.ledger (shard, subscription_id, kind, source, recorded_at, sequence, previous_hash, entry_hash)
SELECT shard, subscription_id, 'operator', 'operator', now(), 0, '', ''
FROM billing.subscriptions CROSS JOIN generate_series(1, 1000) WHERE business_key = 'sub-777';
INSERT INTO billing.webhook_inbox (webhook_id, event_type, payment_id, sent_at, received_at, read_at, result)
SELECT 'wh-' || n, 'Transaction.Paid', 'rb1' || lpad((n * 10 + 1)::text, 27, '0'), now(), now() - n * interval '1 minute',
       CASE WHEN n % 500 > 0 THEN now() END, CASE WHEN n % 500 > 0 THEN 'ordered' END
FROM generate_series(1, 100000) AS n;
RESET session_replication_role;
ANALYZE billing.subscriptions, billing.cycles, billing.attempts, billing.ledger, billing.ledger_heads, billing.webhook_inbox;
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Repeated:
    """A query that is asked often, the indexes that must carry it, and how many pages it may touch at most."""

    name: str
    arguments: tuple[str, ...]
    indexes: frozenset[str]
    pages_max: int


LEAD = f"{NOW} + interval '3 days'"
SOON = f"{NOW} + interval '1 minute'"
REPEATED = [
    Repeated("shards_due", (NOW, "'store-test'"), frozenset({"cycles_claimable"}), 400),
    Repeated(
        "claim_due_cycles",
        ("1::smallint", NOW, SOON, "50", "false", "'store-test'"),
        frozenset({"cycles_claimable"}),
        3000,
    ),
    Repeated("shards_to_look", (NOW,), frozenset({"attempts_to_look"}), 400),
    Repeated("claim_looks", ("1::smallint", NOW, SOON, "20"), frozenset({"attempts_to_look"}), 1500),
    Repeated("shards_to_renew", (NOW, LEAD), frozenset({"subscriptions_due", "subscriptions_to_book"}), 600),
    # Enough of a batch that what is owed leaves room for what is to be booked.
    Repeated(
        "lock_due_subscriptions",
        ("1::smallint", NOW, "400", LEAD),
        frozenset({"subscriptions_due", "subscriptions_to_book"}),
        1500,
    ),
    Repeated(
        "backlog",
        (NOW,),
        frozenset({"subscriptions_due", "cycles_claimable", "cycles_unfinished", "attempts_one_open"}),
        2500,
    ),
]

SHARDS = f"'{{{','.join(str(n) for n in range(64))}}}'::smallint[]"
ONE_PAYMENT = "'rb1' || lpad('7771', 27, '0')"
ASKED = [
    Repeated("show_attempts", (SHARDS, ONE_PAYMENT), frozenset({"cycles_payment_id", "attempts_number"}), 300),
    Repeated("look_soon", (SHARDS, ONE_PAYMENT, NOW), frozenset({"cycles_payment_id", "attempts_number"}), 300),
    # 20 hints, each with 64 probes of an index for its cycle.
    Repeated(
        "read_hints",
        (SHARDS, NOW, "20"),
        frozenset({"webhook_inbox_unread", "cycles_payment_id", "attempts_number"}),
        20 * 64 * 3 + 1000,
    ),
    Repeated(
        "order_looks",
        (SHARDS, f"ARRAY[{ONE_PAYMENT}]", f"ARRAY[{NOW}]", "'{t}'", "'{t}'", "'30 seconds'", NOW),
        frozenset({"cycles_payment_id", "attempts_number"}),
        300,
    ),
    Repeated("our_cycles", (SHARDS, f"ARRAY[{ONE_PAYMENT}]"), frozenset({"cycles_payment_id", "attempts_number"}), 300),
    Repeated("paid_between", (NOW, SOON, "'store-test'", "'{x}'", "50"), frozenset({"attempts_paid"}), 300),
    Repeated("booked_between", (NOW, SOON, SOON, "'store-test'", "'{x}'", "50"), frozenset({"attempts_to_pay"}), 300),
    Repeated("unread_hints", ("1000",), frozenset({"webhook_inbox_unread"}), 300),
    Repeated("forget_hints", (f"{NOW} - interval '1 day'", "50"), frozenset({"webhook_inbox_received"}), 3000),
    Repeated("skip_cycle", (SHARDS, ONE_PAYMENT, "'x'", "'x'", NOW, NOW), frozenset({"cycles_payment_id"}), 300),
    Repeated("retry_cycle", (SHARDS, ONE_PAYMENT, "'x'", "'x'", NOW), frozenset({"cycles_payment_id"}), 300),
    # By payment_id, or by the few that are being collected: whichever are fewer pages.
    Repeated("hold_cycle", (SHARDS, ONE_PAYMENT, "'x'", "'x'", NOW), frozenset(), 300),
    Repeated("accept_cycle", (SHARDS, ONE_PAYMENT, "'x'", "'x'"), frozenset({"cycles_payment_id"}), 300),
    Repeated(
        "cancel_subscription",
        ("1::smallint", "'sub-777'", "'x'", "'x'", NOW),
        frozenset({"cycles_number", "attempts_booked"}),
        300,
    ),
    Repeated(
        "change_subscriptions",
        (
            "'{1,1}'",
            "'{777,781}'",
            "'{c,c}'",
            "'{n,n}'",
            "'{p,p}'",
            "'{e,e}'",
            "'{bk-new,bk-new}'",
            "'{x,x}'",
            "'{1,2}'",
            "'{charge,charge}'",
            NOW,
        ),
        frozenset({"subscriptions_pkey", "cycles_number", "attempts_booked"}),
        300,
    ),
    Repeated(
        "list_exceptions",
        ("100",),
        frozenset({"cycles_unfinished", "subscriptions_held", "attempts_contradicted"}),
        1500,
    ),
    Repeated("list_subscriptions", ("NULL", "'sub-5'", "100"), frozenset({"subscriptions_by_key"}), 300),
    Repeated("tail_ledger", ("NULL", "20"), frozenset({"ledger_recorded"}), 300),
    Repeated(
        "tail_subscription",
        ("1::smallint", "'sub-777'", "NULL", "20"),
        frozenset({"ledger_pkey"}),
        60,
    ),
    Repeated("chain_lengths", ("1::smallint", "100", "50"), frozenset({"ledger_heads_pkey"}), 1000),
    Repeated("read_chains", ("1::smallint", "800", "1000"), frozenset({"ledger_pkey"}), 300),
    Repeated("read_cycles", ("1::smallint", "800", "1000"), frozenset({"cycles_number"}), 1500),
    Repeated("read_attempts", ("1::smallint", "800", "1000"), frozenset({"cycles_number", "attempts_number"}), 3000),
]


@pytest.fixture(scope="module")
def big_database(postgres_server: str, template_database: str) -> Iterator[DatabaseUrls]:
    """One database for all of them: filling it takes seconds."""
    name = f"{template_database}_big"
    execute(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    urls = DatabaseUrls(name=name, admin_url=changed_url(postgres_server, database=name))
    execute(urls.admin_url, FILL)
    yield urls
    execute(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def admin(big_database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(big_database.admin_url, server_settings={"jit": "off"})
    yield connection
    await connection.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


async def plan_of(admin: Any, query: Repeated, mode: str) -> dict[str, Any]:
    """The plan that was really run; what it changed is rolled back."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await admin.execute(f"PREPARE probe AS {db.queries()[query.name]}")
        text = await admin.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE probe ({', '.join(query.arguments)})"
        )
    finally:
        await transaction.rollback()
        await admin.execute("DEALLOCATE probe")
    found: dict[str, Any] = json.loads(text)[0]["Plan"]
    return found


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("query", REPEATED, ids=lambda query: query.name)
async def test_a_sweep_s_query_costs_what_is_due_and_not_what_is_there(admin: Any, query: Repeated, mode: str) -> None:
    plan = await plan_of(admin, query, mode)

    used = {node.get("Index Name", "") for node in nodes(plan)}
    scanned = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
    assert query.indexes <= used
    assert scanned == []
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < query.pages_max


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.name)
async def test_a_person_s_question_costs_what_it_is_about_and_not_what_is_there(
    admin: Any, query: Repeated, mode: str
) -> None:
    await admin.execute("SET enable_seqscan = off; SET random_page_cost = 1.1")  # as every connection of ours has it

    plan = await plan_of(admin, query, mode)

    used = {node.get("Index Name", "") for node in nodes(plan)}
    scanned = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
    assert query.indexes <= used
    assert scanned == []
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < query.pages_max
