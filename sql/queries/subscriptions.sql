-- name: shards_to_renew
-- Which shards have a subscription whose next period has come: one index probe a shard.
SELECT s.shard::smallint AS shard
FROM generate_series(0, 63) AS s (shard)
WHERE EXISTS (
    SELECT 1 FROM billing.subscriptions
    WHERE shard = s.shard::smallint AND status = 'active' AND next_due_at <= $1
);

-- name: lock_due_subscriptions
-- No lower bound on the time: an outage delays a period, it never skips one. Locked until the cycles are in, so that two
-- renewers never open the same one; the unique constraint stands behind that. NO KEY, so that no ledger entry waits for us.
SELECT shard, subscription_id, business_key, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone,
       charge_at, next_cycle_number
FROM billing.subscriptions
WHERE shard = $1 AND status = 'active' AND next_due_at <= $2
ORDER BY next_due_at
LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED;

-- name: open_cycles
-- Opens one cycle a subscription and moves the subscription to its next period, in one statement. An id alone is not trusted:
-- after a failover it may be another subscription's, and the payment_id would be collected from the wrong customer.
WITH input AS (
    SELECT *
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::integer[], $5::date[], $6::date[], $7::timestamptz[], $8::bigint[],
                $9::text[], $10::text[], $11::text[], $12::timestamptz[])
        AS i (shard, subscription_id, business_key, cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency, order_name,
              payment_id, next_due_at)
), opened AS (
    INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor,
                                currency, order_name, store_id, payment_id, claimable_at)
    SELECT i.shard, i.subscription_id, i.cycle_number, i.period_start_on, i.period_end_on, i.due_at, i.amount_minor, i.currency,
           i.order_name, $13, i.payment_id, i.due_at
    FROM input i
    JOIN billing.subscriptions s ON s.shard = i.shard AND s.subscription_id = i.subscription_id
    WHERE s.business_key = i.business_key
    RETURNING cycle_id
), advanced AS (
    UPDATE billing.subscriptions s SET next_cycle_number = i.cycle_number + 1, next_due_at = i.next_due_at
    FROM input i
    WHERE s.shard = i.shard AND s.subscription_id = i.subscription_id AND s.business_key = i.business_key
      AND s.next_cycle_number = i.cycle_number
)
SELECT count(*) AS cycles FROM opened;

-- name: hold_subscription
-- Its next period cannot be worked out. Set aside, so that it does not stand before the others for ever.
WITH held AS (
    UPDATE billing.subscriptions SET status = 'held', held_reason = $3, changed_at = clock_timestamp()
    WHERE shard = $1 AND subscription_id = $2 AND status = 'active'
    RETURNING shard, subscription_id
)
INSERT INTO billing.ledger (shard, subscription_id, kind, code, source, actor, recorded_at, sequence, previous_hash, entry_hash)
SELECT shard, subscription_id, 'held', $3, 'rule', $4, clock_timestamp(), 0, '', ''
FROM held;

-- name: resume_subscription
-- A person has mended what kept a subscription from renewing.
WITH resumed AS (
    UPDATE billing.subscriptions SET status = 'active', held_reason = NULL, changed_at = clock_timestamp()
    WHERE shard = $1 AND business_key = $2 AND status = 'held'
    RETURNING shard, subscription_id
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, code, message, source, actor, recorded_at, sequence,
                                previous_hash, entry_hash)
    SELECT shard, subscription_id, 'operator', 'resumed', $3, 'operator', $4, clock_timestamp(), 0, '', ''
    FROM resumed
)
SELECT count(*) AS resumed FROM resumed;

-- name: find_subscriptions
-- Locked in the weaker way: the foreign keys of entries and cycles must not wait for a long import.
-- The rows that an import or an edit compares itself with. They hold billing keys: for the worker's role only.
-- NO KEY, so that no verdict waits for an import to commit.
SELECT shard, subscription_id, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name,
       amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at, status, first_cycle_number, next_cycle_number
FROM billing.subscriptions
WHERE shard = ANY ($1::smallint[]) AND business_key = ANY ($2::text[])
ORDER BY shard, subscription_id
FOR NO KEY UPDATE;

-- name: add_subscriptions
INSERT INTO billing.subscriptions (shard, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key,
                                   order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at,
                                   first_cycle_number, next_cycle_number, next_due_at)
SELECT shard, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name, amount_minor,
       currency, period_unit, period_count, anchor_on, zone, charge_at, first_cycle_number, first_cycle_number, next_due_at
FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
            $10::text[], $11::text[], $12::smallint[], $13::date[], $14::text[], $15::time[], $16::integer[], $17::timestamptz[])
    AS i (shard, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name, amount_minor,
          currency, period_unit, period_count, anchor_on, zone, charge_at, first_cycle_number, next_due_at)
RETURNING shard, subscription_id, business_key;

-- name: change_subscriptions
-- What an import may change; neither the anchor nor a date is among it. Open cycles keep their amount.
UPDATE billing.subscriptions s
SET customer_id = i.customer_id, customer_name = i.customer_name, customer_phone = i.customer_phone,
    customer_email = i.customer_email, billing_key = i.billing_key, order_name = i.order_name, amount_minor = i.amount_minor,
    changed_at = clock_timestamp()
FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[])
    AS i (shard, subscription_id, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name,
          amount_minor)
WHERE s.shard = i.shard AND s.subscription_id = i.subscription_id;

-- name: list_subscriptions
SELECT business_key, customer_id, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at,
       status, next_cycle_number, next_due_at
FROM billing.subscription_list
WHERE ($1::text IS NULL OR status = $1) AND business_key > $2
ORDER BY business_key
LIMIT $3;

-- name: show_subscription
SELECT business_key, customer_id, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at,
       status, next_cycle_number, next_due_at, created_at, changed_at
FROM billing.subscription_list
WHERE shard = $1 AND business_key = $2;

-- name: list_cycles
SELECT cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency, payment_id, status, attempts_count,
       declines_count, claimable_at, held_reason, paid_at
FROM billing.cycle_list
WHERE shard = $1 AND business_key = $2
ORDER BY cycle_number DESC
LIMIT $3;

-- name: cancel_subscription
-- A cycle that is due and not yet being collected goes with it; one whose intent has committed is left to its outcome.
-- The entries say who and why.
WITH cancelled AS (
    UPDATE billing.subscriptions SET status = 'cancelled', held_reason = NULL, changed_at = clock_timestamp()
    WHERE shard = $1 AND business_key = $2 AND status IN ('active', 'held')
    RETURNING shard, subscription_id
), skipped AS (
    UPDATE billing.cycles c SET status = 'skipped'
    FROM cancelled
    WHERE c.shard = cancelled.shard AND c.subscription_id = cancelled.subscription_id AND c.status = 'due'
    RETURNING c.shard, c.subscription_id, c.cycle_id, c.payment_id, c.currency
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, payment_id, currency, code, message, source, actor,
                                recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, kind, cycle_id, payment_id, currency, 'cancelled', $3, 'operator', $4,
           clock_timestamp(), 0, '', ''
    FROM (
        SELECT shard, subscription_id, 'operator' AS kind, NULL::bigint AS cycle_id, NULL AS payment_id, NULL::char(3) AS currency
        FROM cancelled
        UNION ALL
        SELECT shard, subscription_id, 'skipped', cycle_id, payment_id, currency FROM skipped
    ) AS rows
)
SELECT (SELECT count(*) FROM cancelled) AS cancelled, (SELECT count(*) FROM skipped) AS skipped;
