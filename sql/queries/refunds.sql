-- name: refund_intents
-- The refunds that were meant before on a payment_id for the same reason. The entry's message ends with what had been given back.
SELECT l.amount_minor, substring(l.message FROM '\[after ([0-9]+)\]$')::bigint AS refunded_before_minor
FROM billing.cycles c
JOIN billing.ledger l ON l.shard = c.shard AND l.subscription_id = c.subscription_id AND l.cycle_id = c.cycle_id
WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2 AND l.kind = 'operator' AND l.code = 'refund'
  AND regexp_replace(l.message, ' \[after [0-9]+\]$', '') = $3
ORDER BY l.sequence;

-- name: enter_refund_intent
-- A named person means to give back a sum. Committed before PortOne is asked.
INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, payment_id, amount_minor, currency, code, message, source,
                            actor, recorded_at, sequence, previous_hash, entry_hash)
SELECT c.shard, c.subscription_id, 'operator', c.cycle_id, c.payment_id, $3::bigint, c.currency, 'refund', $4, 'operator', $5,
       clock_timestamp(), 0, '', ''
FROM billing.cycles c
WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2
RETURNING sequence;

-- name: lock_paid_attempt
-- Before what was given back is entered: who does so at the same moment has committed by then, and shows to the next statement.
SELECT attempt_id FROM billing.attempts
WHERE shard = $1 AND attempt_id = $2 AND idempotency_key = $3 AND status = 'paid'
FOR NO KEY UPDATE;

-- name: enter_given_back
-- What was given back beyond what is entered, by the newest of the sums that make it up, and once that the card holder contests the
-- payment. The cycle stays paid. Run it only with the attempt locked by a statement before it.
WITH attempt AS (
    SELECT a.shard, a.subscription_id, a.cycle_id, a.attempt_id, a.payment_id, a.currency, a.pg_tx_id, a.attempt_number,
           a.amount_minor AS paid_minor, c.cycle_number, s.business_key,
           $4::bigint - coalesce((SELECT sum(l.amount_minor) FROM billing.ledger l
                                  WHERE l.shard = a.shard AND l.subscription_id = a.subscription_id AND l.cycle_id = a.cycle_id
                                    AND l.kind = 'refunded'), 0)::bigint AS new_minor,
           $8::boolean AND NOT EXISTS (SELECT 1 FROM billing.ledger l
                                       WHERE l.shard = a.shard AND l.subscription_id = a.subscription_id
                                         AND l.cycle_id = a.cycle_id AND l.kind = 'disputed') AS disputed
    FROM billing.attempts a
    JOIN billing.cycles c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
    JOIN billing.subscriptions s ON s.shard = a.shard AND s.subscription_id = a.subscription_id
    WHERE a.shard = $1 AND a.attempt_id = $2 AND a.idempotency_key = $3 AND a.status = 'paid'
), parts AS (
    SELECT p.*, sum(p.amount_minor) OVER (ORDER BY p.position) - p.amount_minor AS newer_minor
    FROM unnest($5::bigint[], $6::text[], $7::text[]) WITH ORDINALITY AS p (amount_minor, code, cancellation_id, position)
), news AS (
    SELECT a.*, 'refunded' AS kind, least(p.amount_minor, a.new_minor - p.newer_minor)::bigint AS amount_minor, p.code,
           p.cancellation_id AS message, p.position
    FROM attempt a
    JOIN parts p ON p.newer_minor < a.new_minor
    UNION ALL
    SELECT a.*, 'disputed', a.paid_minor, 'disputed', '', 0 FROM attempt a WHERE a.disputed
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id,
                                code, message, source, actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id, code, message, 'look',
           $9, clock_timestamp(), 0, '', ''
    FROM news
    ORDER BY position DESC
), announced AS (
    INSERT INTO billing.outbox (shard, subscription_id, event_type, payload)
    SELECT shard, subscription_id, 'charge.' || kind,
           jsonb_build_object('business_key', business_key, 'cycle_number', cycle_number, 'payment_id', payment_id,
                              'attempt_number', attempt_number, 'amount_minor', amount_minor, 'currency', currency, 'code', code)
    FROM news
    ORDER BY position DESC
)
SELECT kind, amount_minor, code FROM news;
