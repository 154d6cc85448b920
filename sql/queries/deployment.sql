-- name: see_database
-- Which database a connection has led to. The timeline is that of the WAL being written: pg_control_checkpoint() shows the old one
-- for a while after a promotion. The position is what is on disk, so that a crash does not take it back.
SELECT d.oid::bigint AS database_oid, pg_is_in_recovery() AS in_recovery, s.system_identifier,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END AS timeline,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END AS wal_position
FROM pg_database d
CROSS JOIN pg_control_system() s
WHERE d.datname = current_database();

-- name: see_database_without_wal
-- For a server that keeps its WAL to itself.
SELECT d.oid::bigint AS database_oid, pg_is_in_recovery() AS in_recovery, s.system_identifier, NULL::bigint AS timeline,
       NULL::bigint AS wal_position
FROM pg_database d
CROSS JOIN pg_control_system() s
WHERE d.datname = current_database();

-- name: see_database_alone
-- For a server that says nothing of itself.
SELECT d.oid::bigint AS database_oid, pg_is_in_recovery() AS in_recovery, NULL::bigint AS system_identifier,
       NULL::bigint AS timeline, NULL::bigint AS wal_position
FROM pg_database d
WHERE d.datname = current_database();

-- name: read_deployment
SELECT version, deployment, live, system_identifier, database_oid, timeline, look_first_before, changed_at, actor, reason
FROM billing.deployment
ORDER BY version DESC
LIMIT 1;

-- name: record_deployment
-- The next version, unless somebody else has written it: then theirs is read and judged by. The margin covers a server before
-- this one whose clock was ahead.
INSERT INTO billing.deployment (version, deployment, live, system_identifier, database_oid, timeline, look_first_before, actor,
                                reason)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7::interval, $8, $9)
ON CONFLICT (version) DO NOTHING
RETURNING look_first_before;

-- name: has_cycles
-- Whether anything was ever collected or owed here. One probe of an index a shard.
SELECT EXISTS (
    SELECT 1 FROM generate_series(0, 63) AS s (shard)
    CROSS JOIN LATERAL (SELECT 1 FROM billing.cycles WHERE shard = s.shard::smallint LIMIT 1) AS one
) AS has_cycles;

-- name: index_states
-- The indexes of the schema, as they would have to be written, and whether each keeps out what it should at once.
SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition,
       i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate AS sound
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace('billing');

-- name: trigger_states
-- The schema's own triggers, as they would have to be written, and how each is enabled.
SELECT t.tgname AS name, pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = to_regnamespace('billing') AND NOT t.tgisinternal;
