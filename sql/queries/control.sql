-- name: primary_clock
SELECT clock_timestamp() AS now;

-- name: read_control
SELECT value, reason, actor, changed_at FROM billing.control WHERE name = $1;

-- name: write_control
INSERT INTO billing.control (name, value, reason, actor) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE
SET value = excluded.value, reason = excluded.reason, actor = excluded.actor, changed_at = clock_timestamp();

-- name: server_facts
-- What start-up insists on: a primary that keeps its promises about a commit.
SELECT pg_is_in_recovery() AS in_recovery, current_setting('server_version_num')::integer AS version,
       current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
       (SELECT max(version) FROM billing.schema_migrations) AS schema_version;

-- name: excess_rights
-- What the connected role could do to the ledger and must not: each row is one right too many.
SELECT r.grant_name, r.remedy
FROM (VALUES
    ('superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
     'connect as a role that is no superuser'),
    ('BYPASSRLS or REPLICATION', (SELECT rolreplication FROM pg_roles WHERE rolname = current_user),
     'ALTER ROLE ' || quote_ident(current_user) || ' NOREPLICATION'),
    ('membership in billing_owner', pg_has_role(current_user, 'billing_owner', 'MEMBER'),
     'REVOKE billing_owner, billing_migrator FROM ' || quote_ident(current_user)),
    ('UPDATE on billing.ledger', has_table_privilege('billing.ledger', 'UPDATE') OR has_any_column_privilege('billing.ledger', 'UPDATE'),
     'REVOKE UPDATE ON billing.ledger FROM ' || quote_ident(current_user) || ' and from every role it is in'),
    ('DELETE on billing.ledger', has_table_privilege('billing.ledger', 'DELETE'),
     'REVOKE DELETE ON billing.ledger FROM ' || quote_ident(current_user) || ' and from every role it is in'),
    ('TRUNCATE on billing.ledger', has_table_privilege('billing.ledger', 'TRUNCATE'),
     'REVOKE TRUNCATE ON billing.ledger FROM ' || quote_ident(current_user) || ' and from every role it is in'),
    ('TRIGGER on billing.ledger', has_table_privilege('billing.ledger', 'TRIGGER'),
     'REVOKE TRIGGER ON billing.ledger FROM ' || quote_ident(current_user) || ' and from every role it is in'),
    ('a change to billing.ledger_heads', has_table_privilege('billing.ledger_heads', 'INSERT, UPDATE, DELETE, TRUNCATE'),
     'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON billing.ledger_heads FROM ' || quote_ident(current_user))
) AS r (grant_name, held, remedy)
WHERE r.held;
