-- name: subscriptions_to_take_over
-- What a schedule is compared with. It holds billing keys: for the worker's role only.
SELECT shard, subscription_id, business_key, billing_key, order_name, amount_minor, currency, period_unit, period_count, anchor_on,
       zone, charge_at, status, first_cycle_number, next_cycle_number
FROM billing.subscriptions
WHERE shard = ANY ($1::smallint[]) AND business_key = ANY ($2::text[]);

-- name: payments_known
-- Whose cycles have these payment_ids already. The shard of a payment_id is not known, and 64 probes of an index find it.
SELECT c.payment_id, s.business_key
FROM billing.cycles c
JOIN billing.subscriptions s ON s.shard = c.shard AND s.subscription_id = c.subscription_id
WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = ANY ($2::text[]);

-- name: take_turns
-- Before a schedule is taken over: a payment_id is unique within a shard only, and two imports at once might give one to two
-- subscriptions. Whoever comes second waits here, and then sees what the first has written.
INSERT INTO billing.positions AS p (name, position, claimable_at, moved_at)
VALUES ('schedules import', $1, $1, $1)
ON CONFLICT (name) DO UPDATE SET moved_at = greatest(p.moved_at, excluded.moved_at);

-- name: take_over_schedule
-- A schedule of the merchant's becomes the next cycle of its subscription, and that cycle's first attempt an open booking. Of a request
-- the attempt has the billing key, by which PortOne is asked, and is never sent. Nothing is written unless the subscription still is what
-- the schedule was compared with: whoever renews, changes or cancels it locks its row, as this does.
WITH agreed AS MATERIALIZED (
    SELECT s.shard, s.subscription_id, s.amount_minor, s.currency, s.order_name,
           convert_to(json_build_object('billingKey', s.billing_key)::text, 'UTF8') AS request_body
    FROM billing.subscriptions s
    WHERE s.shard = $1 AND s.subscription_id = $2 AND s.business_key = $3 AND s.status = 'active' AND s.next_cycle_number = $4
      AND s.billing_key = $5 AND s.amount_minor = $6 AND s.currency = $7
      AND NOT EXISTS (SELECT 1 FROM billing.cycles c WHERE c.shard = ANY ($8::smallint[]) AND c.payment_id = $9)
    FOR NO KEY UPDATE
), opened AS (
    INSERT INTO billing.cycles (shard, subscription_id, cycle_number, period_start_on, period_end_on, due_at, amount_minor, currency,
                                order_name, mode, store_id, payment_id, status, claimable_at, attempts_count, adopted)
    SELECT shard, subscription_id, $4, $10, $11, $12, amount_minor, currency, order_name, 'schedule', $13, $9, 'collecting', $12, 1, true
    FROM agreed
    RETURNING shard, cycle_id
), advanced AS (
    UPDATE billing.subscriptions s SET next_cycle_number = s.next_cycle_number + 1, next_due_at = $14
    FROM agreed a
    WHERE s.shard = a.shard AND s.subscription_id = a.subscription_id
), booked AS (
    INSERT INTO billing.attempts (shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor,
                                  currency, request_body, request_sha256, opened_at, last_sent_at, look_at, worker, time_to_pay,
                                  schedule_id)
    SELECT a.shard, o.cycle_id, a.subscription_id, 1, $9, $15, a.amount_minor, a.currency, a.request_body, sha256(a.request_body),
           $16, $16, $17, $18, $12, $19
    FROM agreed a
    JOIN opened o ON o.shard = a.shard
    RETURNING shard, subscription_id, cycle_id, attempt_id, payment_id, amount_minor, currency
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, code, message,
                                source, actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT b.shard, b.subscription_id, e.kind, b.cycle_id, b.attempt_id, b.payment_id, b.amount_minor, b.currency, 'adopted', e.message,
           'look', $18, clock_timestamp(), 0, '', ''
    FROM booked b
    CROSS JOIN (VALUES (1, 'intent', ''), (2, 'scheduled', $19::text)) AS e (position, kind, message)
    ORDER BY e.position
)
SELECT attempt_id FROM booked;
