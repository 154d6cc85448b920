-- The four group roles. They cannot log in: create a user of your own IN ROLE one of them.
--   billing_owner     owns every object; nobody logs in as it
--   billing_migrator  may act as the owner: give it to the user that runs `billing-worker migrate`
--   billing_worker    what the daemon needs, and no change to a ledger row
--   billing_auditor   reads the ledger and the views, never a billing key
-- Idempotent. Needs CREATEROLE (or superuser); `billing-worker migrate --print-roles` prints it for a DBA.
DO $roles$
DECLARE
    wanted text;
    -- From PostgreSQL 16 on, whoever makes a role is a member of it and may still not act as it.
    acting text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['billing_owner', 'billing_migrator', 'billing_worker', 'billing_auditor'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            RAISE NOTICE 'role % was made by somebody else at the same time', wanted;
        END;
    END LOOP;
    IF NOT pg_has_role('billing_migrator', 'billing_owner', acting) THEN
        GRANT billing_owner TO billing_migrator;
    END IF;
    IF NOT pg_has_role(current_user, 'billing_owner', acting) THEN
        EXECUTE format('GRANT billing_owner TO %I', current_user);
    END IF;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO billing_owner', current_database());
END
$roles$;
