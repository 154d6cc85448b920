-- name: claim_position
-- Takes the right to read a list until the lease ends, or nothing while somebody has it or it is not time. $5 does not wait for the
-- time, only for whoever is reading. Looked at before it is written: most calls find that it is not time.
WITH taken AS (
    SELECT 1 FROM billing.positions
    WHERE name = $1 AND claimable_at > $2 AND NOT ($5::boolean AND reading_until IS NULL)
)
INSERT INTO billing.positions AS p (name, position, claimable_at, epoch, moved_at)
SELECT $1, $4::timestamptz, $3::timestamptz, 1, $2::timestamptz
WHERE NOT EXISTS (SELECT 1 FROM taken)
ON CONFLICT (name) DO UPDATE SET claimable_at = excluded.claimable_at, epoch = p.epoch + 1
WHERE p.claimable_at <= $2 OR ($5 AND p.reading_until IS NULL)
RETURNING p.position, p.reading_from, p.reading_until, p.place, p.started_at, p.epoch;

-- name: move_position
-- What has been read and ordered, or that the reading is over (no reading_until). Who was overtaken moves nothing; nor does whoever
-- wrote last to a server that was lost with it ($10 is the lease by that writing): the looks of those pages may be lost too, and an
-- epoch that was lost is given out again.
UPDATE billing.positions
SET position = $3, reading_from = $4, reading_until = $5, place = $6, started_at = $7, claimable_at = $8, moved_at = $9
WHERE name = $1 AND epoch = $2 AND claimable_at = $10
RETURNING name;

-- name: order_looks
-- look_soon for the payments that PortOne has listed as changed, where the change may be news: an open attempt may have ended, a dead
-- one may be paid, and of a paid one something may have been given back since it was compared ($6 is how far two clocks may differ).
-- The paid attempt is asked about where there is one, else the newest. As by read_hints, a look is never moved to a later time, what
-- is being sent is left alone, and an attempt that somebody is writing to is named busy: to be ordered again.
WITH input AS MATERIALIZED (
    SELECT payment_id, max(changed_at) AS changed_at, bool_or(paid) AS paid, bool_or(given_back) AS given_back
    FROM unnest($2::text[], $3::timestamptz[], $4::boolean[], $5::boolean[]) AS i (payment_id, changed_at, paid, given_back)
    GROUP BY payment_id
), named AS MATERIALIZED (
    SELECT i.payment_id, c.shard, a.attempt_id,
           CASE a.status WHEN 'open' THEN true
                         WHEN 'paid' THEN i.given_back AND coalesce(a.verified_at <= i.changed_at + $6::interval, true)
                         ELSE i.paid END AS news
    FROM input i
    CROSS JOIN LATERAL (
        SELECT c.shard, c.cycle_id FROM billing.cycles c
        WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = i.payment_id
        LIMIT 1
    ) AS c
    LEFT JOIN LATERAL (
        SELECT o.attempt_id, o.status, o.verified_at FROM billing.attempts o
        WHERE o.shard = c.shard AND o.cycle_id = c.cycle_id
        ORDER BY o.status = 'paid' DESC, o.attempt_number DESC
        LIMIT 1
    ) AS a ON true
), locked AS MATERIALIZED (
    SELECT n.payment_id, a.shard, a.attempt_id,
           -- By the rule of look_soon, word for word.
           a.status = 'open' AND a.schedule_id IS NULL AND a.look_at > $7 AND a.look_at <= a.last_sent_at + interval '15 minutes'
               AS being_sent
    FROM named n
    CROSS JOIN LATERAL (
        SELECT * FROM billing.attempts o WHERE o.shard = n.shard AND o.attempt_id = n.attempt_id
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS a
    WHERE n.news
), ordered AS (
    UPDATE billing.attempts a
    SET look_at = least(a.look_at, $7)
    FROM locked l
    WHERE NOT l.being_sent AND a.shard = l.shard AND a.attempt_id = l.attempt_id
)
SELECT n.payment_id,
       CASE WHEN n.attempt_id IS NULL THEN 'no_attempt'
            WHEN NOT n.news THEN 'known'
            WHEN l.attempt_id IS NULL THEN 'busy'
            WHEN l.being_sent THEN 'sending'
            ELSE 'ordered' END AS result
FROM named n
LEFT JOIN locked l ON l.payment_id = n.payment_id;
