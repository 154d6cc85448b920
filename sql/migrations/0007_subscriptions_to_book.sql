-- migrate: no-transaction
-- Why: a period of schedule mode is opened days before it is due, and the search for it must not read those that are charged.
-- Locks: SHARE UPDATE EXCLUSIVE on billing.subscriptions while it is read twice. Workers go on.
-- Broken off, it leaves an index that is not valid: DROP INDEX billing.subscriptions_to_book, then migrate again. IF NOT EXISTS
-- would take that one for good.

-- squawk-ignore ban-concurrent-index-creation-in-transaction, prefer-robust-stmts
CREATE INDEX CONCURRENTLY subscriptions_to_book ON billing.subscriptions (shard, next_due_at)
WHERE status = 'active' AND mode = 'schedule';
