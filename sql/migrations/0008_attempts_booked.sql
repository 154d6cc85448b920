-- migrate: no-transaction
-- Why: who changes a subscription's price or card, or ends it, has its open bookings taken back.
-- Locks: SHARE UPDATE EXCLUSIVE on billing.attempts while it is read twice. Workers go on.
-- Broken off, it leaves an index that is not valid: DROP INDEX billing.attempts_booked, then migrate again. IF NOT EXISTS would
-- take that one for good.

-- squawk-ignore ban-concurrent-index-creation-in-transaction, prefer-robust-stmts
CREATE INDEX CONCURRENTLY attempts_booked ON billing.attempts (shard, subscription_id)
WHERE status = 'open' AND time_to_pay IS NOT NULL;
