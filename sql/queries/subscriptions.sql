-- name: shards_to_renew
-- Which shards have a subscription whose next period has come, or is to be booked by now: two index probes a shard.
SELECT s.shard::smallint AS shard
FROM generate_series(0, 63) AS s (shard)
CROSS JOIN LATERAL (
    (SELECT 1 FROM billing.subscriptions
     WHERE shard = s.shard::smallint AND status = 'active' AND next_due_at <= $1
     ORDER BY next_due_at
     LIMIT 1)
    UNION ALL
    (SELECT 1 FROM billing.subscriptions
     WHERE shard = s.shard::smallint AND status = 'active' AND mode = 'schedule' AND next_due_at <= $2
     ORDER BY next_due_at
     LIMIT 1)
    LIMIT 1
) AS one;

-- name: lock_due_subscriptions
-- No lower bound on the time: an outage delays a period, it never skips one. Locked until the cycles are in, so that two
-- renewers never open the same one; the unique constraint stands behind that. NO KEY, so that no ledger entry waits for us.
-- What is owed comes before what is to be booked. They are searched apart: one search for both would read everything that is charged
-- within the lead.
WITH owed AS MATERIALIZED (
    SELECT shard, subscription_id, business_key, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone,
           charge_at, mode, next_cycle_number
    FROM billing.subscriptions
    WHERE shard = $1 AND status = 'active' AND next_due_at <= $2
    ORDER BY next_due_at
    LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
), to_book AS MATERIALIZED (
    SELECT shard, subscription_id, business_key, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone,
           charge_at, mode, next_cycle_number
    FROM billing.subscriptions
    WHERE shard = $1 AND status = 'active' AND mode = 'schedule' AND next_due_at > $2 AND next_due_at <= $4
    ORDER BY next_due_at
    LIMIT $3 - (SELECT count(*) FROM owed)
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT * FROM owed
UNION ALL
SELECT * FROM to_book;

-- name: open_cycles
-- Opens one cycle a subscription and moves the subscription to its next period, in one statement. An id alone is not trusted:
-- after a failover it may be another subscription's, and the payment_id would be collected from the wrong customer.
WITH input AS (
    SELECT *
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::integer[], $5::date[], $6::date[], $7::timestamptz[], $8::bigint[],
                $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::timestamptz[])
        AS i (shard, subscription_id, business_key, cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency, order_name,
              payment_id, next_due_at, mode, claimable_at)
), opened AS (
    INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor,
                                currency, order_name, mode, store_id, payment_id, claimable_at)
    SELECT i.shard, i.subscription_id, i.cycle_number, i.period_start_on, i.period_end_on, i.due_at, i.amount_minor, i.currency,
           i.order_name, i.mode, $15, i.payment_id, i.claimable_at
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
       amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at, mode, status, first_cycle_number,
       next_cycle_number
FROM billing.subscriptions
WHERE shard = ANY ($1::smallint[]) AND business_key = ANY ($2::text[])
ORDER BY shard, subscription_id
FOR NO KEY UPDATE;

-- name: add_subscriptions
INSERT INTO billing.subscriptions (shard, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key,
                                   order_name, amount_minor, mode, currency, period_unit, period_count, anchor_on, zone, charge_at,
                                   first_cycle_number, next_cycle_number, next_due_at)
SELECT shard, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name, amount_minor, mode,
       currency, period_unit, period_count, anchor_on, zone, charge_at, first_cycle_number, first_cycle_number, next_due_at
FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
            $10::text[], $11::text[], $12::text[], $13::smallint[], $14::date[], $15::text[], $16::time[], $17::integer[],
            $18::timestamptz[])
    AS i (shard, business_key, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name, amount_minor,
          mode, currency, period_unit, period_count, anchor_on, zone, charge_at, first_cycle_number, next_due_at)
RETURNING shard, subscription_id, business_key;

-- name: change_subscriptions
-- What an import may change; neither the anchor nor a date is among it. Open cycles keep their amount, except those that are opened
-- ahead to be booked: one whose time has not come takes the new price, and whoever has claimed it with the old price or card is
-- fenced off by the epoch; what is booked with either is to be taken back. Run it only with the subscriptions locked by a statement
-- before it, as find_subscriptions does: a booking that was being opened meanwhile must show here.
WITH input AS (
    SELECT *
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                $10::text[])
        AS i (shard, subscription_id, customer_id, customer_name, customer_phone, customer_email, billing_key, order_name,
              amount_minor, mode)
), changed AS (
    UPDATE billing.subscriptions s
    SET customer_id = i.customer_id, customer_name = i.customer_name, customer_phone = i.customer_phone,
        customer_email = i.customer_email, billing_key = i.billing_key, order_name = i.order_name, amount_minor = i.amount_minor,
        mode = i.mode, changed_at = clock_timestamp()
    FROM input i
    JOIN billing.subscriptions old ON old.shard = i.shard AND old.subscription_id = i.subscription_id
    WHERE s.shard = i.shard AND s.subscription_id = i.subscription_id
    RETURNING s.shard, s.subscription_id, s.amount_minor, s.order_name, old.billing_key <> s.billing_key AS other_card,
              old.amount_minor <> s.amount_minor OR old.order_name <> s.order_name AS other_price
), repriced AS (
    UPDATE billing.cycles c
    SET amount_minor = n.amount_minor, order_name = n.order_name, claim_epoch = c.claim_epoch + 1
    FROM changed n
    WHERE c.shard = n.shard AND c.subscription_id = n.subscription_id AND c.mode = 'schedule' AND c.status = 'due'
      AND c.due_at > $11 AND (n.other_price OR n.other_card)
)
UPDATE billing.attempts a
SET revoke_reason = CASE WHEN coalesce(a.revoke_reason, 'card') = 'card' AND n.other_price AND a.time_to_pay > $11 THEN 'price'
                         ELSE coalesce(a.revoke_reason, 'card') END,
    look_at = $11
FROM changed n
WHERE a.shard = n.shard AND a.subscription_id = n.subscription_id AND a.status = 'open' AND a.time_to_pay IS NOT NULL
  -- From its time on a cycle keeps its price, so that taking the booking back would change nothing. A price that came in time counts
  -- whenever its booking ends, and so it is the reason that stays.
  AND (n.other_card OR (n.other_price AND a.time_to_pay > $11));

-- name: list_subscriptions
SELECT business_key, customer_id, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at,
       mode, status, next_cycle_number, next_due_at
FROM billing.subscription_list
WHERE ($1::text IS NULL OR status = $1) AND business_key > $2
ORDER BY business_key
LIMIT $3;

-- name: show_subscription
SELECT business_key, customer_id, order_name, amount_minor, currency, period_unit, period_count, anchor_on, zone, charge_at,
       mode, status, next_cycle_number, next_due_at, created_at, changed_at
FROM billing.subscription_list
WHERE shard = $1 AND business_key = $2;

-- name: list_cycles
SELECT cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency, payment_id, status, attempts_count,
       declines_count, claimable_at, held_reason, paid_at, mode
FROM billing.cycle_list
WHERE shard = $1 AND business_key = $2
ORDER BY cycle_number DESC
LIMIT $3;

-- name: lock_subscription
-- Before it is cancelled: a booking that is being opened at the same moment is committed by then, and shows to the next statement.
SELECT shard, subscription_id FROM billing.subscriptions WHERE shard = $1 AND business_key = $2 FOR NO KEY UPDATE;

-- name: cancel_subscription
-- A cycle that is due and not yet being collected goes with it; one whose intent has committed is left to its outcome, and a booking
-- is to be taken back. The entries say who and why.
WITH cancelled AS (
    UPDATE billing.subscriptions SET status = 'cancelled', held_reason = NULL, changed_at = clock_timestamp()
    WHERE shard = $1 AND business_key = $2 AND status IN ('active', 'held')
    RETURNING shard, subscription_id
), skipped AS (
    UPDATE billing.cycles c SET status = 'skipped'
    FROM cancelled
    WHERE c.shard = cancelled.shard AND c.subscription_id = cancelled.subscription_id AND c.status = 'due'
    RETURNING c.shard, c.subscription_id, c.cycle_id, c.payment_id, c.currency
), revoked AS (
    UPDATE billing.attempts a SET revoke_reason = coalesce(a.revoke_reason, 'cancelled'), look_at = $5
    FROM cancelled
    WHERE a.shard = cancelled.shard AND a.subscription_id = cancelled.subscription_id AND a.status = 'open'
      AND a.time_to_pay IS NOT NULL
    RETURNING a.attempt_id
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
    ORDER BY cycle_id NULLS FIRST
)
SELECT (SELECT count(*) FROM cancelled) AS cancelled, (SELECT count(*) FROM skipped) AS skipped,
       (SELECT count(*) FROM revoked) AS revoking;
