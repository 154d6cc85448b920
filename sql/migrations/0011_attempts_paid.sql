-- migrate: no-transaction
-- Why: the comparison with PortOne's payments walks what was paid here by when it was paid.
-- Locks: SHARE UPDATE EXCLUSIVE on billing.attempts while it is read twice. Workers go on.
-- Broken off, it leaves an index that is not valid: DROP INDEX billing.attempts_paid, then migrate again. IF NOT EXISTS would take
-- that one for good.

-- squawk-ignore ban-concurrent-index-creation-in-transaction, prefer-robust-stmts
CREATE INDEX CONCURRENTLY attempts_paid ON billing.attempts (paid_at, shard, attempt_id) WHERE status = 'paid';
