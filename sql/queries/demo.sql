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

-- name: demo_progress
-- How far the run is. What lies further away than two minutes belongs to no run of the demo, such as next month's cycle.
SELECT (SELECT count(*) FROM billing.subscription_list WHERE status = 'active' AND next_due_at <= clock_timestamp()) AS unopened,
       cycles.*, attempts.*
FROM (
    SELECT count(*) FILTER (WHERE status IN ('paid', 'given_up', 'held', 'skipped')) AS settled,
           count(*) FILTER (WHERE status = 'collecting') AS collecting,
           count(*) FILTER (WHERE status = 'due' AND claimable_at <= clock_timestamp() + interval '2 minutes') AS waiting,
           count(*) FILTER (WHERE status = 'due' AND attempts_count = 0) AS untried
    FROM billing.cycle_list
) AS cycles
CROSS JOIN (
    SELECT count(*) FILTER (WHERE status = 'open') AS open_attempts,
           count(*) FILTER (WHERE status = 'open' AND worker = $1) AS open_of_worker,
           count(*) FILTER (WHERE status <> 'open' AND look_at <= clock_timestamp() + interval '2 minutes') AS looks_left
    FROM billing.attempt_list
) AS attempts;

-- name: demo_outcomes
SELECT status, count(*) AS cycles, sum(amount_minor)::bigint AS won
FROM billing.cycle_list
GROUP BY status
ORDER BY status;

-- name: demo_payments
SELECT count(*) AS payments, coalesce(sum(amount_minor), 0)::bigint AS won,
       left(encode(sha256(convert_to(string_agg(line, E'\n' ORDER BY line COLLATE "C"), 'UTF8')), 'hex'), 16) AS fingerprint
FROM (
    SELECT amount_minor, concat_ws(' ', payment_id, amount_minor, pg_tx_id) AS line
    FROM billing.ledger
    WHERE kind = 'paid'
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
