-- Why: the worker gets what it needs and no change to a ledger row; the auditor reads, and never a billing key.
-- Locks: none that matter.

GRANT USAGE ON SCHEMA billing TO billing_worker, billing_auditor;

GRANT SELECT, INSERT ON billing.subscriptions, billing.cycles, billing.attempts, billing.ledger, billing.outbox TO billing_worker;
-- Never what a payment is: its id, amount, currency, dates, key and owner stay as they were written.
GRANT UPDATE (status, claimable_at, claim_epoch, fruitless_claims, attempts_count, declines_count, first_declined_at, held_reason,
              paid_at) ON billing.cycles TO billing_worker;
GRANT UPDATE (status, request_body, last_sent_at, look_at, look_epoch, looks, settled_at, source, transaction_id, pg_tx_id, paid_at,
              decline_code, decline_message, verified_at, contradiction) ON billing.attempts TO billing_worker;
GRANT UPDATE (customer_id, customer_name, customer_phone, customer_email, billing_key, order_name, amount_minor, status, held_reason,
              next_cycle_number, next_due_at, changed_at) ON billing.subscriptions TO billing_worker;
GRANT SELECT, INSERT, UPDATE ON billing.control TO billing_worker;
GRANT SELECT, INSERT ON billing.deployment TO billing_worker;
GRANT SELECT ON billing.ledger_heads, billing.schema_migrations TO billing_worker, billing_auditor;

GRANT SELECT ON billing.ledger, billing.control, billing.outbox, billing.deployment TO billing_auditor;
GRANT SELECT ON billing.subscription_list, billing.cycle_list, billing.attempt_list, billing.due_now, billing.open_attempts,
    billing.past_due, billing.exceptions, billing.ledger_entries, billing.collected_by_day, billing.last_day,
    billing.double_entries TO billing_worker, billing_auditor;
