-- name: configure(search_path)$
-- Sets what the product relies on, whatever server, database, role and environment say, and returns the id of the server
-- process: behind a pooler it is not the one that the driver was told. Not by the startup parameter `options`, which
-- PgBouncer refuses. PgBouncer keeps the first three for each of its clients; the rest stays with the server's session,
-- for whoever has it next. So only what differs is set: nothing, on most servers.
-- Without search_path the session's own stays if it names a schema that exists.
WITH relied_on (name, value) AS (VALUES
    ('TimeZone', 'UTC'),                                 -- Python reads times in the zone of the session; Dagster stores them so
    ('DateStyle', 'ISO, MDY'),                           -- psycopg reads no other
    ('standard_conforming_strings', 'on'),
    ('IntervalStyle', 'postgres'),
    ('default_transaction_isolation', 'read committed'), -- at a higher level statements fail, to be tried again
    ('lock_timeout', '0'),
    ('idle_session_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'),
    ('transaction_timeout', '0'),                        -- PostgreSQL 17 and later
    ('search_path', coalesce(:search_path::text, CASE WHEN current_schema() IS NULL THEN 'public' END))
), configured AS MATERIALIZED (
    SELECT set_config(r.name, r.value, false) FROM relied_on r WHERE current_setting(r.name, true) <> r.value
)
SELECT pg_backend_pid() FROM (SELECT count(*) FROM configured) AS done;
