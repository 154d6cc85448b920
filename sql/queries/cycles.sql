-- name: shards_due
-- Which shards have a cycle to collect, the one that has waited longest first, and whether its oldest is a suspect: claimed
-- before, and nothing came of it, so that whoever had it may have died of it. One index probe a shard. Only our own store's
-- cycles: at another store PortOne would know nothing of their payment_ids.
SELECT s.shard::smallint AS shard, oldest.suspect
FROM generate_series(0, 63) AS s (shard)
CROSS JOIN LATERAL (
    SELECT fruitless_claims > 0 AS suspect, claimable_at FROM billing.cycles
    WHERE shard = s.shard::smallint AND status = 'due' AND claimable_at <= $1 AND store_id = $2
    ORDER BY claimable_at
    LIMIT 1
) AS oldest
ORDER BY oldest.claimable_at;

-- name: claim_due_cycles
-- Takes the oldest due cycles of one shard. claimable_at moves forward to the lease's end, so a claimed row leaves the front
-- of the index; the epoch fences off whoever held the row before. The CTE is materialised so that the limit is taken once.
-- Either suspects or others: a row that kills whoever claims it must have no batch to take with it. Picked ids come as an array,
-- or a plan made for any limit would read every cycle of the shard to join with them. Until its time has come, a cycle of schedule
-- mode is claimed at its subscription's price.
WITH picked AS MATERIALIZED (
    SELECT cycle_id
    FROM billing.cycles
    WHERE shard = $1 AND status = 'due' AND claimable_at <= $2 AND (fruitless_claims > 0) = $5 AND store_id = $6
    ORDER BY claimable_at
    LIMIT $4
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE billing.cycles c
    SET claimable_at = $3, claim_epoch = c.claim_epoch + 1, fruitless_claims = c.fruitless_claims + 1,
        amount_minor = CASE WHEN c.mode = 'schedule' AND c.due_at > $2
                            THEN (SELECT s.amount_minor FROM billing.subscriptions s
                                  WHERE s.shard = c.shard AND s.subscription_id = c.subscription_id)
                            ELSE c.amount_minor END,
        order_name = CASE WHEN c.mode = 'schedule' AND c.due_at > $2
                          THEN (SELECT s.order_name FROM billing.subscriptions s
                                WHERE s.shard = c.shard AND s.subscription_id = c.subscription_id)
                          ELSE c.order_name END
    WHERE c.shard = $1 AND c.cycle_id = ANY (ARRAY(SELECT cycle_id FROM picked))
    RETURNING c.*
)
SELECT c.shard, c.cycle_id, c.subscription_id, c.cycle_number, c.payment_id, c.amount_minor, c.currency, c.order_name,
       c.due_at, c.mode, c.claim_epoch, c.fruitless_claims, c.attempts_count, s.business_key, s.status AS subscription_status,
       s.customer_id, s.customer_name, s.customer_phone, s.customer_email, s.billing_key
FROM claimed c
JOIN billing.subscriptions s ON s.shard = c.shard AND s.subscription_id = c.subscription_id;

-- name: release_cycles
-- Gives back what was claimed and not used; the epoch keeps us from giving back what somebody else has claimed since, and the
-- payment_id what a failover has given our id and epoch to.
UPDATE billing.cycles c
SET claimable_at = $5, fruitless_claims = greatest(c.fruitless_claims - 1, 0)
FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[]) AS i (shard, cycle_id, payment_id, claim_epoch)
WHERE c.shard = i.shard AND c.cycle_id = i.cycle_id AND c.payment_id = i.payment_id AND c.claim_epoch = i.claim_epoch
  AND c.status = 'due';

-- name: set_aside_cycles
-- Ends a claim without an attempt: held for a person, or skipped because its subscription has ended.
WITH input AS (
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[])
        AS i (shard, cycle_id, payment_id, claim_epoch, status, reason)
), moved AS (
    UPDATE billing.cycles c SET status = i.status, held_reason = CASE i.status WHEN 'held' THEN i.reason END
    FROM input i
    WHERE c.shard = i.shard AND c.cycle_id = i.cycle_id AND c.payment_id = i.payment_id AND c.claim_epoch = i.claim_epoch
      AND c.status = 'due'
    RETURNING c.shard, c.subscription_id, c.cycle_id, c.payment_id, c.currency, i.status, i.reason
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, payment_id, currency, code, source, actor,
                                recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, status, cycle_id, payment_id, currency, reason, 'rule', $7, clock_timestamp(), 0, '', ''
    FROM moved
    ORDER BY shard, subscription_id, cycle_id
)
SELECT payment_id FROM moved;

-- name: skip_cycle
-- A named person decides not to collect a period. An attempt that is still open is closed with it, by the same hand: its
-- truth is looked at again afterwards, like that of every attempt that was closed unpaid. A booking is not closed so, or PortOne
-- would still charge at its time: it stays open until it has been taken back.
WITH moved AS (
    UPDATE billing.cycles SET status = 'skipped', held_reason = NULL
    WHERE shard = ANY ($1::smallint[]) AND payment_id = $2 AND status IN ('due', 'given_up', 'held')
    RETURNING shard, subscription_id, cycle_id, payment_id, currency
), voided AS (
    UPDATE billing.attempts a
    SET status = 'voided', request_body = NULL, settled_at = clock_timestamp(), source = 'operator', look_at = $5, looks = 0
    FROM moved
    WHERE a.shard = moved.shard AND a.cycle_id = moved.cycle_id AND a.status = 'open' AND a.time_to_pay IS NULL
    RETURNING a.shard, a.subscription_id, a.cycle_id, a.attempt_id, a.payment_id, a.currency
), revoked AS (
    UPDATE billing.attempts a SET revoke_reason = coalesce(a.revoke_reason, 'skipped'), look_at = $6
    FROM moved
    WHERE a.shard = moved.shard AND a.cycle_id = moved.cycle_id AND a.status = 'open' AND a.time_to_pay IS NOT NULL
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, currency, code, message, source,
                                actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, kind, cycle_id, attempt_id, payment_id, currency, 'operator', $3, 'operator', $4,
           clock_timestamp(), 0, '', ''
    FROM (
        SELECT shard, subscription_id, 'voided' AS kind, cycle_id, attempt_id, payment_id, currency FROM voided
        UNION ALL
        SELECT shard, subscription_id, 'skipped', cycle_id, NULL, payment_id, currency FROM moved
    ) AS rows
)
SELECT count(*) AS moved FROM moved;

-- name: retry_cycle
-- A named person orders another try: the dunning count begins anew. Never while a charge is open. A booking that is still out is
-- taken back first: the cycle is due when that is settled. A cycle of schedule mode whose time has not come takes its
-- subscription's price: it may have changed while the cycle was held.
WITH booked AS MATERIALIZED (
    SELECT a.shard, a.cycle_id, a.attempt_id
    FROM billing.cycles c
    JOIN billing.attempts a ON a.shard = c.shard AND a.cycle_id = c.cycle_id AND a.status = 'open' AND a.time_to_pay IS NOT NULL
    WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2 AND c.status = 'held'
    FOR NO KEY UPDATE OF c, a
), moved AS (
    UPDATE billing.cycles c
    SET status = CASE WHEN c.cycle_id IN (SELECT cycle_id FROM booked) THEN 'collecting' ELSE 'due' END, held_reason = NULL, claimable_at = $5, fruitless_claims = 0, declines_count = 0, first_declined_at = NULL,
        amount_minor = CASE WHEN c.mode = 'schedule' AND c.due_at > $5 AND c.cycle_id NOT IN (SELECT cycle_id FROM booked)
                            THEN (SELECT s.amount_minor FROM billing.subscriptions s
                                  WHERE s.shard = c.shard AND s.subscription_id = c.subscription_id)
                            ELSE c.amount_minor END,
        order_name = CASE WHEN c.mode = 'schedule' AND c.due_at > $5 AND c.cycle_id NOT IN (SELECT cycle_id FROM booked)
                          THEN (SELECT s.order_name FROM billing.subscriptions s
                                WHERE s.shard = c.shard AND s.subscription_id = c.subscription_id)
                          ELSE c.order_name END
    WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2 AND c.status IN ('given_up', 'held')
      AND NOT EXISTS (SELECT 1 FROM billing.attempts a
                      WHERE a.shard = c.shard AND a.cycle_id = c.cycle_id AND a.status = 'open' AND a.time_to_pay IS NULL)
    RETURNING c.shard, c.subscription_id, c.cycle_id, c.payment_id, c.currency
), taken_back AS (
    UPDATE billing.attempts a SET revoke_reason = coalesce(a.revoke_reason, 'retried'), look_at = $5, contradiction = NULL
    FROM booked b
    JOIN moved m ON m.shard = b.shard AND m.cycle_id = b.cycle_id
    WHERE a.shard = b.shard AND a.attempt_id = b.attempt_id
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, payment_id, currency, code, message, source, actor,
                                recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'operator', cycle_id, payment_id, currency, 'retry', $3, 'operator', $4,
           clock_timestamp(), 0, '', ''
    FROM moved
)
SELECT count(*) AS moved FROM moved;

-- name: list_exceptions
SELECT business_key, cycle_number, due_at, amount_minor, currency, held_reason, payment_id
FROM billing.exceptions
ORDER BY due_at
LIMIT $1;

-- name: backlog
-- What the gauges show. Shard by shard, so that cycles that are not due cost nothing; counting what is due stops at a bound, so
-- that a great backlog costs no more than a small one. held is what a person has to decide about: the list of exceptions.
SELECT due.due, due.oldest_due_at, due.unopened,
    (SELECT count(*) FROM billing.cycles WHERE status = 'held')
        + (SELECT count(*) FROM billing.subscriptions WHERE status = 'held')
        + (SELECT count(*) FROM billing.attempts a JOIN billing.cycles c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
           WHERE a.contradiction IS NOT NULL AND c.status = 'paid') AS held,
    open.open_attempts, open.oldest_open_at, unwanted.to_take_back, unwanted.first_unwanted_at
FROM (
    SELECT coalesce(sum(one.due), 0)::bigint AS due, min(one.oldest_due_at) AS oldest_due_at,
           coalesce(sum(two.unopened), 0)::bigint AS unopened
    FROM generate_series(0, 63) AS s (shard)
    CROSS JOIN LATERAL (
        SELECT count(*) AS due, min(claimable_at) AS oldest_due_at
        FROM (
            SELECT claimable_at FROM billing.cycles
            -- What is opened ahead to be booked is owed to nobody yet.
            WHERE shard = s.shard::smallint AND status = 'due' AND claimable_at <= $1 AND due_at <= $1
            ORDER BY claimable_at
            LIMIT 2000
        ) AS oldest
    ) AS one
    CROSS JOIN LATERAL (
        SELECT count(*) AS unopened
        FROM (
            SELECT 1 FROM billing.subscriptions
            WHERE shard = s.shard::smallint AND status = 'active' AND next_due_at <= $1
            LIMIT 2000
        ) AS waiting
    ) AS two
) AS due
CROSS JOIN (
    -- A held cycle's attempt is open too, and waits for a person who has it on the list already. A booking is open for days before
    -- its time, and nothing is wrong with it until that has come.
    SELECT count(*) AS open_attempts, min(greatest(a.opened_at, a.time_to_pay)) AS oldest_open_at
    FROM generate_series(0, 63) AS s (shard)
    JOIN billing.cycles c ON c.shard = s.shard::smallint AND c.status = 'collecting' AND c.due_at <= $1
    JOIN billing.attempts a ON a.shard = c.shard AND a.cycle_id = c.cycle_id AND a.status = 'open'
) AS open
CROSS JOIN (
    -- What PortOne is still to take back, whatever became of its cycle, and when the first of it would be charged.
    SELECT count(*) AS to_take_back, min(time_to_pay) AS first_unwanted_at
    FROM billing.attempts
    WHERE status = 'open' AND time_to_pay IS NOT NULL AND revoke_reason IS NOT NULL
) AS unwanted;

-- name: accept_cycle
-- A named person accepts what PortOne has for a paid cycle, though it is not what was asked for. The entry that says in what it
-- differs stays.
WITH cycle AS (
    SELECT shard, cycle_id FROM billing.cycles
    WHERE shard = ANY ($1::smallint[]) AND payment_id = $2 AND status = 'paid'
    FOR NO KEY UPDATE
), accepted AS (
    UPDATE billing.attempts a SET contradiction = NULL
    FROM cycle
    WHERE a.shard = cycle.shard AND a.cycle_id = cycle.cycle_id AND a.contradiction IS NOT NULL
    RETURNING a.shard, a.subscription_id, a.cycle_id, a.attempt_id, a.payment_id, a.currency
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, currency, code, message, source,
                                actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'operator', cycle_id, attempt_id, payment_id, currency, 'accepted', $3, 'operator', $4,
           clock_timestamp(), 0, '', ''
    FROM accepted
)
SELECT count(*) AS moved FROM accepted;

-- name: hold_cycle
-- A named person sets aside a cycle that is being collected. Its attempt stays open, so that no other can be sent; a booking is
-- taken back, or it would be charged whatever the person decides.
WITH moved AS (
    UPDATE billing.cycles SET status = 'held', held_reason = $3
    WHERE shard = ANY ($1::smallint[]) AND payment_id = $2 AND status = 'collecting'
    RETURNING shard, subscription_id, cycle_id, payment_id, currency
), revoked AS (
    UPDATE billing.attempts a SET revoke_reason = coalesce(a.revoke_reason, 'held'), look_at = $5
    FROM moved
    WHERE a.shard = moved.shard AND a.cycle_id = moved.cycle_id AND a.status = 'open' AND a.time_to_pay IS NOT NULL
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, payment_id, currency, code, message, source, actor,
                                recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'held', cycle_id, payment_id, currency, 'operator', $3, 'operator', $4,
           clock_timestamp(), 0, '', ''
    FROM moved
)
SELECT count(*) AS moved FROM moved;
