-- The schema as all of sql/migrations leave it, for reading. Nothing runs this file.
-- Written by `python -m tests.schema_dump`; a test compares it with a freshly migrated database.

CREATE SCHEMA billing;

CREATE FUNCTION billing.chain_entry() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    head record;
BEGIN
    SELECT h.sequence, h.entry_hash INTO head FROM billing.ledger_heads h
    WHERE h.shard = NEW.shard AND h.subscription_id = NEW.subscription_id FOR UPDATE;
    IF NOT FOUND THEN
        -- Two first entries at once: one inserts, the other waits here and then reads what the first has written.
        INSERT INTO billing.ledger_heads (shard, subscription_id, sequence, entry_hash)
        VALUES (NEW.shard, NEW.subscription_id, 0, ''::bytea) ON CONFLICT DO NOTHING;
        SELECT h.sequence, h.entry_hash INTO STRICT head FROM billing.ledger_heads h
        WHERE h.shard = NEW.shard AND h.subscription_id = NEW.subscription_id FOR UPDATE;
    END IF;
    NEW.sequence := head.sequence + 1;
    NEW.previous_hash := head.entry_hash;
    NEW.recorded_at := clock_timestamp();
    -- The login: current_user is the owner in here.
    NEW.written_by := session_user;
    NEW.entry_hash := sha256(convert_to(jsonb_build_array(
        encode(NEW.previous_hash, 'hex'), NEW.subscription_id, NEW.sequence, NEW.kind, NEW.cycle_id, NEW.attempt_id,
        NEW.payment_id, NEW.amount_minor, NEW.currency, NEW.pg_tx_id, NEW.code, NEW.message, NEW.source, NEW.actor,
        NEW.written_by, (extract(epoch FROM NEW.recorded_at) * 1000000)::bigint
    )::text, 'UTF8'));
    UPDATE billing.ledger_heads h SET sequence = NEW.sequence, entry_hash = NEW.entry_hash
    WHERE h.shard = NEW.shard AND h.subscription_id = NEW.subscription_id;
    RETURN NEW;
END
$$;

CREATE FUNCTION billing.keep_price() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NEW.status = 'paid' AND OLD.status <> 'paid' AND NEW.mode = 'schedule' AND NEW.order_name = OLD.order_name
       AND EXISTS (SELECT 1 FROM billing.attempts a
                   WHERE a.shard = NEW.shard AND a.cycle_id = NEW.cycle_id AND a.time_to_pay IS NOT NULL
                     AND a.amount_minor = NEW.amount_minor) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the price of cycle % (%, %) is no longer open to change', NEW.cycle_id, NEW.mode, NEW.status
        USING ERRCODE = 'restrict_violation',
              HINT = 'Only a cycle of schedule mode takes another price: while it is due, or that of the booking that paid it.';
END
$$;

CREATE FUNCTION billing.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on billing.% is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'Correct an entry by adding another one.';
END
$$;

CREATE TABLE billing.attempts (
    shard smallint NOT NULL,
    attempt_id bigint NOT NULL,
    cycle_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    attempt_number integer NOT NULL,
    payment_id text NOT NULL,
    idempotency_key text NOT NULL,
    amount_minor bigint NOT NULL,
    currency character(3) NOT NULL,
    status text DEFAULT 'open'::text NOT NULL,
    request_body bytea,
    request_sha256 bytea NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    last_sent_at timestamp with time zone NOT NULL,
    worker text DEFAULT ''::text NOT NULL,
    look_at timestamp with time zone,
    look_epoch bigint DEFAULT 0 NOT NULL,
    looks integer DEFAULT 0 NOT NULL,
    settled_at timestamp with time zone,
    source text,
    transaction_id text,
    pg_tx_id text,
    paid_at timestamp with time zone,
    decline_code text,
    decline_message text,
    verified_at timestamp with time zone,
    contradiction text,
    time_to_pay timestamp with time zone,
    schedule_id text,
    revoke_reason text,
    CONSTRAINT attempts_asked CHECK (((status <> 'open'::text) OR (look_at IS NOT NULL))),
    CONSTRAINT attempts_body CHECK (((status = 'open'::text) = (request_body IS NOT NULL))),
    CONSTRAINT attempts_booking CHECK (((time_to_pay IS NOT NULL) OR ((schedule_id IS NULL) AND (revoke_reason IS NULL) AND (status <> 'revoked'::text)))),
    CONSTRAINT attempts_revoke_reason CHECK ((revoke_reason = ANY (ARRAY['cancelled'::text, 'price'::text, 'card'::text, 'held'::text, 'skipped'::text, 'retried'::text]))),
    CONSTRAINT attempts_settled CHECK (((status = 'open'::text) = (settled_at IS NULL))),
    CONSTRAINT attempts_source CHECK ((source = ANY (ARRAY['answer'::text, 'look'::text, 'operator'::text]))),
    CONSTRAINT attempts_status CHECK ((status = ANY (ARRAY['open'::text, 'paid'::text, 'declined'::text, 'refused'::text, 'voided'::text, 'revoked'::text])))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.01');

CREATE TABLE billing.subscriptions (
    shard smallint NOT NULL,
    subscription_id bigint NOT NULL,
    business_key text NOT NULL,
    customer_id text NOT NULL,
    customer_name text DEFAULT ''::text NOT NULL,
    customer_phone text DEFAULT ''::text NOT NULL,
    customer_email text DEFAULT ''::text NOT NULL,
    billing_key text NOT NULL,
    order_name text NOT NULL,
    amount_minor bigint NOT NULL,
    currency character(3) DEFAULT 'KRW'::bpchar NOT NULL,
    period_unit text DEFAULT 'month'::text NOT NULL,
    period_count smallint DEFAULT 1 NOT NULL,
    anchor_on date NOT NULL,
    zone text DEFAULT 'Asia/Seoul'::text NOT NULL,
    charge_at time without time zone DEFAULT '10:00:00'::time without time zone NOT NULL,
    mode text DEFAULT 'charge'::text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    held_reason text,
    first_cycle_number integer DEFAULT 1 NOT NULL,
    next_cycle_number integer DEFAULT 1 NOT NULL,
    next_due_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT subscriptions_amount CHECK (((amount_minor >= 1) AND (amount_minor <= 1000000000))),
    CONSTRAINT subscriptions_billing_key_form CHECK ((billing_key ~ '^[!-~]{1,200}$'::text)),
    CONSTRAINT subscriptions_business_key_form CHECK (((length(business_key) >= 1) AND (length(business_key) <= 120))),
    CONSTRAINT subscriptions_currency CHECK ((currency = ANY (ARRAY['KRW'::bpchar, 'USD'::bpchar, 'JPY'::bpchar]))),
    CONSTRAINT subscriptions_held CHECK (((status <> 'held'::text) OR (held_reason IS NOT NULL))),
    CONSTRAINT subscriptions_mode CHECK ((mode = ANY (ARRAY['charge'::text, 'schedule'::text]))),
    CONSTRAINT subscriptions_next_cycle CHECK (((first_cycle_number >= 1) AND (next_cycle_number >= first_cycle_number))),
    CONSTRAINT subscriptions_order_name_form CHECK (((length(order_name) >= 1) AND (length(order_name) <= 256))),
    CONSTRAINT subscriptions_period_count CHECK (((period_count >= 1) AND (period_count <= 366))),
    CONSTRAINT subscriptions_period_unit CHECK ((period_unit = ANY (ARRAY['day'::text, 'week'::text, 'month'::text, 'year'::text]))),
    CONSTRAINT subscriptions_shard CHECK (((shard >= 0) AND (shard <= 63))),
    CONSTRAINT subscriptions_status CHECK ((status = ANY (ARRAY['active'::text, 'held'::text, 'cancelled'::text]))),
    CONSTRAINT subscriptions_zone CHECK ((timezone(zone, '2000-01-01 00:00:00+00'::timestamp with time zone) IS NOT NULL))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.01');

CREATE VIEW billing.attempt_list AS
 SELECT a.shard,
    a.attempt_id,
    a.subscription_id,
    s.business_key,
    a.cycle_id,
    a.payment_id,
    a.attempt_number,
    a.idempotency_key,
    a.amount_minor,
    a.currency,
    a.status,
    a.source,
    a.opened_at,
    a.settled_at,
    a.look_at,
    a.looks,
    a.pg_tx_id,
    a.transaction_id,
    a.paid_at,
    a.decline_code,
    a.decline_message,
    a.verified_at,
    a.contradiction,
    a.worker,
    encode(a.request_sha256, 'hex'::text) AS request_sha256,
    a.time_to_pay,
    a.schedule_id,
    a.revoke_reason
   FROM (billing.attempts a
     JOIN billing.subscriptions s ON (((s.shard = a.shard) AND (s.subscription_id = a.subscription_id))));

ALTER TABLE billing.attempts ALTER COLUMN attempt_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.attempts_attempt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE billing.ledger (
    shard smallint NOT NULL,
    subscription_id bigint NOT NULL,
    sequence bigint NOT NULL,
    kind text NOT NULL,
    cycle_id bigint,
    attempt_id bigint,
    payment_id text,
    amount_minor bigint,
    currency character(3),
    pg_tx_id text,
    code text DEFAULT ''::text NOT NULL,
    message text DEFAULT ''::text NOT NULL,
    source text NOT NULL,
    actor text DEFAULT ''::text NOT NULL,
    written_by text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    previous_hash bytea NOT NULL,
    entry_hash bytea NOT NULL,
    CONSTRAINT ledger_kind CHECK ((kind = ANY (ARRAY['intent'::text, 'paid'::text, 'declined'::text, 'refused'::text, 'voided'::text, 'scheduled'::text, 'revoked'::text, 'given_up'::text, 'corrected'::text, 'mismatch'::text, 'refunded'::text, 'disputed'::text, 'held'::text, 'skipped'::text, 'operator'::text]))),
    CONSTRAINT ledger_paid CHECK (((kind <> 'paid'::text) OR ((amount_minor IS NOT NULL) AND (amount_minor > 0) AND (currency IS NOT NULL) AND (cycle_id IS NOT NULL) AND (pg_tx_id IS NOT NULL)))),
    CONSTRAINT ledger_refunded CHECK (((kind <> 'refunded'::text) OR ((amount_minor IS NOT NULL) AND (amount_minor > 0) AND (currency IS NOT NULL)))),
    CONSTRAINT ledger_source CHECK ((source = ANY (ARRAY['rule'::text, 'answer'::text, 'look'::text, 'operator'::text])))
)
WITH (autovacuum_vacuum_insert_scale_factor='0.05');

CREATE VIEW billing.collected_by_day AS
 SELECT ((recorded_at AT TIME ZONE 'Asia/Seoul'::text))::date AS day_in_seoul,
    currency,
    count(*) FILTER (WHERE (kind = 'paid'::text)) AS payments,
    COALESCE(sum(amount_minor) FILTER (WHERE (kind = 'paid'::text)), (0)::numeric) AS collected_minor,
    COALESCE(sum(amount_minor) FILTER (WHERE (kind = 'refunded'::text)), (0)::numeric) AS refunded_minor
   FROM billing.ledger
  WHERE (kind = ANY (ARRAY['paid'::text, 'refunded'::text]))
  GROUP BY (((recorded_at AT TIME ZONE 'Asia/Seoul'::text))::date), currency;

CREATE TABLE billing.control (
    name text NOT NULL,
    value text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT control_name CHECK ((name = 'sending'::text)),
    CONSTRAINT control_value CHECK ((value = ANY (ARRAY['on'::text, 'halted'::text])))
);

CREATE TABLE billing.cycles (
    shard smallint NOT NULL,
    cycle_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    cycle_number integer NOT NULL,
    period_start_on date NOT NULL,
    period_end_on date NOT NULL,
    due_at timestamp with time zone NOT NULL,
    amount_minor bigint NOT NULL,
    currency character(3) NOT NULL,
    order_name text NOT NULL,
    mode text DEFAULT 'charge'::text NOT NULL,
    correction_number smallint DEFAULT 0 NOT NULL,
    store_id text NOT NULL,
    payment_id text NOT NULL,
    status text DEFAULT 'due'::text NOT NULL,
    claimable_at timestamp with time zone NOT NULL,
    claim_epoch bigint DEFAULT 0 NOT NULL,
    fruitless_claims integer DEFAULT 0 NOT NULL,
    attempts_count integer DEFAULT 0 NOT NULL,
    declines_count integer DEFAULT 0 NOT NULL,
    first_declined_at timestamp with time zone,
    held_reason text,
    paid_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    adopted boolean DEFAULT false NOT NULL,
    CONSTRAINT cycles_adopted CHECK (((NOT adopted) OR (mode = 'schedule'::text))),
    CONSTRAINT cycles_amount CHECK (((amount_minor >= 1) AND (amount_minor <= 1000000000))),
    CONSTRAINT cycles_held CHECK (((status <> 'held'::text) OR (held_reason IS NOT NULL))),
    CONSTRAINT cycles_mode CHECK ((mode = ANY (ARRAY['charge'::text, 'schedule'::text]))),
    CONSTRAINT cycles_paid CHECK (((status = 'paid'::text) = (paid_at IS NOT NULL))),
    CONSTRAINT cycles_payment_id_form CHECK (
CASE
    WHEN adopted THEN (payment_id ~ '^[A-Za-z0-9_-]{6,64}$'::text)
    ELSE (payment_id ~ '^[0-9a-z]{30}$'::text)
END),
    CONSTRAINT cycles_period CHECK ((period_end_on > period_start_on)),
    CONSTRAINT cycles_status CHECK ((status = ANY (ARRAY['due'::text, 'collecting'::text, 'paid'::text, 'given_up'::text, 'held'::text, 'skipped'::text])))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.01');

CREATE VIEW billing.cycle_list AS
 SELECT c.shard,
    c.cycle_id,
    c.subscription_id,
    s.business_key,
    c.cycle_number,
    c.period_start_on,
    c.period_end_on,
    c.due_at,
    c.amount_minor,
    c.currency,
    c.payment_id,
    c.status,
    c.attempts_count,
    c.declines_count,
    c.claimable_at,
    c.held_reason,
    c.paid_at,
    c.mode
   FROM (billing.cycles c
     JOIN billing.subscriptions s ON (((s.shard = c.shard) AND (s.subscription_id = c.subscription_id))));

ALTER TABLE billing.cycles ALTER COLUMN cycle_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.cycles_cycle_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE billing.deployment (
    version integer NOT NULL,
    deployment text NOT NULL,
    live boolean NOT NULL,
    system_identifier bigint,
    database_oid bigint NOT NULL,
    timeline bigint,
    look_first_before timestamp with time zone,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT deployment_form CHECK ((deployment ~ '^[A-Za-z0-9._-]{1,64}$'::text)),
    CONSTRAINT deployment_version CHECK ((version >= 1))
);

CREATE TABLE billing.differences (
    difference_id bigint NOT NULL,
    class text NOT NULL,
    payment_id text NOT NULL,
    schedule_id text DEFAULT ''::text NOT NULL,
    shard smallint,
    subscription_id bigint,
    cycle_id bigint,
    what text NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT differences_class CHECK ((class = ANY (ARRAY['paid_unknown'::text, 'foreign'::text, 'unknown_cycle'::text, 'missing_there'::text, 'amount'::text, 'currency'::text, 'late_flip'::text, 'paid_twice'::text, 'refund_unknown'::text, 'disputed'::text, 'schedule_missing'::text, 'schedule_orphan'::text, 'schedule_amount'::text, 'schedule_time'::text, 'schedule_revoked'::text, 'schedule_foreign'::text]))),
    CONSTRAINT differences_cycle CHECK ((((shard IS NULL) = (cycle_id IS NULL)) AND ((shard IS NULL) = (subscription_id IS NULL)))),
    CONSTRAINT differences_sizes CHECK ((((length(payment_id) >= 1) AND (length(payment_id) <= 256)) AND (length(schedule_id) <= 256) AND ((length(what) >= 1) AND (length(what) <= 500))))
)
WITH (fillfactor='80');

ALTER TABLE billing.differences ALTER COLUMN difference_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.differences_difference_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW billing.differences_open AS
 SELECT d.class,
    c.business_key,
    c.cycle_number,
    d.payment_id,
    d.schedule_id,
    d.what,
    c.status AS cycle_status,
    d.first_seen_at,
    d.last_seen_at
   FROM (billing.differences d
     LEFT JOIN billing.cycle_list c ON (((c.shard = d.shard) AND (c.cycle_id = d.cycle_id))))
  WHERE (d.ended_at IS NULL);

CREATE VIEW billing.ledger_entries AS
 SELECT l.shard,
    s.business_key,
    l.sequence,
    l.kind,
    l.cycle_id,
    l.attempt_id,
    l.payment_id,
    l.amount_minor,
    l.currency,
    l.pg_tx_id,
    l.code,
    l.message,
    l.source,
    l.actor,
    l.written_by,
    l.recorded_at
   FROM (billing.ledger l
     JOIN billing.subscriptions s ON (((s.shard = l.shard) AND (s.subscription_id = l.subscription_id))));

CREATE VIEW billing.double_entries AS
 SELECT l.shard,
    l.business_key,
    l.sequence,
    l.recorded_at,
    side.account,
    side.debit_minor,
    side.credit_minor,
    l.currency
   FROM (billing.ledger_entries l
     CROSS JOIN LATERAL ( VALUES ('pg_receivable'::text,
                CASE l.kind
                    WHEN 'paid'::text THEN l.amount_minor
                    ELSE (0)::bigint
                END,
                CASE l.kind
                    WHEN 'refunded'::text THEN l.amount_minor
                    ELSE (0)::bigint
                END), ('customer'::text,
                CASE l.kind
                    WHEN 'refunded'::text THEN l.amount_minor
                    ELSE (0)::bigint
                END,
                CASE l.kind
                    WHEN 'paid'::text THEN l.amount_minor
                    ELSE (0)::bigint
                END)) side(account, debit_minor, credit_minor))
  WHERE (l.kind = ANY (ARRAY['paid'::text, 'refunded'::text]));

CREATE VIEW billing.due_now AS
 SELECT business_key,
    cycle_number,
    due_at,
    claimable_at,
    amount_minor,
    currency,
    payment_id,
    attempts_count
   FROM billing.cycle_list
  WHERE ((status = 'due'::text) AND (claimable_at <= clock_timestamp()) AND (due_at <= clock_timestamp()));

CREATE VIEW billing.exceptions AS
 SELECT cycle_list.business_key,
    cycle_list.cycle_number,
    cycle_list.due_at,
    cycle_list.amount_minor,
    cycle_list.currency,
    cycle_list.held_reason,
    cycle_list.payment_id
   FROM billing.cycle_list
  WHERE (cycle_list.status = 'held'::text)
UNION ALL
 SELECT subscriptions.business_key,
    subscriptions.next_cycle_number AS cycle_number,
    subscriptions.next_due_at AS due_at,
    subscriptions.amount_minor,
    subscriptions.currency,
    subscriptions.held_reason,
    NULL::text AS payment_id
   FROM billing.subscriptions
  WHERE (subscriptions.status = 'held'::text)
UNION ALL
 SELECT c.business_key,
    c.cycle_number,
    c.due_at,
    c.amount_minor,
    c.currency,
    a.contradiction AS held_reason,
    c.payment_id
   FROM (billing.attempts a
     JOIN billing.cycle_list c ON (((c.shard = a.shard) AND (c.cycle_id = a.cycle_id))))
  WHERE ((a.contradiction IS NOT NULL) AND (c.status = 'paid'::text));

CREATE VIEW billing.last_day AS
 SELECT kind,
    source,
    currency,
    count(*) AS entries,
    sum(amount_minor) AS amount_minor,
    min(recorded_at) AS first_at,
    max(recorded_at) AS last_at
   FROM billing.ledger
  WHERE (recorded_at > (clock_timestamp() - '1 day'::interval))
  GROUP BY kind, source, currency;

CREATE TABLE billing.ledger_heads (
    shard smallint NOT NULL,
    subscription_id bigint NOT NULL,
    sequence bigint NOT NULL,
    entry_hash bytea NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.01');

CREATE VIEW billing.open_attempts AS
 SELECT business_key,
    payment_id,
    attempt_number,
    amount_minor,
    currency,
    opened_at,
    (clock_timestamp() - COALESCE(time_to_pay, opened_at)) AS open_for,
    looks,
    look_at,
    worker
   FROM billing.attempt_list
  WHERE ((status = 'open'::text) AND ((time_to_pay IS NULL) OR (time_to_pay <= clock_timestamp())));

CREATE TABLE billing.outbox (
    shard smallint NOT NULL,
    event_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    event_type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE billing.outbox ALTER COLUMN event_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.outbox_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW billing.past_due AS
 SELECT business_key,
    cycle_number,
    due_at,
    amount_minor,
    currency,
    declines_count,
    status,
        CASE
            WHEN (status = 'due'::text) THEN claimable_at
            ELSE NULL::timestamp with time zone
        END AS next_try_at,
    payment_id
   FROM billing.cycle_list
  WHERE ((status = ANY (ARRAY['due'::text, 'collecting'::text, 'given_up'::text])) AND (declines_count > 0));

CREATE TABLE billing.positions (
    name text NOT NULL,
    "position" timestamp with time zone NOT NULL,
    reading_from timestamp with time zone,
    reading_until timestamp with time zone,
    place text,
    started_at timestamp with time zone,
    claimable_at timestamp with time zone NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    moved_at timestamp with time zone NOT NULL,
    CONSTRAINT positions_reading CHECK ((((reading_from IS NULL) = (reading_until IS NULL)) AND ((reading_from IS NULL) = (started_at IS NULL)) AND ((reading_from IS NOT NULL) OR (place IS NULL)))),
    CONSTRAINT positions_sizes CHECK ((((length(name) >= 1) AND (length(name) <= 100)) AND (length(place) <= 1000)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.01');

CREATE VIEW billing.schedules AS
 SELECT c.business_key,
    c.cycle_number,
    a.payment_id,
    a.attempt_number,
    a.schedule_id,
    a.time_to_pay,
    a.amount_minor,
    a.currency,
    a.status,
        CASE
            WHEN (a.schedule_id IS NOT NULL) THEN a.opened_at
            ELSE NULL::timestamp with time zone
        END AS booked_at,
    a.revoke_reason,
    c.status AS cycle_status
   FROM (billing.attempts a
     JOIN billing.cycle_list c ON (((c.shard = a.shard) AND (c.cycle_id = a.cycle_id))))
  WHERE (a.time_to_pay IS NOT NULL);

CREATE TABLE billing.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    applied_by text DEFAULT SESSION_USER NOT NULL,
    elapsed_ms integer NOT NULL
);

CREATE VIEW billing.subscription_list AS
 SELECT shard,
    subscription_id,
    business_key,
    customer_id,
    order_name,
    amount_minor,
    currency,
    period_unit,
    period_count,
    anchor_on,
    zone,
    charge_at,
    mode,
    status,
    next_cycle_number,
    next_due_at,
    created_at,
    changed_at
   FROM billing.subscriptions;

ALTER TABLE billing.subscriptions ALTER COLUMN subscription_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.subscriptions_subscription_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE billing.webhook_inbox (
    webhook_id text NOT NULL,
    event_type text NOT NULL,
    payment_id text NOT NULL,
    transaction_id text,
    cancellation_id text,
    store_matches boolean,
    sent_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    read_at timestamp with time zone,
    result text,
    CONSTRAINT webhook_inbox_read CHECK (((read_at IS NULL) = (result IS NULL))),
    CONSTRAINT webhook_inbox_result CHECK ((result = ANY (ARRAY['ordered'::text, 'sending'::text, 'no_attempt'::text, 'unknown'::text]))),
    CONSTRAINT webhook_inbox_sizes CHECK ((((length(webhook_id) >= 1) AND (length(webhook_id) <= 200)) AND ((length(event_type) >= 1) AND (length(event_type) <= 100)) AND ((length(payment_id) >= 1) AND (length(payment_id) <= 200)) AND (length(transaction_id) <= 200) AND (length(cancellation_id) <= 200)))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02');

ALTER TABLE ONLY billing.attempts
    ADD CONSTRAINT attempts_idempotency_key UNIQUE (shard, idempotency_key);

ALTER TABLE ONLY billing.attempts
    ADD CONSTRAINT attempts_number UNIQUE (shard, cycle_id, attempt_number);

ALTER TABLE ONLY billing.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (shard, attempt_id);

ALTER TABLE ONLY billing.control
    ADD CONSTRAINT control_pkey PRIMARY KEY (name);

ALTER TABLE ONLY billing.cycles
    ADD CONSTRAINT cycles_number UNIQUE (shard, subscription_id, cycle_number);

ALTER TABLE ONLY billing.cycles
    ADD CONSTRAINT cycles_payment_id UNIQUE (shard, payment_id);

ALTER TABLE ONLY billing.cycles
    ADD CONSTRAINT cycles_pkey PRIMARY KEY (shard, cycle_id);

ALTER TABLE ONLY billing.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (version);

ALTER TABLE ONLY billing.differences
    ADD CONSTRAINT differences_pkey PRIMARY KEY (difference_id);

ALTER TABLE ONLY billing.ledger_heads
    ADD CONSTRAINT ledger_heads_pkey PRIMARY KEY (shard, subscription_id);

ALTER TABLE ONLY billing.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (shard, subscription_id, sequence);

ALTER TABLE ONLY billing.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (shard, event_id);

ALTER TABLE ONLY billing.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (name);

ALTER TABLE ONLY billing.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY billing.subscriptions
    ADD CONSTRAINT subscriptions_business_key UNIQUE (shard, business_key);

ALTER TABLE ONLY billing.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (shard, subscription_id);

ALTER TABLE ONLY billing.webhook_inbox
    ADD CONSTRAINT webhook_inbox_pkey PRIMARY KEY (webhook_id);

CREATE INDEX attempts_booked ON billing.attempts USING btree (shard, subscription_id) WHERE ((status = 'open'::text) AND (time_to_pay IS NOT NULL));

CREATE INDEX attempts_contradicted ON billing.attempts USING btree (shard, attempt_id) WHERE (contradiction IS NOT NULL);

CREATE UNIQUE INDEX attempts_one_open ON billing.attempts USING btree (shard, cycle_id) WHERE (status = 'open'::text);

CREATE UNIQUE INDEX attempts_one_paid ON billing.attempts USING btree (shard, cycle_id) WHERE (status = 'paid'::text);

CREATE INDEX attempts_paid ON billing.attempts USING btree (paid_at, shard, attempt_id) WHERE (status = 'paid'::text);

CREATE INDEX attempts_to_look ON billing.attempts USING btree (shard, look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX attempts_to_pay ON billing.attempts USING btree (time_to_pay, shard, attempt_id) WHERE ((status = 'open'::text) AND (time_to_pay IS NOT NULL));

CREATE INDEX attempts_to_take_back ON billing.attempts USING btree (shard, time_to_pay) WHERE ((status = 'open'::text) AND (time_to_pay IS NOT NULL) AND (revoke_reason IS NOT NULL));

CREATE INDEX cycles_claimable ON billing.cycles USING btree (shard, claimable_at) WHERE (status = 'due'::text);

CREATE INDEX cycles_unfinished ON billing.cycles USING btree (shard, status, due_at) WHERE (status = ANY (ARRAY['collecting'::text, 'held'::text]));

CREATE UNIQUE INDEX differences_one_open ON billing.differences USING btree (class, payment_id, schedule_id) WHERE (ended_at IS NULL);

CREATE UNIQUE INDEX ledger_one_paid ON billing.ledger USING btree (shard, cycle_id) WHERE (kind = 'paid'::text);

CREATE UNIQUE INDEX ledger_one_transaction ON billing.ledger USING btree (shard, pg_tx_id) WHERE (kind = 'paid'::text);

CREATE INDEX ledger_recorded ON billing.ledger USING btree (recorded_at);

CREATE INDEX outbox_created ON billing.outbox USING btree (created_at, event_id);

CREATE INDEX subscriptions_by_key ON billing.subscriptions USING btree (business_key);

CREATE INDEX subscriptions_due ON billing.subscriptions USING btree (shard, next_due_at) WHERE (status = 'active'::text);

CREATE INDEX subscriptions_held ON billing.subscriptions USING btree (shard, subscription_id) WHERE (status = 'held'::text);

CREATE INDEX subscriptions_to_book ON billing.subscriptions USING btree (shard, next_due_at) WHERE ((status = 'active'::text) AND (mode = 'schedule'::text));

CREATE INDEX webhook_inbox_received ON billing.webhook_inbox USING btree (received_at);

CREATE INDEX webhook_inbox_unread ON billing.webhook_inbox USING btree (received_at) WHERE (read_at IS NULL);

CREATE TRIGGER cycles_price BEFORE UPDATE OF amount_minor, order_name ON billing.cycles FOR EACH ROW WHEN ((((new.status <> 'due'::text) OR (new.mode <> 'schedule'::text)) AND ((new.amount_minor <> old.amount_minor) OR (new.order_name <> old.order_name)))) EXECUTE FUNCTION billing.keep_price();

ALTER TABLE billing.cycles ENABLE ALWAYS TRIGGER cycles_price;

CREATE TRIGGER ledger_append_only BEFORE DELETE OR UPDATE ON billing.ledger FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;

CREATE TRIGGER ledger_chain BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION billing.chain_entry();

ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_chain;

CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON billing.ledger FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_no_truncate;

ALTER TABLE ONLY billing.attempts
    ADD CONSTRAINT attempts_cycle FOREIGN KEY (shard, cycle_id) REFERENCES billing.cycles(shard, cycle_id);

ALTER TABLE ONLY billing.cycles
    ADD CONSTRAINT cycles_subscription FOREIGN KEY (shard, subscription_id) REFERENCES billing.subscriptions(shard, subscription_id);

ALTER TABLE ONLY billing.ledger
    ADD CONSTRAINT ledger_subscription FOREIGN KEY (shard, subscription_id) REFERENCES billing.subscriptions(shard, subscription_id);

GRANT USAGE ON SCHEMA billing TO billing_worker;
GRANT USAGE ON SCHEMA billing TO billing_auditor;

REVOKE ALL ON FUNCTION billing.chain_entry() FROM PUBLIC;

GRANT SELECT,INSERT ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(status) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(request_body) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(last_sent_at) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(look_at) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(look_epoch) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(looks) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(settled_at) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(source) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(transaction_id) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(pg_tx_id) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(paid_at) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(decline_code) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(decline_message) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(verified_at) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(contradiction) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(schedule_id) ON TABLE billing.attempts TO billing_worker;

GRANT UPDATE(revoke_reason) ON TABLE billing.attempts TO billing_worker;

GRANT SELECT,INSERT ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(customer_id) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(customer_name) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(customer_phone) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(customer_email) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(billing_key) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(order_name) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(amount_minor) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(mode) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(status) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(held_reason) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(next_cycle_number) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(next_due_at) ON TABLE billing.subscriptions TO billing_worker;

GRANT UPDATE(changed_at) ON TABLE billing.subscriptions TO billing_worker;

GRANT SELECT ON TABLE billing.attempt_list TO billing_worker;
GRANT SELECT ON TABLE billing.attempt_list TO billing_auditor;

GRANT SELECT,INSERT ON TABLE billing.ledger TO billing_worker;
GRANT SELECT ON TABLE billing.ledger TO billing_auditor;

GRANT SELECT ON TABLE billing.collected_by_day TO billing_worker;
GRANT SELECT ON TABLE billing.collected_by_day TO billing_auditor;

GRANT SELECT,INSERT,UPDATE ON TABLE billing.control TO billing_worker;
GRANT SELECT ON TABLE billing.control TO billing_auditor;

GRANT SELECT,INSERT ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(amount_minor) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(order_name) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(status) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(claimable_at) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(claim_epoch) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(fruitless_claims) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(attempts_count) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(declines_count) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(first_declined_at) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(held_reason) ON TABLE billing.cycles TO billing_worker;

GRANT UPDATE(paid_at) ON TABLE billing.cycles TO billing_worker;

GRANT SELECT ON TABLE billing.cycle_list TO billing_worker;
GRANT SELECT ON TABLE billing.cycle_list TO billing_auditor;

GRANT SELECT,INSERT ON TABLE billing.deployment TO billing_worker;
GRANT SELECT ON TABLE billing.deployment TO billing_auditor;

GRANT SELECT,INSERT ON TABLE billing.differences TO billing_worker;
GRANT SELECT ON TABLE billing.differences TO billing_auditor;

GRANT UPDATE(what) ON TABLE billing.differences TO billing_worker;

GRANT UPDATE(last_seen_at) ON TABLE billing.differences TO billing_worker;

GRANT UPDATE(ended_at) ON TABLE billing.differences TO billing_worker;

GRANT SELECT ON TABLE billing.differences_open TO billing_worker;
GRANT SELECT ON TABLE billing.differences_open TO billing_auditor;

GRANT SELECT ON TABLE billing.ledger_entries TO billing_worker;
GRANT SELECT ON TABLE billing.ledger_entries TO billing_auditor;

GRANT SELECT ON TABLE billing.double_entries TO billing_worker;
GRANT SELECT ON TABLE billing.double_entries TO billing_auditor;

GRANT SELECT ON TABLE billing.due_now TO billing_worker;
GRANT SELECT ON TABLE billing.due_now TO billing_auditor;

GRANT SELECT ON TABLE billing.exceptions TO billing_worker;
GRANT SELECT ON TABLE billing.exceptions TO billing_auditor;

GRANT SELECT ON TABLE billing.last_day TO billing_worker;
GRANT SELECT ON TABLE billing.last_day TO billing_auditor;

GRANT SELECT ON TABLE billing.ledger_heads TO billing_worker;
GRANT SELECT ON TABLE billing.ledger_heads TO billing_auditor;

GRANT SELECT ON TABLE billing.open_attempts TO billing_worker;
GRANT SELECT ON TABLE billing.open_attempts TO billing_auditor;

GRANT SELECT,INSERT ON TABLE billing.outbox TO billing_worker;
GRANT SELECT ON TABLE billing.outbox TO billing_auditor;

GRANT SELECT ON TABLE billing.past_due TO billing_worker;
GRANT SELECT ON TABLE billing.past_due TO billing_auditor;

GRANT SELECT,INSERT ON TABLE billing.positions TO billing_worker;
GRANT SELECT ON TABLE billing.positions TO billing_auditor;

GRANT UPDATE("position") ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(reading_from) ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(reading_until) ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(place) ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(started_at) ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(claimable_at) ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(epoch) ON TABLE billing.positions TO billing_worker;

GRANT UPDATE(moved_at) ON TABLE billing.positions TO billing_worker;

GRANT SELECT ON TABLE billing.schedules TO billing_worker;
GRANT SELECT ON TABLE billing.schedules TO billing_auditor;

GRANT SELECT ON TABLE billing.schema_migrations TO billing_worker;
GRANT SELECT ON TABLE billing.schema_migrations TO billing_auditor;

GRANT SELECT ON TABLE billing.subscription_list TO billing_worker;
GRANT SELECT ON TABLE billing.subscription_list TO billing_auditor;

GRANT SELECT,INSERT,DELETE ON TABLE billing.webhook_inbox TO billing_worker;
GRANT SELECT ON TABLE billing.webhook_inbox TO billing_auditor;

GRANT UPDATE(read_at) ON TABLE billing.webhook_inbox TO billing_worker;

GRANT UPDATE(result) ON TABLE billing.webhook_inbox TO billing_worker;
