-- Why: a period may be booked at PortOne days ahead. A booking is an attempt whose request says when PortOne shall charge; it
-- stays open until what came of it is known.
-- Locks: ACCESS EXCLUSIVE on subscriptions, cycles, attempts and ledger, in the order in which the workers take them, for catalogue
-- changes alone: the new columns are empty, and no row is read, since the constraints are NOT VALID until the next migration.
-- Every constraint that is dropped is put back wider by the same statement.
-- squawk-ignore-file ban-drop-constraint

ALTER TABLE billing.subscriptions
    DROP CONSTRAINT subscriptions_mode,
    ADD CONSTRAINT subscriptions_mode CHECK (mode IN ('charge', 'schedule')) NOT VALID;

ALTER TABLE billing.cycles
    DROP CONSTRAINT cycles_mode,
    ADD CONSTRAINT cycles_mode CHECK (mode IN ('charge', 'schedule')) NOT VALID;

ALTER TABLE billing.attempts
    -- When PortOne shall charge by itself: set, the attempt is a booking.
    ADD COLUMN time_to_pay timestamptz,
    -- PortOne's name of the booking, once it is known.
    ADD COLUMN schedule_id text,
    -- Why the booking shall be taken back.
    ADD COLUMN revoke_reason text,
    DROP CONSTRAINT attempts_status,
    ADD CONSTRAINT attempts_status CHECK (status IN ('open', 'paid', 'declined', 'refused', 'voided', 'revoked')) NOT VALID,
    ADD CONSTRAINT attempts_booking CHECK (time_to_pay IS NOT NULL OR (schedule_id IS NULL AND revoke_reason IS NULL
                                                                       AND status <> 'revoked')) NOT VALID,
    ADD CONSTRAINT attempts_revoke_reason CHECK (revoke_reason IN ('cancelled', 'price', 'card', 'held', 'skipped', 'retried'))
        NOT VALID;

ALTER TABLE billing.ledger
    DROP CONSTRAINT ledger_kind,
    ADD CONSTRAINT ledger_kind CHECK (kind IN ('intent', 'paid', 'declined', 'refused', 'voided', 'scheduled', 'revoked', 'given_up',
                                               'corrected', 'mismatch', 'refunded', 'disputed', 'held', 'skipped', 'operator'))
        NOT VALID;

-- A price may follow its subscription while nothing is asked of PortOne for it, and in schedule mode only: there a period is opened
-- days before it is owed. Class 23, so that it is the row that is refused and not the statement.
CREATE FUNCTION billing.keep_price() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the price of cycle % (%, %) is no longer open to change', NEW.cycle_id, NEW.mode, NEW.status
        USING ERRCODE = 'restrict_violation', HINT = 'Only a cycle of schedule mode that is due takes another price.';
END
$$;

CREATE TRIGGER cycles_price BEFORE UPDATE OF amount_minor, order_name ON billing.cycles FOR EACH ROW
    WHEN ((NEW.status <> 'due' OR NEW.mode <> 'schedule')
          AND (NEW.amount_minor <> OLD.amount_minor OR NEW.order_name <> OLD.order_name))
    EXECUTE FUNCTION billing.keep_price();
ALTER TABLE billing.cycles ENABLE ALWAYS TRIGGER cycles_price;

CREATE OR REPLACE VIEW billing.cycle_list AS
SELECT c.shard, c.cycle_id, c.subscription_id, s.business_key, c.cycle_number, c.period_start_on, c.period_end_on, c.due_at,
       c.amount_minor, c.currency, c.payment_id, c.status, c.attempts_count, c.declines_count, c.claimable_at, c.held_reason,
       c.paid_at, c.mode
FROM billing.cycles c
JOIN billing.subscriptions s ON s.shard = c.shard AND s.subscription_id = c.subscription_id;

CREATE OR REPLACE VIEW billing.attempt_list AS
SELECT a.shard, a.attempt_id, a.subscription_id, s.business_key, a.cycle_id, a.payment_id, a.attempt_number, a.idempotency_key,
       a.amount_minor, a.currency, a.status, a.source, a.opened_at, a.settled_at, a.look_at, a.looks, a.pg_tx_id, a.transaction_id,
       a.paid_at, a.decline_code, a.decline_message, a.verified_at, a.contradiction, a.worker,
       encode(a.request_sha256, 'hex') AS request_sha256, a.time_to_pay, a.schedule_id, a.revoke_reason
FROM billing.attempts a
JOIN billing.subscriptions s ON s.shard = a.shard AND s.subscription_id = a.subscription_id;

-- What is only to be booked is not due yet.
CREATE OR REPLACE VIEW billing.due_now AS
SELECT business_key, cycle_number, due_at, claimable_at, amount_minor, currency, payment_id, attempts_count
FROM billing.cycle_list
WHERE status = 'due' AND claimable_at <= clock_timestamp() AND due_at <= clock_timestamp();

-- A booking waits for its time, in billing.schedules; from then on it is open like any other attempt.
CREATE OR REPLACE VIEW billing.open_attempts AS
SELECT business_key, payment_id, attempt_number, amount_minor, currency, opened_at,
       clock_timestamp() - coalesce(time_to_pay, opened_at) AS open_for, looks, look_at, worker
FROM billing.attempt_list
WHERE status = 'open' AND (time_to_pay IS NULL OR time_to_pay <= clock_timestamp());

CREATE VIEW billing.schedules AS
SELECT c.business_key, c.cycle_number, a.payment_id, a.attempt_number, a.schedule_id, a.time_to_pay, a.amount_minor, a.currency,
       a.status, CASE WHEN a.schedule_id IS NOT NULL THEN a.opened_at END AS booked_at, a.revoke_reason, c.status AS cycle_status
FROM billing.attempts a
JOIN billing.cycle_list c ON c.shard = a.shard AND c.cycle_id = a.cycle_id
WHERE a.time_to_pay IS NOT NULL;

GRANT UPDATE (mode) ON billing.subscriptions TO billing_worker;
GRANT UPDATE (schedule_id, revoke_reason) ON billing.attempts TO billing_worker;
-- Under cycles_price.
GRANT UPDATE (amount_minor, order_name) ON billing.cycles TO billing_worker;
GRANT SELECT ON billing.schedules TO billing_worker, billing_auditor;
