-- name: open_attempts
-- The intent: the attempt, its key and the exact bytes, committed before one of them leaves. The guard is the claim's epoch:
-- who has lost the lease, or whose cycle was skipped meanwhile, opens nothing. look_at is when the reconciler takes over.
-- After a failover to a server that lacks the last commits, ids and epochs are given out again: payment_id says whose they are.
-- A booking is charged days later, so it is opened only while its subscription says what the request says. Whoever changes or ends
-- the subscription locks it first and then looks for open bookings: either that lock shows here, or this attempt shows there. It is
-- not waited for, since an import may hold it for long and direct charges stand in the same batch.
WITH input AS (
    SELECT *
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[], $5::integer[], $6::text[], $7::bytea[], $8::bytea[],
                $9::timestamptz[], $10::text[])
        AS i (shard, cycle_id, payment_id, claim_epoch, attempt_number, idempotency_key, request_body, request_sha256,
              time_to_pay, billing_key)
), bookable AS MATERIALIZED (
    SELECT i.shard, i.cycle_id
    FROM input i
    JOIN billing.cycles c ON c.shard = i.shard AND c.cycle_id = i.cycle_id
    JOIN billing.subscriptions s ON s.shard = c.shard AND s.subscription_id = c.subscription_id
    WHERE i.time_to_pay IS NOT NULL AND c.mode = 'schedule' AND s.status <> 'cancelled' AND s.billing_key = i.billing_key
      AND s.amount_minor = c.amount_minor AND s.order_name = c.order_name
    FOR SHARE OF s SKIP LOCKED
), moved AS (
    UPDATE billing.cycles c
    SET status = 'collecting', fruitless_claims = 0, attempts_count = i.attempt_number
    FROM input i
    WHERE c.shard = i.shard AND c.cycle_id = i.cycle_id AND c.payment_id = i.payment_id AND c.claim_epoch = i.claim_epoch
      AND c.status = 'due' AND c.attempts_count = i.attempt_number - 1
      AND (i.time_to_pay IS NULL OR (i.shard, i.cycle_id) IN (SELECT shard, cycle_id FROM bookable))
    RETURNING c.shard, c.cycle_id, c.subscription_id, c.store_id, c.payment_id, c.amount_minor, c.currency, c.declines_count,
              c.first_declined_at, c.due_at, i.attempt_number, i.idempotency_key, i.request_body, i.request_sha256, i.time_to_pay
), opened AS (
    INSERT INTO billing.attempts (shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor,
                                  currency, request_body, request_sha256, opened_at, last_sent_at, look_at, worker, time_to_pay)
    SELECT shard, cycle_id, subscription_id, attempt_number, payment_id, idempotency_key, amount_minor, currency, request_body,
           request_sha256, $11, $11, $12, $13, time_to_pay
    FROM moved
    RETURNING shard, attempt_id, cycle_id, subscription_id, payment_id, amount_minor, currency, time_to_pay
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, code, source,
                                actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'intent', cycle_id, attempt_id, payment_id, amount_minor, currency,
           CASE WHEN time_to_pay IS NULL THEN '' ELSE 'schedule' END, 'rule', $13, clock_timestamp(), 0, '', ''
    FROM opened
    ORDER BY shard, subscription_id, cycle_id
)
SELECT o.attempt_id, o.payment_id, m.store_id, m.due_at, m.declines_count, m.first_declined_at,
       ARRAY(SELECT a.transaction_id FROM billing.attempts a
             WHERE m.attempt_number > 1 AND a.shard = o.shard AND a.cycle_id = o.cycle_id AND a.transaction_id IS NOT NULL)
           AS older_transaction_ids
FROM opened o
JOIN moved m ON m.shard = o.shard AND m.cycle_id = o.cycle_id;

-- name: settle_attempts
-- A batch of verdicts with their entries and events, in one statement and so in one transaction. An attempt or a cycle that is
-- no longer in the status the verdict was decided on is left alone, and its entries with it. So is one whose id, after a failover,
-- belongs to another: the idempotency key says whose verdict it is. A cycle of schedule mode that is due again before its time takes
-- its subscription's price, and after it where the change came in time and only its booking was late to end. Where the PG has
-- declined, the sum stays what it was asked for: PortOne does not say that another may follow on one paymentId. What is paid costs
-- what was paid: a booking that was taken back for a new price may turn out paid at the old one. The entry that changes the price
-- says so. One that stays held while its booking is taken back keeps its reason.
WITH input AS (
    SELECT *
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
                $9::text[], $10::timestamptz[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::timestamptz[],
                $16::text[], $17::text[], $18::integer[], $19::text[])
        AS i (shard, attempt_id, idempotency_key, cycle_id, attempt_from, last_sent_at, attempt_status, cycle_from, cycle_status,
              claimable_at, held_reason, look_at, transaction_id, pg_tx_id, paid_at, decline_code, decline_message,
              declines_added, source)
), locked AS MATERIALIZED (
    SELECT i.*, a.subscription_id, a.payment_id, a.currency,
           i.cycle_status = 'due' AND c.mode = 'schedule' AND i.attempt_status <> 'declined'
               AND (c.due_at > $20::timestamptz OR a.revoke_reason = 'price') AS repriced,
           a.amount_minor AS asked_minor, c.amount_minor AS old_minor
    FROM input i
    JOIN billing.cycles c ON c.shard = i.shard AND c.cycle_id = i.cycle_id
    JOIN billing.attempts a ON a.shard = i.shard AND a.attempt_id = i.attempt_id
    WHERE a.idempotency_key = i.idempotency_key AND a.cycle_id = i.cycle_id
      AND a.status = i.attempt_from AND c.status = ANY (string_to_array(i.cycle_from, '|'))
      -- Who was frozen with a refusal in hand must not close an attempt that somebody has sent again. Money is never too late.
      AND (i.attempt_status = 'paid' OR a.last_sent_at = i.last_sent_at)
      -- A late truth about an older attempt never takes the cycle from under one that is open.
      AND (i.attempt_from = 'open' OR NOT EXISTS (SELECT 1 FROM billing.attempts o
                                                  WHERE o.shard = i.shard AND o.cycle_id = i.cycle_id AND o.status = 'open'))
    ORDER BY i.shard, i.cycle_id
    FOR NO KEY UPDATE OF c, a
), priced AS MATERIALIZED (
    SELECT l.*, CASE WHEN l.attempt_status = 'paid' THEN l.asked_minor
                     WHEN l.repriced THEN (SELECT s.amount_minor FROM billing.subscriptions s
                                           WHERE s.shard = l.shard AND s.subscription_id = l.subscription_id)
                     ELSE l.old_minor END AS price_minor
    FROM locked l
), attempts_moved AS (
    UPDATE billing.attempts a
    SET status = l.attempt_status, request_body = NULL, settled_at = $20::timestamptz, source = l.source, look_at = l.look_at, looks = 0,
        transaction_id = coalesce(l.transaction_id, a.transaction_id), pg_tx_id = l.pg_tx_id, paid_at = l.paid_at,
        decline_code = l.decline_code, decline_message = l.decline_message,
        verified_at = CASE WHEN l.attempt_status = 'paid' AND l.source = 'look' THEN $20::timestamptz END
    FROM locked l
    WHERE a.shard = l.shard AND a.attempt_id = l.attempt_id
), cycles_moved AS (
    UPDATE billing.cycles c
    SET status = l.cycle_status, claimable_at = coalesce(l.claimable_at, c.claimable_at),
        held_reason = CASE WHEN l.attempt_status = 'revoked' AND l.cycle_status = c.status THEN c.held_reason
                           ELSE l.held_reason END,
        amount_minor = l.price_minor,
        order_name = CASE WHEN l.repriced THEN (SELECT s.order_name FROM billing.subscriptions s
                                             WHERE s.shard = c.shard AND s.subscription_id = c.subscription_id)
                          ELSE c.order_name END,
        paid_at = l.paid_at, declines_count = c.declines_count + l.declines_added,
        first_declined_at = CASE WHEN l.declines_added > 0 THEN coalesce(c.first_declined_at, $20::timestamptz) ELSE c.first_declined_at END
    FROM priced l
    WHERE c.shard = l.shard AND c.cycle_id = l.cycle_id
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id,
                                code, message, source, actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT l.shard, l.subscription_id, e.kind, l.cycle_id, l.attempt_id, l.payment_id, e.amount_minor, l.currency, e.pg_tx_id,
           e.code, CASE WHEN e.position = 0 AND l.price_minor <> l.old_minor
                        THEN left(concat_ws('; ', format('the period costs %s now, not %s', l.price_minor, l.old_minor),
                                            nullif(e.message, '')), 500)
                        ELSE e.message END,
           e.source, e.actor, clock_timestamp(), 0, '', ''
    FROM unnest($21::text[], $22::integer[], $23::text[], $24::bigint[], $25::text[], $26::text[], $27::text[], $28::text[],
                $29::text[])
        AS e (idempotency_key, position, kind, amount_minor, pg_tx_id, code, message, source, actor)
    JOIN priced l ON l.idempotency_key = e.idempotency_key
    ORDER BY l.shard, l.subscription_id, l.cycle_id, e.position
), announced AS (
    INSERT INTO billing.outbox (shard, subscription_id, event_type, payload)
    SELECT l.shard, l.subscription_id, o.event_type, o.payload::jsonb
    FROM unnest($30::text[], $31::text[], $32::text[]) AS o (idempotency_key, event_type, payload)
    JOIN locked l ON l.idempotency_key = o.idempotency_key
)
SELECT idempotency_key FROM locked;

-- name: attempt_statuses
-- What became of a batch whose commit was not acknowledged.
SELECT a.idempotency_key, a.status
FROM unnest($1::smallint[], $2::bigint[], $3::text[]) AS i (shard, attempt_id, idempotency_key)
JOIN billing.attempts a ON a.shard = i.shard AND a.attempt_id = i.attempt_id
WHERE a.idempotency_key = i.idempotency_key;

-- name: shards_to_look
-- Which shards have an attempt that PortOne is to be asked about, the one that has waited longest first. One index probe a shard.
SELECT s.shard::smallint AS shard
FROM generate_series(0, 63) AS s (shard)
CROSS JOIN LATERAL (
    SELECT look_at FROM billing.attempts
    WHERE shard = s.shard::smallint AND look_at <= $1
    ORDER BY look_at
    LIMIT 1
) AS oldest
ORDER BY oldest.look_at;

-- name: claim_looks
-- Takes the attempts whose look is due, oldest first. look_at moves to the lease's end: who dies with them is followed then.
-- Picked ids come as an array, or a plan made for any limit would read every attempt of the shard to join with them.
WITH picked AS MATERIALIZED (
    SELECT attempt_id
    FROM billing.attempts
    WHERE shard = $1 AND look_at <= $2
    ORDER BY look_at
    LIMIT $4
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE billing.attempts a
    SET look_at = $3, look_epoch = a.look_epoch + 1, looks = a.looks + 1
    WHERE a.shard = $1 AND a.attempt_id = ANY (ARRAY(SELECT attempt_id FROM picked))
    RETURNING a.*
)
SELECT a.shard, a.attempt_id, a.cycle_id, a.subscription_id, a.attempt_number, a.payment_id, a.idempotency_key, a.amount_minor,
       a.currency, a.status, a.request_body, a.opened_at, a.last_sent_at, a.looks, a.look_epoch, a.settled_at,
       a.pg_tx_id, a.time_to_pay, a.schedule_id, a.revoke_reason, a.contradiction, s.business_key,
       c.cycle_number, c.store_id, c.due_at, c.status AS cycle_status, c.attempts_count, c.declines_count, c.first_declined_at,
       ARRAY(SELECT o.transaction_id FROM billing.attempts o
             WHERE o.shard = a.shard AND o.cycle_id = a.cycle_id AND o.attempt_number < a.attempt_number
               AND o.transaction_id IS NOT NULL) AS older_transaction_ids
FROM claimed a
JOIN billing.cycles c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
JOIN billing.subscriptions s ON s.shard = a.shard AND s.subscription_id = a.subscription_id;

-- name: note_resend
-- Committed before the bytes leave again. The epoch is the fence: whoever was overtaken sends nothing. Nor is a booking made again
-- that is to be taken back, nor ever one that a merchant made: it has no bytes of ours.
UPDATE billing.attempts a
SET last_sent_at = $5, look_at = $6
WHERE shard = $1 AND attempt_id = $2 AND idempotency_key = $3 AND look_epoch = $4 AND status = 'open' AND revoke_reason IS NULL
  AND NOT (attempt_number = 1 AND EXISTS (SELECT 1 FROM billing.cycles c
                                          WHERE c.shard = a.shard AND c.cycle_id = a.cycle_id AND c.adopted))
RETURNING attempt_id;

-- name: note_booked
-- PortOne has the booking: its name is written down and entered once, and the same name again changes nothing. Where the booking is
-- to be taken back, which may have been ordered while it was being sent, the look is not put off.
WITH noted AS (
    UPDATE billing.attempts
    SET schedule_id = $4, look_at = CASE WHEN revoke_reason IS NULL THEN $5 ELSE look_at END
    WHERE shard = $1 AND attempt_id = $2 AND idempotency_key = $3 AND status = 'open' AND time_to_pay IS NOT NULL
      AND schedule_id IS NULL
    RETURNING shard, attempt_id, subscription_id, cycle_id, payment_id, amount_minor, currency
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, message,
                                source, actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'scheduled', cycle_id, attempt_id, payment_id, amount_minor, currency, $4, $6, $7,
           clock_timestamp(), 0, '', ''
    FROM noted
)
SELECT attempt_id FROM noted
UNION ALL
SELECT attempt_id FROM billing.attempts
WHERE shard = $1 AND attempt_id = $2 AND idempotency_key = $3 AND status = 'open' AND schedule_id = $4;

-- name: ask_again
-- The look told nothing final, or there is nothing more to ask (NULL). Who slept over it must not take the lease from a resend
-- that somebody has begun since: a look beside it sees nothing, and would send once more. Nor does who did not know yet that a booking
-- is to be taken back put that off until its time has come.
UPDATE billing.attempts a
SET look_at = i.look_at
FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::timestamptz[])
    AS i (shard, attempt_id, idempotency_key, last_sent_at, revoke_reason, look_at)
WHERE a.shard = i.shard AND a.attempt_id = i.attempt_id AND a.idempotency_key = i.idempotency_key
  AND (a.status <> 'open' OR (i.look_at IS NOT NULL AND a.last_sent_at = i.last_sent_at
                              AND a.revoke_reason IS NOT DISTINCT FROM i.revoke_reason));

-- name: verify_attempt
-- PortOne's record agrees with what we asked for. What it says has been refunded, beyond what is entered, is entered.
WITH verified AS (
    UPDATE billing.attempts
    SET verified_at = $4, look_at = NULL, contradiction = NULL, transaction_id = coalesce($5, transaction_id)
    WHERE shard = $1 AND attempt_id = $2 AND idempotency_key = $3 AND status = 'paid'
    RETURNING shard, subscription_id, cycle_id, attempt_id, payment_id, currency, pg_tx_id
), refund AS (
    SELECT verified.*, $6::bigint - coalesce((
        SELECT sum(l.amount_minor) FROM billing.ledger l
        WHERE l.shard = verified.shard AND l.subscription_id = verified.subscription_id AND l.cycle_id = verified.cycle_id
          AND l.kind = 'refunded'), 0)::bigint AS amount_minor
    FROM verified
)
INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id,
                            source, actor, recorded_at, sequence, previous_hash, entry_hash)
SELECT shard, subscription_id, 'refunded', cycle_id, attempt_id, payment_id, amount_minor, currency, pg_tx_id, 'look', $7,
       clock_timestamp(), 0, '', ''
FROM refund
WHERE amount_minor > 0;

-- name: contradict_attempt
-- PortOne's record differs from what we asked for. A paid cycle stays paid, since nothing turns it back; any other is held for
-- a person, with its attempt left open so that nobody can send another. What was said before is not said again, nor brought
-- back once a person has accepted or skipped it, and a closed attempt is not asked about again.
WITH attempt AS (
    SELECT a.shard, a.attempt_id, a.cycle_id, a.subscription_id, a.payment_id, a.currency, c.status AS cycle_status,
           EXISTS (SELECT 1 FROM billing.ledger l
                   WHERE l.shard = a.shard AND l.subscription_id = a.subscription_id AND l.attempt_id = a.attempt_id
                     AND l.kind = 'mismatch' AND l.message = $5) AS said
    FROM billing.attempts a
    JOIN billing.cycles c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
    WHERE a.shard = $1 AND a.attempt_id = $2 AND a.idempotency_key = $3
    FOR NO KEY UPDATE OF c, a
), asked AS (
    UPDATE billing.attempts a
    SET look_at = CASE WHEN a.status = 'open' AND a.revoke_reason IS NOT NULL THEN least(a.look_at, $4::timestamptz)
                       WHEN a.status = 'open' THEN $4::timestamptz END,
        contradiction = CASE WHEN attempt.said AND a.contradiction IS NULL THEN NULL ELSE $5 END
    FROM attempt WHERE a.shard = attempt.shard AND a.attempt_id = attempt.attempt_id
), held AS (
    UPDATE billing.cycles c SET status = 'held', held_reason = $5
    FROM attempt
    WHERE c.shard = attempt.shard AND c.cycle_id = attempt.cycle_id AND c.status NOT IN ('paid', 'held')
      AND NOT (c.status = 'skipped' AND attempt.said)
), news AS (
    SELECT * FROM attempt WHERE cycle_status NOT IN ('paid', 'held', 'skipped') OR NOT said
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, currency, code, message, source,
                                actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'mismatch', cycle_id, attempt_id, payment_id, currency, 'mismatch', $5, 'look', $6,
           clock_timestamp(), 0, '', ''
    FROM news
)
SELECT attempt_id FROM news;

-- name: hand_over_attempts
-- Open attempts that this worker will not send after all: the reconciler may take them now.
UPDATE billing.attempts a
SET look_at = $4
FROM unnest($1::smallint[], $2::bigint[], $3::text[]) AS i (shard, attempt_id, idempotency_key)
WHERE a.shard = i.shard AND a.attempt_id = i.attempt_id AND a.idempotency_key = i.idempotency_key
  AND a.status = 'open' AND a.look_epoch = 0;

-- name: look_soon
-- Somebody asks about one payment_id, whatever its attempts' status: the newest attempt is looked at next. One that its sender
-- still has is left until the lease ends, since a look beside a call under way sees nothing and may send a second time. That is so
-- while the look that is ordered is the end of a lease since the last send, be it the first or a resend: no lease is longer than fifteen
-- minutes (ATTEMPT_LEASE_SECONDS_MAX). A booking that PortOne has is no longer being sent.
WITH newest AS MATERIALIZED (
    SELECT a.shard, a.attempt_id, a.look_at,
           a.status = 'open' AND a.schedule_id IS NULL AND a.look_at > $3 AND a.look_at <= a.last_sent_at + interval '15 minutes'
               AS being_sent
    FROM billing.cycles c
    CROSS JOIN LATERAL (
        SELECT * FROM billing.attempts o
        WHERE o.shard = c.shard AND o.cycle_id = c.cycle_id
        ORDER BY o.attempt_number DESC
        LIMIT 1
    ) AS a
    WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2
), ordered AS (
    UPDATE billing.attempts a SET look_at = $3
    FROM newest n
    WHERE NOT n.being_sent AND a.shard = n.shard AND a.attempt_id = n.attempt_id
      AND NOT (a.status = 'open' AND a.schedule_id IS NULL AND a.look_at > $3 AND a.look_at <= a.last_sent_at + interval '15 minutes')
)
SELECT shard, attempt_id, CASE WHEN being_sent THEN look_at ELSE $3 END AS look_at, being_sent FROM newest;

-- name: show_attempts
-- Every attempt on one payment_id, by way of its cycle: the shard is not known, and 64 probes of an index find it.
SELECT a.business_key, a.payment_id, a.attempt_number, a.idempotency_key, a.amount_minor, a.currency, a.status, a.source,
       a.opened_at, a.settled_at, a.look_at, a.looks, a.pg_tx_id, a.transaction_id, a.paid_at, a.decline_code, a.decline_message,
       a.verified_at, a.contradiction, a.worker, a.request_sha256, a.time_to_pay, a.schedule_id, a.revoke_reason
FROM billing.cycle_list c
JOIN billing.attempt_list a ON a.shard = c.shard AND a.cycle_id = c.cycle_id
WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2
ORDER BY a.attempt_number;
