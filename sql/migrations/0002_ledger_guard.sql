-- Why: an entry is numbered and chained by the database as it is written, and then never changed, whoever asks.
-- Locks: ACCESS EXCLUSIVE on billing.ledger for the moment of CREATE TRIGGER; the table is new.

-- Runs as the owner, so that the worker's role needs no right to the heads and cannot forge a chain.
CREATE FUNCTION billing.chain_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE FUNCTION billing.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on billing.% is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'Correct an entry by adding another one.';
END
$$;

CREATE TRIGGER ledger_chain BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION billing.chain_entry();
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON billing.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON billing.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_chain;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_no_truncate;

REVOKE EXECUTE ON FUNCTION billing.chain_entry() FROM PUBLIC;
