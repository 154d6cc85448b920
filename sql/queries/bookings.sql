-- name: list_bookings
-- What is booked at PortOne, the next to be charged first; $1 also what is over.
SELECT business_key, cycle_number, payment_id, attempt_number, schedule_id, time_to_pay, amount_minor, currency, status, booked_at,
       revoke_reason, cycle_status
FROM billing.schedules
WHERE $1::boolean OR status = 'open'
ORDER BY time_to_pay, business_key
LIMIT $2;

-- name: revoke_booking
-- A named person has a booking taken back, after which the cycle is booked anew, or charged when it is due. The wish only: a worker
-- has PortOne do it.
WITH wished AS (
    UPDATE billing.attempts a SET revoke_reason = 'retried', look_at = $5
    FROM billing.cycles c
    WHERE c.shard = ANY ($1::smallint[]) AND c.payment_id = $2 AND c.status = 'collecting'
      AND a.shard = c.shard AND a.cycle_id = c.cycle_id AND a.status = 'open' AND a.time_to_pay IS NOT NULL
      AND a.revoke_reason IS NULL
    RETURNING a.shard, a.subscription_id, a.cycle_id, a.attempt_id, a.payment_id, a.currency
), entered AS (
    INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, currency, code, message, source,
                                actor, recorded_at, sequence, previous_hash, entry_hash)
    SELECT shard, subscription_id, 'operator', cycle_id, attempt_id, payment_id, currency, 'revoke', $3, 'operator', $4,
           clock_timestamp(), 0, '', ''
    FROM wished
)
SELECT attempt_id FROM wished;
