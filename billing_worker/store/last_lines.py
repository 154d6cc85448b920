"""The schema's last lines: the unique indexes and the triggers that hold when everything above them is wrong.

An index that was dropped in a hurry, or left invalid by a rebuild that failed, lets a second payment in and says
nothing. A test compares what is listed here with the schema.
"""

import re
from dataclasses import dataclass

from billing_worker.store.db import Executor

UNIQUE_INDEXES = {
    "attempts_idempotency_key": "attempts (shard, idempotency_key)",
    "attempts_number": "attempts (shard, cycle_id, attempt_number)",
    "attempts_one_open": "attempts (shard, cycle_id) WHERE (status = 'open'::text)",
    "attempts_one_paid": "attempts (shard, cycle_id) WHERE (status = 'paid'::text)",
    "attempts_pkey": "attempts (shard, attempt_id)",
    "control_pkey": "control (name)",
    "cycles_number": "cycles (shard, subscription_id, cycle_number)",
    "cycles_payment_id": "cycles (shard, payment_id)",
    "cycles_pkey": "cycles (shard, cycle_id)",
    "deployment_pkey": "deployment (version)",
    "differences_one_open": "differences (class, payment_id, schedule_id) WHERE (ended_at IS NULL)",
    "differences_pkey": "differences (difference_id)",
    "ledger_heads_pkey": "ledger_heads (shard, subscription_id)",
    "ledger_one_paid": "ledger (shard, cycle_id) WHERE (kind = 'paid'::text)",
    "ledger_one_transaction": "ledger (shard, pg_tx_id) WHERE (kind = 'paid'::text)",
    "ledger_pkey": "ledger (shard, subscription_id, sequence)",
    "outbox_pkey": "outbox (shard, event_id)",
    "positions_pkey": "positions (name)",
    "schema_migrations_pkey": "schema_migrations (version)",
    "subscriptions_business_key": "subscriptions (shard, business_key)",
    "subscriptions_pkey": "subscriptions (shard, subscription_id)",
    "webhook_inbox_pkey": "webhook_inbox (webhook_id)",
}

_CHANGE = "EXECUTE FUNCTION billing.refuse_change()"
_OTHER_PRICE = (
    "(((new.status <> 'due'::text) OR (new.mode <> 'schedule'::text)) AND "
    "((new.amount_minor <> old.amount_minor) OR (new.order_name <> old.order_name)))"
)
TRIGGERS = {
    "cycles_price": "BEFORE UPDATE OF amount_minor, order_name ON billing.cycles FOR EACH ROW "
    f"WHEN ({_OTHER_PRICE}) EXECUTE FUNCTION billing.keep_price()",
    "ledger_append_only": f"BEFORE DELETE OR UPDATE ON billing.ledger FOR EACH STATEMENT {_CHANGE}",
    "ledger_chain": "BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION billing.chain_entry()",
    "ledger_no_truncate": f"BEFORE TRUNCATE ON billing.ledger FOR EACH STATEMENT {_CHANGE}",
}

# How an index is stored, which keeps nothing in or out.
_STORAGE = re.compile(r" WITH \([^()]*\)")

_ALWAYS = "A"  # of pg_trigger.tgenabled: also for a session that says it is a replica's


@dataclass(frozen=True, slots=True)
class _Found:
    definition: str
    sound: bool


async def missing_last_lines(db: Executor) -> list[str]:
    """Which index or trigger does not stand as it should, and what mends it; empty where all do."""
    indexes = {row["name"]: _Found(row["definition"], row["sound"]) for row in await db.fetch("index_states")}
    triggers = {
        row["name"]: _Found(row["definition"], row["enabled"] == _ALWAYS) for row in await db.fetch("trigger_states")
    }
    return [
        *(fault for name in UNIQUE_INDEXES if (fault := _index_fault(name, indexes.get(name)))),
        *(fault for name in TRIGGERS if (fault := _trigger_fault(name, triggers.get(name)))),
    ]


def index_definition(name: str) -> str:
    """The SQL that makes the index, as Postgres writes it."""
    table, columns = UNIQUE_INDEXES[name].split(" ", 1)
    return f"CREATE UNIQUE INDEX {name} ON billing.{table} USING btree {columns}"


def trigger_definition(name: str) -> str:
    """The SQL that makes the trigger, as Postgres writes it."""
    return f"CREATE TRIGGER {name} {TRIGGERS[name]}"


def trigger_table(name: str) -> str:
    """The table that the trigger is on."""
    return TRIGGERS[name].partition(" ON billing.")[2].partition(" ")[0]


def _index_fault(name: str, found: _Found | None) -> str:
    wanted = index_definition(name)
    if found is None:
        return f"the unique index {name} is missing: {wanted}"
    if _without_storage(found.definition) != wanted:
        return f"the unique index {name} is another one: put back {wanted}"
    return "" if found.sound else f"the unique index {name} is not valid: REINDEX INDEX billing.{name}"


def _without_storage(definition: str) -> str:
    head, where, predicate = definition.partition(" WHERE ")
    return _STORAGE.sub("", head) + where + predicate


def _trigger_fault(name: str, found: _Found | None) -> str:
    always = f"ALTER TABLE billing.{trigger_table(name)} ENABLE ALWAYS TRIGGER {name}"
    if found is None:
        return f"the trigger {name} is missing: {trigger_definition(name)}; {always}"
    if found.definition != trigger_definition(name):
        return f"the trigger {name} is another one: put back {trigger_definition(name)}; {always}"
    return "" if found.sound else f"the trigger {name} is not always enabled: {always}"
