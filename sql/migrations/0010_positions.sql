-- Why: how far PortOne's lists have been read, and in what its books differ from ours.
-- Locks: none that matter; every object is new.

-- One row a list that is followed or compared. Whoever holds the row until claimable_at is the only one who reads the list, and the
-- epoch fences off whoever held it before. Like webhook_inbox these rows belong to no subscription, so they have no shard.
CREATE TABLE billing.positions (
    name text PRIMARY KEY,
    -- Everything that changed at PortOne before this moment has been read.
    position timestamptz NOT NULL,
    -- What is being read now, and where its next page begins: NULL between two readings.
    reading_from timestamptz,
    reading_until timestamptz,
    place text,
    started_at timestamptz,
    claimable_at timestamptz NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL,
    CONSTRAINT positions_reading CHECK ((reading_from IS NULL) = (reading_until IS NULL)
                                        AND (reading_from IS NULL) = (started_at IS NULL)
                                        AND (reading_from IS NOT NULL OR place IS NULL)),
    CONSTRAINT positions_sizes CHECK (length(name) BETWEEN 1 AND 100 AND length(place) <= 1000)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

-- A payment may differ whose cycle is not known here, so these rows have no shard either.
CREATE TABLE billing.differences (
    difference_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    class text NOT NULL,
    payment_id text NOT NULL,
    schedule_id text NOT NULL DEFAULT '',
    shard smallint,
    subscription_id bigint,
    cycle_id bigint,
    what text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT differences_class CHECK (class IN ('paid_unknown', 'foreign', 'unknown_cycle', 'missing_there', 'amount', 'currency',
                                                  'late_flip', 'paid_twice', 'refund_unknown', 'disputed', 'schedule_missing',
                                                  'schedule_orphan', 'schedule_amount', 'schedule_time', 'schedule_revoked',
                                                  'schedule_foreign')),
    CONSTRAINT differences_cycle CHECK ((shard IS NULL) = (cycle_id IS NULL) AND (shard IS NULL) = (subscription_id IS NULL)),
    CONSTRAINT differences_sizes CHECK (length(payment_id) BETWEEN 1 AND 256 AND length(schedule_id) <= 256
                                        AND length(what) BETWEEN 1 AND 500)
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX differences_one_open ON billing.differences (class, payment_id, schedule_id) WHERE ended_at IS NULL;

CREATE VIEW billing.differences_open AS
SELECT d.class, c.business_key, c.cycle_number, d.payment_id, d.schedule_id, d.what, c.status AS cycle_status, d.first_seen_at,
       d.last_seen_at
FROM billing.differences d
LEFT JOIN billing.cycle_list c ON c.shard = d.shard AND c.cycle_id = d.cycle_id
WHERE d.ended_at IS NULL;

GRANT SELECT, INSERT ON billing.positions, billing.differences TO billing_worker;
GRANT UPDATE (position, reading_from, reading_until, place, started_at, claimable_at, epoch, moved_at) ON billing.positions
    TO billing_worker;
GRANT UPDATE (what, last_seen_at, ended_at) ON billing.differences TO billing_worker;
GRANT SELECT ON billing.differences_open TO billing_worker, billing_auditor;
GRANT SELECT ON billing.positions, billing.differences TO billing_auditor;
