-- The statements of nexus_pipeline/database: what is installed in a database.

-- name: create_bookkeeping()#
-- The schema of everything that is not public, and the records of pgmq and of the function files that were applied.
CREATE SCHEMA IF NOT EXISTS nexus;
CREATE TABLE IF NOT EXISTS nexus.pgmq_installs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version      text NOT NULL,
    method       text NOT NULL CHECK (method IN ('extension', 'sql')),
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS nexus.function_files (
    file       text PRIMARY KEY,
    hash       text NOT NULL,
    functions  text[] NOT NULL,
    version    text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: pgmq_presence()^
-- How pgmq is here: as an extension (its version), in a schema of its own, or on offer.
SELECT (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pgmq') AS extension,
       to_regproc('pgmq.create') IS NOT NULL AS installed,
       (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'pgmq') AS on_offer;

-- name: recorded_pgmq()^
-- The pgmq that we installed last.
SELECT version, method FROM nexus.pgmq_installs ORDER BY id DESC LIMIT 1;

-- name: record_pgmq(version, method)!
-- What we installed.
INSERT INTO nexus.pgmq_installs (version, method) VALUES (:version, :method);

-- name: pgmq_objects()
-- All functions and types of a pgmq that came as SQL, and how to drop each: its tables, which hold the queues, stay.
SELECT 'DROP FUNCTION IF EXISTS ' || p.oid::regprocedure || ' CASCADE'
  FROM pg_proc p WHERE p.pronamespace = 'pgmq'::regnamespace
UNION ALL
SELECT 'DROP TYPE IF EXISTS ' || t.oid::regtype || ' CASCADE'
  FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
 WHERE t.typnamespace = 'pgmq'::regnamespace AND c.relkind = 'c';

-- name: roles()
-- The roles of 0007.roles: whether each exists, and whether access.sql has granted it its privileges in this database.
SELECT r.name,
       to_regrole(r.name) IS NOT NULL AS present,
       r.name = 'nexus_strategy'  -- has none
           OR coalesce(has_schema_privilege(to_regrole(r.name), to_regnamespace('nexus'), 'USAGE'), false) AS granted
  FROM (VALUES ('nexus_sender'), ('nexus_reader'), ('nexus_operator'), ('nexus_strategy')) AS r (name);

-- name: functions_named(names)
-- The functions of these names with their argument types, and the transaction that wrote each.
SELECT p.oid::regprocedure::text, p.xmin::text
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname || '.' || p.proname = ANY (:names);

-- name: record_functions(file, hash, functions, version)!
INSERT INTO nexus.function_files AS f (file, hash, functions, version)
VALUES (:file, :hash, :functions, :version)
ON CONFLICT (file) DO UPDATE
    SET hash = excluded.hash, functions = excluded.functions, version = excluded.version,
        applied_at = clock_timestamp();

-- name: forget_functions(file)!
DELETE FROM nexus.function_files f WHERE f.file = :file;

-- name: clone_functions_of_queues()
-- Served queues have functions of their own.
SELECT nexus.clone_queue_functions(q.queue_name) FROM nexus.queues q;

-- name: functions_of_queues()
-- The clones.
SELECT p.oid::regprocedure::text
  FROM nexus.queues q
  JOIN pg_proc p ON p.pronamespace = 'nexus'::regnamespace
                AND p.proname IN ('claim_' || q.queue_name, 'settle_' || q.queue_name);
