-- Why: a booking that was taken back for a new price may turn out paid at the old one. The cycle then costs what was paid.
-- Locks: none on a table; the function alone is replaced, and its trigger stays.

CREATE OR REPLACE FUNCTION billing.keep_price() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
