-- Why: webhooks are kept before they are acknowledged, so that none that PortOne counts as delivered is lost with a worker.
-- Locks: none that matter; every object is new.

-- Hints: of which payment PortOne spoke, and never what it said of it. A hint belongs to no subscription until it is read,
-- so this table has no shard and stands beside control. No body, no signature, no billing key.
CREATE TABLE billing.webhook_inbox (
    webhook_id text PRIMARY KEY,
    event_type text NOT NULL,
    payment_id text NOT NULL,
    transaction_id text,
    cancellation_id text,
    -- Whether it named our store; NULL where its version names none.
    store_matches boolean,
    sent_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    read_at timestamptz,
    result text,
    CONSTRAINT webhook_inbox_sizes CHECK (length(webhook_id) BETWEEN 1 AND 200 AND length(event_type) BETWEEN 1 AND 100
                                          AND length(payment_id) BETWEEN 1 AND 200 AND length(transaction_id) <= 200
                                          AND length(cancellation_id) <= 200),
    CONSTRAINT webhook_inbox_result CHECK (result IN ('ordered', 'sending', 'no_attempt', 'unknown')),
    CONSTRAINT webhook_inbox_read CHECK ((read_at IS NULL) = (result IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX webhook_inbox_unread ON billing.webhook_inbox (received_at) WHERE read_at IS NULL;
CREATE INDEX webhook_inbox_received ON billing.webhook_inbox (received_at);

GRANT SELECT, INSERT, DELETE ON billing.webhook_inbox TO billing_worker;
GRANT UPDATE (read_at, result) ON billing.webhook_inbox TO billing_worker;
GRANT SELECT ON billing.webhook_inbox TO billing_auditor;
