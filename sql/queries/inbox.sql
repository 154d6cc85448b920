-- name: keep_hints
-- Webhooks whose signature was right, a few milliseconds' worth at a time. One that was sent again is there already.
INSERT INTO billing.webhook_inbox (webhook_id, event_type, payment_id, transaction_id, cancellation_id, store_matches, sent_at,
                                   received_at)
SELECT webhook_id, event_type, payment_id, transaction_id, cancellation_id, store_matches, sent_at, received_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[], $8::timestamptz[])
    WITH ORDINALITY AS i (webhook_id, event_type, payment_id, transaction_id, cancellation_id, store_matches, sent_at,
                          received_at, position)
ORDER BY position
ON CONFLICT (webhook_id) DO NOTHING
RETURNING webhook_id;

-- name: read_hints
-- look_soon for many payment_ids at once, and the hints that asked for it are read, in one statement: no kill leaves one without
-- the other. The shard is not known, and 64 probes of an index find it. A look is never moved to a later time. An attempt
-- that somebody is writing to this moment leaves its hints unread for the next pass: waiting for one row's lock while holding
-- another's is how two workers come to wait for each other.
WITH claimed AS MATERIALIZED (
    SELECT webhook_id, payment_id
    FROM billing.webhook_inbox
    WHERE read_at IS NULL
    ORDER BY received_at
    LIMIT $3::integer
    FOR NO KEY UPDATE SKIP LOCKED
), newest AS MATERIALIZED (
    SELECT p.payment_id, a.shard, a.attempt_id
    FROM (SELECT DISTINCT payment_id FROM claimed) AS p
    CROSS JOIN LATERAL (
        SELECT c.shard, c.cycle_id FROM billing.cycles c
        WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = p.payment_id
        LIMIT 1
    ) AS c
    LEFT JOIN LATERAL (
        SELECT o.shard, o.attempt_id FROM billing.attempts o
        WHERE o.shard = c.shard AND o.cycle_id = c.cycle_id
        ORDER BY o.attempt_number DESC
        LIMIT 1
    ) AS a ON true
), locked AS MATERIALIZED (
    SELECT n.payment_id, a.shard, a.attempt_id,
           -- By the rule of look_soon, word for word.
           a.status = 'open' AND a.schedule_id IS NULL AND a.look_at > $2 AND a.look_at <= a.last_sent_at + interval '15 minutes'
               AS being_sent
    FROM newest n
    CROSS JOIN LATERAL (
        SELECT * FROM billing.attempts o WHERE o.shard = n.shard AND o.attempt_id = n.attempt_id
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS a
), ordered AS (
    UPDATE billing.attempts a
    SET look_at = least(a.look_at, $2)
    FROM locked l
    WHERE NOT l.being_sent AND a.shard = l.shard AND a.attempt_id = l.attempt_id
)
UPDATE billing.webhook_inbox i
SET read_at = $2,
    result = CASE WHEN n.payment_id IS NULL THEN 'unknown'
                  WHEN n.attempt_id IS NULL THEN 'no_attempt'
                  WHEN l.being_sent THEN 'sending'
                  ELSE 'ordered' END
FROM claimed c
LEFT JOIN newest n ON n.payment_id = c.payment_id
LEFT JOIN locked l ON l.payment_id = c.payment_id
WHERE i.webhook_id = c.webhook_id AND (n.attempt_id IS NULL OR l.attempt_id IS NOT NULL)
RETURNING i.webhook_id, i.result, i.received_at;

-- name: unread_hints
-- For a gauge: above the limit it is only known that there are too many.
SELECT count(*)::integer AS unread
FROM (SELECT 1 FROM billing.webhook_inbox WHERE read_at IS NULL LIMIT $1::integer) AS counted;

-- name: forget_hints
-- What was read long ago, a few rows at a time and none that another worker is deleting.
DELETE FROM billing.webhook_inbox
WHERE webhook_id IN (
    SELECT webhook_id FROM billing.webhook_inbox
    WHERE received_at < $1::timestamptz AND read_at IS NOT NULL
    ORDER BY received_at
    LIMIT $2::integer
    FOR UPDATE SKIP LOCKED
)
RETURNING webhook_id;
