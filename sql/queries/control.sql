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
-- What the connected role could do to the ledger and must not: each row is one right too many. A right counts that any role has
-- which the connected one is in, inherited or not, since SET ROLE would take it on.
WITH reachable AS (
    SELECT oid FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')
), me AS (
    SELECT rolsuper, rolreplication, rolcreaterole FROM pg_roles WHERE rolname = current_user
), rights (grant_name, held, remedy) AS (
    SELECT 'superuser', rolsuper, 'connect as a role that is no superuser' FROM me
    UNION ALL
    SELECT 'REPLICATION', rolreplication, 'ALTER ROLE ' || quote_ident(current_user) || ' NOREPLICATION' FROM me
    UNION ALL
    SELECT 'CREATEROLE', rolcreaterole, 'ALTER ROLE ' || quote_ident(current_user) || ' NOCREATEROLE' FROM me
    UNION ALL
    SELECT 'membership in billing_owner', pg_has_role(current_user, 'billing_owner', 'MEMBER'),
           'REVOKE billing_owner, billing_migrator FROM ' || quote_ident(current_user)
    UNION ALL
    SELECT p.privilege || ' on billing.ledger',
           EXISTS (SELECT 1 FROM reachable r
                   WHERE has_table_privilege(r.oid, 'billing.ledger', p.privilege)
                      OR (p.privilege = 'UPDATE' AND has_any_column_privilege(r.oid, 'billing.ledger', p.privilege))),
           'REVOKE ' || p.privilege || ' ON billing.ledger FROM ' || quote_ident(current_user) || ' and from every role it is in'
    FROM (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('TRIGGER')) AS p (privilege)
    UNION ALL
    SELECT 'a change to billing.ledger_heads',
           EXISTS (SELECT 1 FROM reachable r
                   WHERE has_table_privilege(r.oid, 'billing.ledger_heads', 'INSERT, UPDATE, DELETE, TRUNCATE')
                      OR has_any_column_privilege(r.oid, 'billing.ledger_heads', 'INSERT, UPDATE')),
           'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON billing.ledger_heads FROM ' || quote_ident(current_user)
           || ' and from every role it is in'
)
SELECT grant_name, remedy FROM rights WHERE held;
