-- name: our_cycles
-- What is here under these payment_ids, for a comparison. The shard is not known, and 64 probes of an index find it. The attempt whose
-- price counts is the paid one, else the newest.
SELECT c.shard, c.subscription_id, c.cycle_id, c.payment_id, c.status AS cycle_status, c.attempts_count,
       coalesce(a.amount_minor, c.amount_minor) AS amount_minor, coalesce(a.currency, c.currency) AS currency,
       newest.status AS attempt_status, newest.time_to_pay, newest.schedule_id, newest.revoke_reason, newest.opened_at,
       coalesce(newest.last_sent_at > newest.opened_at, false) AS sent_again,
       newest.amount_minor AS booked_minor, newest.currency AS booked_currency,
       coalesce((SELECT sum(l.amount_minor) FROM billing.ledger l
                 WHERE l.shard = c.shard AND l.subscription_id = c.subscription_id AND l.cycle_id = c.cycle_id
                   AND l.kind = 'refunded'), 0)::bigint AS refunded_minor,
       EXISTS (SELECT 1 FROM billing.differences d
               WHERE d.class = 'paid_twice' AND d.payment_id = c.payment_id AND d.schedule_id = '' AND d.ended_at IS NULL) AS twice
FROM billing.cycles c
LEFT JOIN LATERAL (
    SELECT * FROM billing.attempts o WHERE o.shard = c.shard AND o.cycle_id = c.cycle_id
    ORDER BY o.attempt_number DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT * FROM billing.attempts o WHERE o.shard = c.shard AND o.cycle_id = c.cycle_id
    ORDER BY o.status = 'paid' DESC, o.attempt_number DESC LIMIT 1
) AS a ON true
WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = ANY ($2::text[]);

-- name: paid_between
-- What was paid here within that time, the upper end left out, and is not among those that were seen. Another store's payments are
-- nothing that PortOne could show us.
SELECT a.payment_id, a.paid_at
FROM billing.attempts a
JOIN billing.cycles c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
WHERE a.status = 'paid' AND a.paid_at >= $1 AND a.paid_at < $2 AND c.store_id = $3 AND NOT a.payment_id = ANY ($4::text[])
ORDER BY a.paid_at, a.shard, a.attempt_id
LIMIT $5;

-- name: booked_between
-- The open bookings that PortOne has named, by when they are to be charged, the upper end left out. One that was made after $3 may be
-- missing in a list that was read by then; one that is to be taken back may be gone.
SELECT a.payment_id
FROM billing.attempts a
JOIN billing.cycles c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
WHERE a.status = 'open' AND a.time_to_pay >= $1 AND a.time_to_pay < $2 AND a.opened_at < $3 AND a.schedule_id IS NOT NULL
  AND a.revoke_reason IS NULL AND c.store_id = $4 AND NOT a.payment_id = ANY ($5::text[])
ORDER BY a.time_to_pay, a.shard, a.attempt_id
LIMIT $6;

-- name: note_differences
-- What differs, once while it lasts: seen again it only stays. Those of a cycle of ours are entered in the ledger when they are new,
-- and not again in the same words. Strangers' ($7) are kept up to a bound each, so that another system of the store does not
-- fill the table. Returns those that are new.
WITH input AS MATERIALIZED (
    SELECT i.class, i.payment_id, i.schedule_id, i.what, c.shard, c.subscription_id, c.cycle_id, c.currency
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS i (class, payment_id, schedule_id, what)
    LEFT JOIN LATERAL (
        SELECT * FROM billing.cycles o WHERE o.shard = ANY ($1::smallint[]) AND o.payment_id = i.payment_id LIMIT 1
    ) AS c ON true
    ORDER BY i.class, i.payment_id, i.schedule_id
), kept AS (
    INSERT INTO billing.differences AS d (class, payment_id, schedule_id, shard, subscription_id, cycle_id, what, first_seen_at,
                                          last_seen_at)
    SELECT class, payment_id, schedule_id, shard, subscription_id, cycle_id, what, $6, $6
    FROM input i
    WHERE NOT i.class = ANY ($7::text[])
       OR (SELECT count(*) FROM billing.differences o WHERE o.class = i.class AND o.ended_at IS NULL) < $8
    ON CONFLICT (class, payment_id, schedule_id) WHERE ended_at IS NULL
    DO UPDATE SET last_seen_at = excluded.last_seen_at, what = excluded.what
    RETURNING d.class, d.payment_id, d.schedule_id, d.what, d.shard, d.subscription_id, d.cycle_id, d.xmax = 0 AS new
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, payment_id, currency, code, message, source, actor,
                                recorded_at, sequence, previous_hash, entry_hash)
    SELECT k.shard, k.subscription_id, 'mismatch', k.cycle_id, k.payment_id, i.currency, k.class, k.what, 'look', $9,
           clock_timestamp(), 0, '', ''
    FROM kept k
    JOIN input i ON i.class = k.class AND i.payment_id = k.payment_id AND i.schedule_id = k.schedule_id
    WHERE k.new AND k.shard IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM billing.ledger l
                      WHERE l.shard = k.shard AND l.subscription_id = k.subscription_id AND l.cycle_id = k.cycle_id
                        AND l.kind = 'mismatch' AND l.code = k.class AND l.message = k.what)
    ORDER BY k.shard, k.subscription_id, k.cycle_id, k.class
)
SELECT class, payment_id, schedule_id, what FROM kept WHERE new;

-- name: end_differences
-- What a whole comparison, of payments or of schedules, has not seen any more.
UPDATE billing.differences SET ended_at = $3
WHERE ended_at IS NULL AND (schedule_id <> '') = $1::boolean AND last_seen_at < $2
RETURNING difference_id;

-- name: count_differences
SELECT class, count(*) AS count FROM billing.differences WHERE ended_at IS NULL GROUP BY class;

-- name: list_differences
-- The newest first; $1 also those that have ended.
SELECT d.class, c.business_key, c.cycle_number, d.payment_id, d.schedule_id, d.what, c.status AS cycle_status, d.first_seen_at,
       d.last_seen_at, d.ended_at
FROM billing.differences d
LEFT JOIN billing.cycle_list c ON c.shard = d.shard AND c.cycle_id = d.cycle_id
WHERE $1::boolean OR d.ended_at IS NULL
ORDER BY d.first_seen_at DESC, d.difference_id DESC
LIMIT $2;

-- name: adopt_orphans
-- A schedule stands at PortOne for a cycle that waits for its time because its booking was refused: it may be booked again now, which
-- finds the schedule and so adopts it. A cycle that is claimed, or that waits for a retry, is left alone.
UPDATE billing.cycles c
SET claimable_at = $3
WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = ANY ($2::text[]) AND c.status = 'due' AND c.mode = 'schedule'
  AND c.due_at > $3 AND c.claimable_at >= c.due_at AND c.declines_count = 0
RETURNING c.payment_id;

-- name: adopt_skipped
-- A period was skipped while PortOne has a payment or a schedule for it that nothing here knows of: a failover has lost the attempt.
-- One is opened in its place, as a booking that is to be taken back. Of a request it has the billing key, by which PortOne is asked,
-- and is never sent; its looks find the schedule and revoke it, or find the money.
WITH skipped AS MATERIALIZED (
    SELECT c.shard, c.cycle_id, c.subscription_id, c.payment_id, c.amount_minor, c.currency, c.due_at, i.attempt_number,
           i.idempotency_key, i.schedule_id, CASE s.status WHEN 'cancelled' THEN 'cancelled' ELSE 'skipped' END AS revoke_reason,
           convert_to(json_build_object('billingKey', s.billing_key)::text, 'UTF8') AS request_body
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::integer[], $5::text[], $6::text[])
        AS i (shard, cycle_id, payment_id, attempt_number, idempotency_key, schedule_id)
    JOIN billing.cycles c ON c.shard = i.shard AND c.cycle_id = i.cycle_id
    JOIN billing.subscriptions s ON s.shard = c.shard AND s.subscription_id = c.subscription_id
    WHERE c.payment_id = i.payment_id AND c.status = 'skipped' AND c.attempts_count = i.attempt_number - 1
      AND NOT EXISTS (SELECT 1 FROM billing.attempts o
                      WHERE o.shard = c.shard AND o.cycle_id = c.cycle_id AND o.status = 'open')
    ORDER BY c.shard, c.cycle_id
    FOR NO KEY UPDATE OF c
), counted AS (
    UPDATE billing.cycles c SET attempts_count = k.attempt_number
    FROM skipped k
    WHERE c.shard = k.shard AND c.cycle_id = k.cycle_id
), opened AS (
    INSERT INTO billing.attempts (shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor,
                                  currency, request_body, request_sha256, opened_at, last_sent_at, look_at, worker, time_to_pay,
                                  schedule_id, revoke_reason)
    SELECT shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor, currency, request_body,
           sha256(request_body), $7, $7, $7, $8, due_at, nullif(schedule_id, ''), revoke_reason
    FROM skipped
    RETURNING shard, subscription_id, cycle_id, attempt_id, payment_id, amount_minor, currency
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, code, source,
                                actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'intent', cycle_id, attempt_id, payment_id, amount_minor, currency, 'adopted', 'look', $8,
           clock_timestamp(), 0, '', ''
    FROM opened
    ORDER BY shard, subscription_id, cycle_id
)
SELECT payment_id FROM opened;
