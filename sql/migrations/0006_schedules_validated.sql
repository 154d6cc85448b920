-- Why: the constraints of the migration before this one also hold for what was there before them.
-- Locks: SHARE UPDATE EXCLUSIVE on subscriptions, cycles, attempts and ledger while each is read once. Workers go on.

ALTER TABLE billing.subscriptions VALIDATE CONSTRAINT subscriptions_mode;
ALTER TABLE billing.cycles VALIDATE CONSTRAINT cycles_mode;
ALTER TABLE billing.attempts VALIDATE CONSTRAINT attempts_status;
ALTER TABLE billing.attempts VALIDATE CONSTRAINT attempts_booking;
ALTER TABLE billing.attempts VALIDATE CONSTRAINT attempts_revoke_reason;
ALTER TABLE billing.ledger VALIDATE CONSTRAINT ledger_kind;
