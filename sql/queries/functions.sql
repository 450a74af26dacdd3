-- name: roles()
-- The roles of 0007.roles: whether each exists, and whether access.sql has granted it its privileges in this database.
SELECT r.name,
       to_regrole(r.name) IS NOT NULL AS present,
       r.name = 'nexus_strategy'  -- has none
           OR coalesce(has_schema_privilege(to_regrole(r.name), to_regnamespace('nexus'), 'USAGE'), false) AS granted
  FROM (VALUES ('nexus_sender'), ('nexus_reader'), ('nexus_operator'), ('nexus_strategy')) AS r (name);

-- name: recorded()
SELECT f.file, f.hash, f.functions, f.version FROM nexus.function_files f;

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
SELECT p.oid::regprocedure::text
  FROM nexus.queues q
  JOIN pg_proc p ON p.pronamespace = 'nexus'::regnamespace
                AND p.proname IN ('claim_' || q.queue_name, 'settle_' || q.queue_name);
