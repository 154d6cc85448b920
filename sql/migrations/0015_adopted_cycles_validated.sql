-- Why: the constraints of the migration before this one also hold for what was there before them.
-- Locks: SHARE UPDATE EXCLUSIVE on cycles while it is read. Workers go on.

ALTER TABLE billing.cycles VALIDATE CONSTRAINT cycles_payment_id_form;
ALTER TABLE billing.cycles VALIDATE CONSTRAINT cycles_adopted;
