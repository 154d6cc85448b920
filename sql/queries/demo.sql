-- name: demo_name_login
-- The next statement takes these from the transaction's settings: a statement that makes a role takes no arguments.
SELECT set_config('demo.login', $1, true), set_config('demo.password', $2, true), set_config('demo.group', $3, true);

-- name: demo_make_login
-- A login of the demo's own server, in one of the group roles.
DO $login$
BEGIN
    EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE %I', current_setting('demo.login'), current_setting('demo.password'),
                   current_setting('demo.group'));
END
$login$;

-- name: demo_set_due
-- A file names the minute of a charge, and a run of the demo is shorter than that. Only the owner of the tables may move a date.
UPDATE billing.subscriptions s
SET charge_at = (i.due_at AT TIME ZONE s.zone)::time, next_due_at = i.due_at
FROM unnest($1::text[], $2::timestamptz[]) AS i (business_key, due_at)
WHERE s.business_key = i.business_key
RETURNING s.business_key;

-- name: demo_progress
-- How far the run is. What lies further away than an hour belongs to no run of the demo, such as next month's cycle.
SELECT (SELECT count(*) FROM billing.subscription_list
        WHERE status = 'active' AND next_due_at <= clock_timestamp() + interval '1 hour') AS unopened,
       cycles.*, attempts.*
FROM (
    SELECT count(*) FILTER (WHERE status IN ('paid', 'given_up', 'held', 'skipped')) AS settled,
           count(*) FILTER (WHERE status = 'collecting') AS collecting,
           count(*) FILTER (WHERE status = 'due' AND claimable_at <= clock_timestamp() + interval '1 hour') AS waiting,
           count(*) FILTER (WHERE status = 'due' AND attempts_count = 0) AS untried
    FROM billing.cycle_list
) AS cycles
CROSS JOIN (
    SELECT count(*) FILTER (WHERE status = 'open' AND NOT is_booked) AS open_attempts,
           count(*) FILTER (WHERE status = 'open' AND is_booked) AS booked,
           count(*) FILTER (WHERE status = 'open' AND schedule_id IS NULL AND worker = $1) AS open_of_worker,
           count(*) FILTER (WHERE status = 'open' AND schedule_id IS NULL AND worker = $1 AND time_to_pay IS NOT NULL)
               AS open_bookings_of_worker,
           count(*) FILTER (WHERE status <> 'open' AND look_at <= clock_timestamp() + interval '1 hour') AS looks_left
    FROM (SELECT *, schedule_id IS NOT NULL AND time_to_pay > clock_timestamp() AS is_booked FROM billing.attempt_list) AS listed
) AS attempts;

-- name: demo_not_booked
-- Of these subscriptions, those that PortOne has not confirmed a booking of.
SELECT business_key FROM unnest($1::text[]) AS i (business_key)
EXCEPT
SELECT business_key FROM billing.schedules WHERE booked_at IS NOT NULL;

-- name: demo_outcomes
SELECT mode, status, count(*) AS cycles, sum(amount_minor)::bigint AS won
FROM billing.cycle_list
GROUP BY mode, status
ORDER BY mode, status;

-- name: demo_payments
SELECT count(*) AS payments, count(*) FILTER (WHERE is_booking) AS by_schedule, coalesce(sum(amount_minor), 0)::bigint AS won,
       left(encode(sha256(convert_to(string_agg(line, E'\n' ORDER BY line COLLATE "C"), 'UTF8')), 'hex'), 16) AS fingerprint
FROM (
    SELECT l.amount_minor, a.time_to_pay IS NOT NULL AS is_booking, concat_ws(' ', l.payment_id, l.amount_minor, l.pg_tx_id) AS line
    FROM billing.ledger l
    LEFT JOIN billing.attempt_list a USING (shard, attempt_id)
    WHERE l.kind = 'paid'
) AS paid;

-- name: demo_paid_twice
SELECT min(payment_id) AS payment_id, count(*) AS paid_entries
FROM billing.ledger
WHERE kind = 'paid'
GROUP BY shard, cycle_id
HAVING count(*) > 1;

-- name: demo_missed
SELECT business_key, cycle_number, status
FROM billing.cycle_list
WHERE due_at <= $1 AND status NOT IN ('paid', 'given_up', 'held', 'skipped')
UNION ALL
SELECT business_key, next_cycle_number, 'never opened'
FROM billing.subscription_list
WHERE status = 'active' AND next_due_at <= $1;

-- name: demo_too_early
SELECT business_key
FROM billing.cycle_list
WHERE paid_at < due_at;

-- name: demo_paid_entries
-- Every payment of the ledger, to lay beside PortOne's one by one.
SELECT payment_id, amount_minor, pg_tx_id
FROM billing.ledger
WHERE kind = 'paid';

-- name: demo_cycle_ends
-- What became of every cycle.
SELECT business_key, status, amount_minor
FROM billing.cycle_list;

-- name: demo_attempt_figures
-- How the attempts ended, and how many of them only a question to PortOne could end.
SELECT (SELECT count(*) FROM billing.attempt_list) AS attempts,
       count(DISTINCT (shard, attempt_id)) FILTER (WHERE source = 'look') AS resolved_by_asking,
       count(*) FILTER (WHERE kind = 'declined') AS declines,
       count(*) FILTER (WHERE kind = 'refused') AS refusals,
       count(*) FILTER (WHERE kind = 'corrected') AS paid_after_all
FROM billing.ledger;

-- name: demo_bookings
-- Every booking, to lay beside PortOne's schedules one by one.
SELECT schedule_id, payment_id, amount_minor, status, revoke_reason
FROM billing.schedules;

-- name: demo_booking_figures
-- One that was declined is tried again by charges; so is one that was refused or lost. Where the answer to a booking was never heard,
-- what PortOne did at its time is all that is known of it.
SELECT count(*) FILTER (WHERE booked_at IS NOT NULL OR status IN ('paid', 'declined')) AS booked,
       count(*) FILTER (WHERE booked_at IS NULL AND status IN ('paid', 'declined')) AS known_by_outcome,
       count(*) FILTER (WHERE status = 'paid') AS paid,
       count(*) FILTER (WHERE status = 'declined') AS declined,
       count(*) FILTER (WHERE status = 'revoked' AND revoke_reason = 'price') AS revoked_for_price,
       count(*) FILTER (WHERE status = 'revoked' AND revoke_reason = 'cancelled') AS revoked_for_cancellation,
       count(*) FILTER (WHERE status = 'refused') AS refused,
       count(*) FILTER (WHERE status = 'voided') AS lost
FROM billing.schedules;

-- name: demo_learnt
-- How it was learnt whether money came: by the answer to the charge, by a look that a webhook brought forward, or by a look in its
-- turn. A booking is looked at anyway once the grace ($1) after its time is over.
WITH hinted AS (
    SELECT DISTINCT a.shard, a.attempt_id
    FROM billing.attempt_list a
    JOIN billing.webhook_inbox i ON i.payment_id = a.payment_id
    WHERE i.result = 'ordered' AND i.read_at >= coalesce(a.time_to_pay, a.opened_at)
      AND i.read_at <= least(a.settled_at, a.time_to_pay + $1::interval)
)
SELECT CASE WHEN a.time_to_pay IS NULL THEN 'charges' ELSE 'bookings' END AS tried_by,
       count(*) FILTER (WHERE a.source = 'answer') AS by_answer,
       count(*) FILTER (WHERE a.source <> 'answer' AND h.attempt_id IS NOT NULL) AS by_webhook,
       count(*) FILTER (WHERE a.source <> 'answer' AND h.attempt_id IS NULL) AS by_asking
FROM billing.attempt_list a
LEFT JOIN hinted h USING (shard, attempt_id)
WHERE a.status IN ('paid', 'declined')
GROUP BY 1
ORDER BY 1 DESC;

-- name: demo_hints
-- Of the webhooks that came and were ours to follow, how many ordered a look.
SELECT count(*) AS kept, count(*) FILTER (WHERE result = 'ordered') AS ordered
FROM billing.webhook_inbox;
