-- name: tail_ledger
-- The newest entries, newest first; only those after a moment where one is given.
SELECT recorded_at, business_key, sequence, kind, payment_id, amount_minor, currency, code, message, source, actor, written_by,
       pg_tx_id
FROM billing.ledger_entries
WHERE $1::timestamptz IS NULL OR recorded_at > $1
ORDER BY recorded_at DESC
LIMIT $2;

-- name: tail_subscription
-- One subscription's newest entries, from the end of its chain: what others have entered costs nothing.
SELECT l.recorded_at, s.business_key, l.sequence, l.kind, l.payment_id, l.amount_minor, l.currency, l.code, l.message, l.source,
       l.actor, l.written_by, l.pg_tx_id
FROM billing.subscription_list s
CROSS JOIN LATERAL (
    SELECT * FROM billing.ledger e
    WHERE e.shard = s.shard AND e.subscription_id = s.subscription_id AND ($3::timestamptz IS NULL OR e.recorded_at > $3)
    ORDER BY e.shard DESC, e.subscription_id DESC, e.sequence DESC
    LIMIT $4
) AS l
WHERE s.shard = $1 AND s.business_key = $2
ORDER BY l.sequence DESC;

-- name: follow_ledger
-- The entries from a moment on, oldest first. The moment is included: two entries may have been recorded at the same one.
SELECT recorded_at, business_key, sequence, kind, payment_id, amount_minor, currency, code, message, source, actor, written_by,
       pg_tx_id
FROM billing.ledger_entries
WHERE recorded_at >= $1
ORDER BY recorded_at, business_key, sequence
LIMIT $2;

-- name: follow_subscription
-- One subscription's entries from a moment on, the oldest first.
SELECT l.recorded_at, s.business_key, l.sequence, l.kind, l.payment_id, l.amount_minor, l.currency, l.code, l.message, l.source,
       l.actor, l.written_by, l.pg_tx_id
FROM billing.subscription_list s
CROSS JOIN LATERAL (
    SELECT * FROM billing.ledger e
    WHERE e.shard = s.shard AND e.subscription_id = s.subscription_id AND e.recorded_at >= $3
    ORDER BY e.shard, e.subscription_id, e.sequence
    LIMIT $4
) AS l
WHERE s.shard = $1 AND s.business_key = $2
ORDER BY l.sequence;

-- name: chain_lengths
-- The next subscriptions of a shard and how many entries each should have: what a page of the verification is cut by.
SELECT s.subscription_id, coalesce(h.sequence, 0) AS entries
FROM billing.subscription_list s
LEFT JOIN billing.ledger_heads h ON h.shard = s.shard AND h.subscription_id = s.subscription_id
WHERE s.shard = $1 AND s.subscription_id > $2
ORDER BY s.shard, s.subscription_id
LIMIT $3;

-- name: read_chains
-- Every entry of some subscriptions of a shard, chain by chain. The upper end is included.
SELECT subscription_id, sequence, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id, code, message, source,
       actor, written_by, recorded_at, previous_hash, entry_hash
FROM billing.ledger
WHERE shard = $1 AND subscription_id > $2 AND subscription_id <= $3
ORDER BY shard, subscription_id, sequence;

-- name: read_heads
-- The heads of the same subscriptions; one whose subscription is gone has no business key.
SELECT h.subscription_id, s.business_key, h.sequence, h.entry_hash
FROM billing.ledger_heads h
LEFT JOIN billing.subscription_list s ON s.shard = h.shard AND s.subscription_id = h.subscription_id
WHERE h.shard = $1 AND h.subscription_id > $2 AND h.subscription_id <= $3
ORDER BY h.shard, h.subscription_id;

-- name: read_cycles
-- The cycles of the same subscriptions, as far as entries speak of them.
SELECT cycle_id, subscription_id, payment_id, amount_minor, currency, status
FROM billing.cycle_list
WHERE shard = $1 AND subscription_id > $2 AND subscription_id <= $3;

-- name: read_attempts
-- The attempts on those cycles, found by the cycle: whose they say that they are is what is to be verified.
SELECT a.attempt_id, a.cycle_id, a.subscription_id, a.payment_id, a.amount_minor, a.currency, a.status, a.pg_tx_id,
       a.time_to_pay IS NOT NULL AS booking
FROM billing.cycle_list c
JOIN billing.attempt_list a ON a.shard = c.shard AND a.cycle_id = c.cycle_id
WHERE c.shard = $1 AND c.subscription_id > $2 AND c.subscription_id <= $3;

-- name: sealed_entries
-- What stands in the chains where a seal has seen heads; NULL where nothing does.
SELECT i.position, l.entry_hash
FROM unnest($1::integer[], $2::smallint[], $3::text[], $4::bigint[]) AS i (position, shard, business_key, sequence)
LEFT JOIN billing.subscription_list s ON s.shard = i.shard AND s.business_key = i.business_key
LEFT JOIN billing.ledger l ON l.shard = s.shard AND l.subscription_id = s.subscription_id AND l.sequence = i.sequence
ORDER BY i.position;
