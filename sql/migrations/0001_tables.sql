-- Why: the tables that billing stands on: what is owed, what was tried, and what came of it.
-- Locks: none that matter; every object is new.
-- Every table leads with shard, a stable hash of the subscription's business key, so that a claim touches one shard only
-- and the same schema can be distributed by it.

CREATE TABLE billing.subscriptions (
    shard smallint NOT NULL,
    subscription_id bigint GENERATED ALWAYS AS IDENTITY,
    business_key text NOT NULL,
    customer_id text NOT NULL,
    customer_name text NOT NULL DEFAULT '',
    customer_phone text NOT NULL DEFAULT '',
    customer_email text NOT NULL DEFAULT '',
    billing_key text NOT NULL,
    order_name text NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL DEFAULT 'KRW',
    period_unit text NOT NULL DEFAULT 'month',
    period_count smallint NOT NULL DEFAULT 1,
    anchor_on date NOT NULL,
    zone text NOT NULL DEFAULT 'Asia/Seoul',
    charge_at time NOT NULL DEFAULT '10:00',
    mode text NOT NULL DEFAULT 'charge',
    status text NOT NULL DEFAULT 'active',
    held_reason text,
    first_cycle_number integer NOT NULL DEFAULT 1,
    next_cycle_number integer NOT NULL DEFAULT 1,
    next_due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, subscription_id),
    CONSTRAINT subscriptions_business_key UNIQUE (shard, business_key),
    CONSTRAINT subscriptions_shard CHECK (shard BETWEEN 0 AND 63),
    CONSTRAINT subscriptions_amount CHECK (amount_minor BETWEEN 1 AND 1000000000),
    CONSTRAINT subscriptions_period_unit CHECK (period_unit IN ('day', 'week', 'month', 'year')),
    CONSTRAINT subscriptions_period_count CHECK (period_count BETWEEN 1 AND 366),
    CONSTRAINT subscriptions_mode CHECK (mode IN ('charge')),
    CONSTRAINT subscriptions_status CHECK (status IN ('active', 'held', 'cancelled')),
    CONSTRAINT subscriptions_held CHECK (status <> 'held' OR held_reason IS NOT NULL),
    CONSTRAINT subscriptions_next_cycle CHECK (first_cycle_number >= 1 AND next_cycle_number >= first_cycle_number),
    -- What a claim could not read must not get in, whoever writes it. Keep in step with billing/billing_key.py and money.py.
    CONSTRAINT subscriptions_business_key_form CHECK (length(business_key) BETWEEN 1 AND 120),
    CONSTRAINT subscriptions_billing_key_form CHECK (billing_key ~ '^[!-~]{1,200}$'),
    CONSTRAINT subscriptions_order_name_form CHECK (length(order_name) BETWEEN 1 AND 256),
    CONSTRAINT subscriptions_currency CHECK (currency IN ('KRW', 'USD', 'JPY')),
    CONSTRAINT subscriptions_zone CHECK (timezone(zone, timestamptz '2000-01-01 00:00:00+00') IS NOT NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);

CREATE INDEX subscriptions_held ON billing.subscriptions (shard, subscription_id) WHERE status = 'held';
CREATE INDEX subscriptions_by_key ON billing.subscriptions (business_key);
CREATE INDEX subscriptions_due ON billing.subscriptions (shard, next_due_at) WHERE status = 'active';

CREATE TABLE billing.cycles (
    shard smallint NOT NULL,
    cycle_id bigint GENERATED ALWAYS AS IDENTITY,
    subscription_id bigint NOT NULL,
    cycle_number integer NOT NULL,
    period_start_on date NOT NULL,
    period_end_on date NOT NULL,
    due_at timestamptz NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    order_name text NOT NULL,
    mode text NOT NULL DEFAULT 'charge',
    correction_number smallint NOT NULL DEFAULT 0,
    -- Whose payment_id it is. Asked at another store, PortOne would say that it knows no such payment.
    store_id text NOT NULL,
    payment_id text NOT NULL,
    status text NOT NULL DEFAULT 'due',
    claimable_at timestamptz NOT NULL,
    claim_epoch bigint NOT NULL DEFAULT 0,
    fruitless_claims integer NOT NULL DEFAULT 0,
    attempts_count integer NOT NULL DEFAULT 0,
    declines_count integer NOT NULL DEFAULT 0,
    first_declined_at timestamptz,
    held_reason text,
    paid_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, cycle_id),
    CONSTRAINT cycles_subscription FOREIGN KEY (shard, subscription_id) REFERENCES billing.subscriptions (shard, subscription_id),
    CONSTRAINT cycles_number UNIQUE (shard, subscription_id, cycle_number),
    CONSTRAINT cycles_payment_id UNIQUE (shard, payment_id),
    CONSTRAINT cycles_payment_id_form CHECK (payment_id ~ '^[0-9a-z]{30}$'),
    CONSTRAINT cycles_period CHECK (period_end_on > period_start_on),
    CONSTRAINT cycles_amount CHECK (amount_minor BETWEEN 1 AND 1000000000),
    CONSTRAINT cycles_mode CHECK (mode IN ('charge')),
    CONSTRAINT cycles_status CHECK (status IN ('due', 'collecting', 'paid', 'given_up', 'held', 'skipped')),
    CONSTRAINT cycles_paid CHECK ((status = 'paid') = (paid_at IS NOT NULL)),
    CONSTRAINT cycles_held CHECK (status <> 'held' OR held_reason IS NOT NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);

-- The claim: ordered by the time itself, so that a million future cycles cost nothing.
CREATE INDEX cycles_claimable ON billing.cycles (shard, claimable_at) WHERE status = 'due';
CREATE INDEX cycles_unfinished ON billing.cycles (shard, status, due_at) WHERE status IN ('collecting', 'held');

CREATE TABLE billing.attempts (
    shard smallint NOT NULL,
    attempt_id bigint GENERATED ALWAYS AS IDENTITY,
    cycle_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    attempt_number integer NOT NULL,
    payment_id text NOT NULL,
    idempotency_key text NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    status text NOT NULL DEFAULT 'open',
    -- The exact bytes that are sent, and sent again under the same key. They hold the billing key, so they go when the
    -- attempt settles; the hash stays.
    request_body bytea,
    request_sha256 bytea NOT NULL,
    opened_at timestamptz NOT NULL,
    last_sent_at timestamptz NOT NULL,
    worker text NOT NULL DEFAULT '',
    look_at timestamptz,
    look_epoch bigint NOT NULL DEFAULT 0,
    looks integer NOT NULL DEFAULT 0,
    settled_at timestamptz,
    source text,
    transaction_id text,
    pg_tx_id text,
    paid_at timestamptz,
    decline_code text,
    decline_message text,
    verified_at timestamptz,
    -- In what PortOne's payment is not the one we asked for, until a person has accepted it.
    contradiction text,
    PRIMARY KEY (shard, attempt_id),
    CONSTRAINT attempts_cycle FOREIGN KEY (shard, cycle_id) REFERENCES billing.cycles (shard, cycle_id),
    CONSTRAINT attempts_number UNIQUE (shard, cycle_id, attempt_number),
    CONSTRAINT attempts_idempotency_key UNIQUE (shard, idempotency_key),
    CONSTRAINT attempts_status CHECK (status IN ('open', 'paid', 'declined', 'refused', 'voided')),
    CONSTRAINT attempts_source CHECK (source IN ('answer', 'look', 'operator')),
    CONSTRAINT attempts_body CHECK ((status = 'open') = (request_body IS NOT NULL)),
    CONSTRAINT attempts_settled CHECK ((status = 'open') = (settled_at IS NULL)),
    CONSTRAINT attempts_asked CHECK (status <> 'open' OR look_at IS NOT NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);

CREATE UNIQUE INDEX attempts_one_open ON billing.attempts (shard, cycle_id) WHERE status = 'open';
CREATE UNIQUE INDEX attempts_one_paid ON billing.attempts (shard, cycle_id) WHERE status = 'paid';
CREATE INDEX attempts_contradicted ON billing.attempts (shard, attempt_id) WHERE contradiction IS NOT NULL;
CREATE INDEX attempts_to_look ON billing.attempts (shard, look_at) WHERE look_at IS NOT NULL;

CREATE TABLE billing.ledger (
    shard smallint NOT NULL,
    subscription_id bigint NOT NULL,
    sequence bigint NOT NULL,
    kind text NOT NULL,
    cycle_id bigint,
    attempt_id bigint,
    payment_id text,
    amount_minor bigint,
    currency char(3),
    pg_tx_id text,
    code text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    source text NOT NULL,
    actor text NOT NULL DEFAULT '',
    -- The login that wrote it. Actor is what a writer says of itself; this is what the database knows of it.
    written_by text NOT NULL,
    recorded_at timestamptz NOT NULL,
    previous_hash bytea NOT NULL,
    entry_hash bytea NOT NULL,
    PRIMARY KEY (shard, subscription_id, sequence),
    CONSTRAINT ledger_subscription FOREIGN KEY (shard, subscription_id) REFERENCES billing.subscriptions (shard, subscription_id),
    CONSTRAINT ledger_kind CHECK (kind IN ('intent', 'paid', 'declined', 'refused', 'voided', 'given_up', 'corrected',
                                           'mismatch', 'refunded', 'held', 'skipped', 'operator')),
    CONSTRAINT ledger_source CHECK (source IN ('rule', 'answer', 'look', 'operator')),
    -- A CHECK lets through what is NULL, so each column says that it must not be.
    CONSTRAINT ledger_paid CHECK (kind <> 'paid' OR (amount_minor IS NOT NULL AND amount_minor > 0 AND currency IS NOT NULL
                                                     AND cycle_id IS NOT NULL AND pg_tx_id IS NOT NULL)),
    CONSTRAINT ledger_refunded CHECK (kind <> 'refunded' OR (amount_minor IS NOT NULL AND amount_minor > 0
                                                             AND currency IS NOT NULL))
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- The last line of defence: one paid entry a cycle, and one entry for one of the PG's transactions.
CREATE UNIQUE INDEX ledger_one_paid ON billing.ledger (shard, cycle_id) WHERE kind = 'paid';
CREATE UNIQUE INDEX ledger_one_transaction ON billing.ledger (shard, pg_tx_id) WHERE kind = 'paid';
CREATE INDEX ledger_recorded ON billing.ledger (recorded_at);

-- The last sequence and hash of each chain. Its row lock puts writers of one subscription in line.
CREATE TABLE billing.ledger_heads (
    shard smallint NOT NULL,
    subscription_id bigint NOT NULL,
    sequence bigint NOT NULL,
    entry_hash bytea NOT NULL,
    PRIMARY KEY (shard, subscription_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

-- Events for the merchant's own systems, in the transaction that made them true.
CREATE TABLE billing.outbox (
    shard smallint NOT NULL,
    event_id bigint GENERATED ALWAYS AS IDENTITY,
    subscription_id bigint NOT NULL,
    event_type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, event_id)
);
CREATE INDEX outbox_created ON billing.outbox (created_at, event_id);

-- What a person has ordered of every worker, such as to stop sending.
CREATE TABLE billing.control (
    name text PRIMARY KEY,
    value text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT control_name CHECK (name IN ('sending')),
    CONSTRAINT control_value CHECK (value IN ('on', 'halted'))
);

-- Which database this is and whose: the newest row holds. A copy brings the rows along and is another database by them. Rows are
-- only added, so that they also tell when it moved, and who let it.
CREATE TABLE billing.deployment (
    version integer PRIMARY KEY,
    deployment text NOT NULL,
    live boolean NOT NULL,
    -- As pg_control_system() gives it; NULL where the server does not say.
    system_identifier bigint,
    -- An oid and a timeline have 32 bits without a sign.
    database_oid bigint NOT NULL,
    timeline bigint,
    -- Commits may have been lost with the server before this one: whatever was due before is looked at before it is sent.
    look_first_before timestamptz,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT deployment_version CHECK (version >= 1),
    CONSTRAINT deployment_form CHECK (deployment ~ '^[A-Za-z0-9._-]{1,64}$')
);
