-- migrate: no-transaction
-- Why: every watcher counts, a few times a minute, the bookings that PortOne is still to take back.
-- Locks: SHARE UPDATE EXCLUSIVE on billing.attempts while it is read twice. Workers go on.
-- Broken off, it leaves an index that is not valid: DROP INDEX billing.attempts_to_take_back, then migrate again. IF NOT EXISTS would
-- take that one for good.

-- squawk-ignore ban-concurrent-index-creation-in-transaction, prefer-robust-stmts
CREATE INDEX CONCURRENTLY attempts_to_take_back ON billing.attempts (shard, time_to_pay)
WHERE status = 'open' AND time_to_pay IS NOT NULL AND revoke_reason IS NOT NULL;
