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
       current_setting('full_page_writes') AS full_page_writes,
       (SELECT max(version) FROM billing.schema_migrations) AS schema_version;

-- name: other_stores
-- Whose cycles these are, by the newest of each shard: another store's payment_ids mean nothing at ours.
SELECT DISTINCT newest.store_id
FROM generate_series(0, 63) AS s (shard)
CROSS JOIN LATERAL (
    SELECT store_id FROM billing.cycles WHERE shard = s.shard::smallint ORDER BY cycle_id DESC LIMIT 1
) AS newest
WHERE newest.store_id <> $1;

-- name: logged_parameters
-- The server's settings by which it would write bind parameters, and so request bodies with their billing keys, into its log. Each is
-- one that a statement of ours is logged by, together with a limit on parameters that is not 0.
WITH given (name, value) AS (
    SELECT n, current_setting(n, true)
    FROM unnest(ARRAY['log_statement', 'log_min_duration_statement', 'log_min_duration_sample', 'log_statement_sample_rate',
                      'log_transaction_sample_rate', 'log_parameter_max_length', 'log_parameter_max_length_on_error',
                      'auto_explain.log_min_duration', 'auto_explain.log_parameter_max_length', 'pgaudit.log_parameter']) AS n
), found (name, value, silence) AS (
    SELECT g.name, g.value, 'log_parameter_max_length'
    FROM given g
    WHERE (SELECT value FROM given WHERE name = 'log_parameter_max_length') <> '0'
      AND ((g.name = 'log_statement' AND g.value IN ('mod', 'all'))
           OR (g.name = 'log_min_duration_statement' AND g.value <> '-1')
           OR (g.name = 'log_transaction_sample_rate' AND g.value <> '0')
           OR (g.name = 'log_min_duration_sample' AND g.value <> '-1'
               AND (SELECT value FROM given WHERE name = 'log_statement_sample_rate') <> '0'))
    UNION ALL
    SELECT name, value, name FROM given WHERE name = 'log_parameter_max_length_on_error' AND value <> '0'
    UNION ALL
    SELECT g.name, g.value, 'auto_explain.log_parameter_max_length'
    FROM given g
    WHERE g.name = 'auto_explain.log_min_duration' AND g.value <> '-1'
      AND (SELECT value FROM given WHERE name = 'auto_explain.log_parameter_max_length') <> '0'
    UNION ALL
    SELECT name, value, name FROM given WHERE name = 'pgaudit.log_parameter' AND value = 'on'
)
SELECT name, value, silence FROM found ORDER BY name;

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
