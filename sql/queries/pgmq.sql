-- name: pgmq_presence()^
-- How pgmq is here: as an extension (its version), in a schema of its own, or on offer.
SELECT (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pgmq') AS extension,
       to_regproc('pgmq.create') IS NOT NULL AS installed,
       (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'pgmq') AS on_offer;

-- name: recorded_pgmq()^
SELECT version, method FROM nexus.pgmq_installs ORDER BY id DESC LIMIT 1;

-- name: record_pgmq(version, method)!
INSERT INTO nexus.pgmq_installs (version, method) VALUES (:version, :method);

-- name: pgmq_objects()
-- How to drop each function and type of a pgmq that came as SQL; its tables, which hold the queues, stay.
SELECT 'DROP FUNCTION IF EXISTS ' || p.oid::regprocedure || ' CASCADE'
  FROM pg_proc p WHERE p.pronamespace = 'pgmq'::regnamespace
UNION ALL
SELECT 'DROP TYPE IF EXISTS ' || t.oid::regtype || ' CASCADE'
  FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
 WHERE t.typnamespace = 'pgmq'::regnamespace AND c.relkind = 'c';
