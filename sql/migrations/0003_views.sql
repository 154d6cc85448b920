-- Why: the product's face for SQL: what is due, open, past due, held, collected. No view shows a billing key.
-- Locks: none that matter; every object is new.

CREATE VIEW billing.subscription_list AS
SELECT shard, subscription_id, business_key, customer_id, order_name, amount_minor, currency, period_unit, period_count,
       anchor_on, zone, charge_at, mode, status, next_cycle_number, next_due_at, created_at, changed_at
FROM billing.subscriptions;

CREATE VIEW billing.cycle_list AS
SELECT c.shard, c.cycle_id, c.subscription_id, s.business_key, c.cycle_number, c.period_start_on, c.period_end_on, c.due_at,
       c.amount_minor, c.currency, c.payment_id, c.status, c.attempts_count, c.declines_count, c.claimable_at, c.held_reason,
       c.paid_at
FROM billing.cycles c
JOIN billing.subscriptions s ON s.shard = c.shard AND s.subscription_id = c.subscription_id;

CREATE VIEW billing.attempt_list AS
SELECT a.shard, a.attempt_id, a.subscription_id, s.business_key, a.cycle_id, a.payment_id, a.attempt_number, a.idempotency_key,
       a.amount_minor, a.currency, a.status, a.source, a.opened_at, a.settled_at, a.look_at, a.looks, a.pg_tx_id, a.transaction_id,
       a.paid_at, a.decline_code, a.decline_message, a.verified_at, a.contradiction, a.worker,
       encode(a.request_sha256, 'hex') AS request_sha256
FROM billing.attempts a
JOIN billing.subscriptions s ON s.shard = a.shard AND s.subscription_id = a.subscription_id;

CREATE VIEW billing.due_now AS
SELECT business_key, cycle_number, due_at, claimable_at, amount_minor, currency, payment_id, attempts_count
FROM billing.cycle_list
WHERE status = 'due' AND claimable_at <= clock_timestamp();

CREATE VIEW billing.open_attempts AS
SELECT business_key, payment_id, attempt_number, amount_minor, currency, opened_at, clock_timestamp() - opened_at AS open_for,
       looks, look_at, worker
FROM billing.attempt_list
WHERE status = 'open';

CREATE VIEW billing.past_due AS
SELECT business_key, cycle_number, due_at, amount_minor, currency, declines_count, status,
       CASE WHEN status = 'due' THEN claimable_at END AS next_try_at, payment_id
FROM billing.cycle_list
WHERE status IN ('due', 'collecting', 'given_up') AND declines_count > 0;

-- What a person has to decide about.
CREATE VIEW billing.exceptions AS
SELECT business_key, cycle_number, due_at, amount_minor, currency, held_reason, payment_id
FROM billing.cycle_list
WHERE status = 'held'
UNION ALL
SELECT business_key, next_cycle_number, next_due_at, amount_minor, currency, held_reason, NULL
FROM billing.subscriptions
WHERE status = 'held'
UNION ALL
SELECT c.business_key, c.cycle_number, c.due_at, c.amount_minor, c.currency, a.contradiction, c.payment_id
FROM billing.attempts a
JOIN billing.cycle_list c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
WHERE a.contradiction IS NOT NULL AND c.status = 'paid';

CREATE VIEW billing.ledger_entries AS
SELECT l.shard, s.business_key, l.sequence, l.kind, l.cycle_id, l.attempt_id, l.payment_id, l.amount_minor, l.currency,
       l.pg_tx_id, l.code, l.message, l.source, l.actor, l.written_by, l.recorded_at
FROM billing.ledger l
JOIN billing.subscriptions s ON s.shard = l.shard AND s.subscription_id = l.subscription_id;

CREATE VIEW billing.collected_by_day AS
SELECT (recorded_at AT TIME ZONE 'Asia/Seoul')::date AS day_in_seoul, currency,
       count(*) FILTER (WHERE kind = 'paid') AS payments,
       coalesce(sum(amount_minor) FILTER (WHERE kind = 'paid'), 0) AS collected_minor,
       coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0) AS refunded_minor
FROM billing.ledger
WHERE kind IN ('paid', 'refunded')
GROUP BY 1, 2;

-- The run of last night: what the last twenty-four hours came to, by outcome.
CREATE VIEW billing.last_day AS
SELECT kind, source, currency, count(*) AS entries, sum(amount_minor) AS amount_minor, min(recorded_at) AS first_at,
       max(recorded_at) AS last_at
FROM billing.ledger
WHERE recorded_at > clock_timestamp() - interval '1 day'
GROUP BY kind, source, currency;

-- The double entry that the single entries imply: money owed by the PG against money owed by the customer.
CREATE VIEW billing.double_entries AS
SELECT l.shard, l.business_key, l.sequence, l.recorded_at, side.account, side.debit_minor, side.credit_minor, l.currency
FROM billing.ledger_entries l
CROSS JOIN LATERAL (VALUES
    ('pg_receivable', CASE l.kind WHEN 'paid' THEN l.amount_minor ELSE 0 END,
                      CASE l.kind WHEN 'refunded' THEN l.amount_minor ELSE 0 END),
    ('customer',      CASE l.kind WHEN 'refunded' THEN l.amount_minor ELSE 0 END,
                      CASE l.kind WHEN 'paid' THEN l.amount_minor ELSE 0 END)
) AS side (account, debit_minor, credit_minor)
WHERE l.kind IN ('paid', 'refunded');
