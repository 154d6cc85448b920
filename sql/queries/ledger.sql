-- name: tail_ledger
-- The newest entries, newest first; only those after a moment where one is given.
SELECT recorded_at, business_key, sequence, kind, payment_id, amount_minor, currency, code, message, source, actor, pg_tx_id
FROM billing.ledger_entries
WHERE ($1::timestamptz IS NULL OR recorded_at > $1) AND ($2::text IS NULL OR business_key = $2)
ORDER BY recorded_at DESC
LIMIT $3;

-- name: follow_ledger
-- The entries from a moment on, oldest first. The moment is included: two entries may have been recorded at the same one.
SELECT recorded_at, business_key, sequence, kind, payment_id, amount_minor, currency, code, message, source, actor, pg_tx_id
FROM billing.ledger_entries
WHERE recorded_at >= $1 AND ($2::text IS NULL OR business_key = $2)
ORDER BY recorded_at, business_key, sequence
LIMIT $3;

-- name: read_chains
-- Every entry of one shard, chain by chain, for the verification.
SELECT subscription_id, sequence, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id, code, message, source,
       actor, recorded_at, previous_hash, entry_hash
FROM billing.ledger
WHERE shard = $1
ORDER BY subscription_id, sequence;

-- name: read_heads
SELECT subscription_id, sequence, entry_hash
FROM billing.ledger_heads
WHERE shard = $1;

-- name: paid_disagreements
-- Cycles whose status and entries do not say the same.
SELECT coalesce(c.payment_id, l.payment_id) AS payment_id, c.status AS cycle_status, l.sequence AS paid_sequence
FROM (SELECT shard, cycle_id, payment_id, status FROM billing.cycle_list WHERE shard = $1) AS c
FULL JOIN (SELECT shard, cycle_id, payment_id, sequence FROM billing.ledger WHERE kind = 'paid' AND shard = $1) AS l
    ON l.cycle_id = c.cycle_id
WHERE (c.status = 'paid') IS DISTINCT FROM (l.sequence IS NOT NULL);
