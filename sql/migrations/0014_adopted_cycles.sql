-- Why: a merchant's own schedules may be taken over, and a cycle then has the payment_id that the merchant gave it.
-- Locks: ACCESS EXCLUSIVE on cycles for catalogue changes alone: the column has a constant default, and no row is read, since the
-- constraints are NOT VALID until the next migration. The one that is dropped is put back by the same statement.
-- squawk-ignore-file ban-drop-constraint

ALTER TABLE billing.cycles
    -- Begun by a schedule that stood at PortOne already. Its first attempt has no request of ours, and is never sent.
    ADD COLUMN adopted boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT cycles_payment_id_form,
    -- What PortOne takes at most where the id is a merchant's; ours stay what every PG takes.
    ADD CONSTRAINT cycles_payment_id_form CHECK (CASE WHEN adopted THEN payment_id ~ '^[A-Za-z0-9_-]{6,64}$'
                                                      ELSE payment_id ~ '^[0-9a-z]{30}$' END) NOT VALID,
    ADD CONSTRAINT cycles_adopted CHECK (NOT adopted OR mode = 'schedule') NOT VALID;
