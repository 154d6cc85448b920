-- migrate: no-transaction
-- Why: the comparison with PortOne's schedules walks the open bookings by when they are to be charged.
-- Locks: SHARE UPDATE EXCLUSIVE on billing.attempts while it is read twice. Workers go on.
-- Broken off, it leaves an index that is not valid: DROP INDEX billing.attempts_to_pay, then migrate again. IF NOT EXISTS would take
-- that one for good.

-- squawk-ignore ban-concurrent-index-creation-in-transaction, prefer-robust-stmts
CREATE INDEX CONCURRENTLY attempts_to_pay ON billing.attempts (time_to_pay, shard, attempt_id)
WHERE status = 'open' AND time_to_pay IS NOT NULL;
