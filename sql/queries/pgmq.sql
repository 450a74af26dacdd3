-- name: pgmq_presence()^
-- How pgmq is here: as an extension (its version), in a schema of its own, or on offer.
SELECT (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pgmq') AS extension,
       to_regproc('pgmq.create') IS NOT NULL AS installed,
       (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'pgmq') AS on_offer;

-- name: recorded_pgmq()^
SELECT version, method FROM nexus.pgmq_installs ORDER BY id DESC LIMIT 1;

-- name: record_pgmq(version, method)!
INSERT INTO nexus.pgmq_installs (version, method) VALUES (:version, :method);

-- name: is_old()$
-- Whether the pgmq that is installed, or one of our queues that it made, lacks the column last_read_at.
SELECT NOT EXISTS (SELECT FROM pg_proc p
                    WHERE p.pronamespace = to_regnamespace('pgmq') AND position('last_read_at' IN p.prosrc) > 0)
    OR EXISTS (SELECT FROM pg_class c
                WHERE c.relnamespace = to_regnamespace('pgmq') AND c.relname = 'q_workflow_main_queue'
                  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'last_read_at'));

-- name: to_drop()
-- How to drop the functions and types of a pgmq that came as SQL, and its own triggers on queues; its tables stay.
SELECT d.statement
  FROM (SELECT 1 AS step, 'DROP TRIGGER ' || quote_ident(t.tgname) || ' ON ' || t.tgrelid::regclass AS statement
          FROM pg_trigger t
          JOIN pg_proc p ON p.oid = t.tgfoid
          JOIN pg_class c ON c.oid = t.tgrelid
         WHERE p.pronamespace = 'pgmq'::regnamespace AND c.relnamespace = 'pgmq'::regnamespace AND NOT t.tgisinternal
         UNION ALL
        SELECT 2, 'DROP FUNCTION ' || p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'pgmq'::regnamespace
         UNION ALL
        SELECT 3, 'DROP TYPE ' || t.oid::regtype
          FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
         WHERE t.typnamespace = 'pgmq'::regnamespace AND c.relkind = 'c') AS d
 ORDER BY d.step;

-- name: to_restore()
-- What an update takes away, and how to make it again: pgmq's triggers on queues, and privileges on its functions (where
-- the function that is needed still exists), and those of pg_monitor on its tables, which the script grants and we revoke.
SELECT p.oid::regprocedure::text AS needed, pg_get_triggerdef(t.oid) AS statement
  FROM pg_trigger t
  JOIN pg_proc p ON p.oid = t.tgfoid
  JOIN pg_class c ON c.oid = t.tgrelid
 WHERE p.pronamespace = 'pgmq'::regnamespace AND c.relnamespace = 'pgmq'::regnamespace AND NOT t.tgisinternal
UNION ALL
SELECT p.oid::regprocedure::text, 'REVOKE ALL ON FUNCTION ' || p.oid::regprocedure || ' FROM PUBLIC'
  FROM pg_proc p
 WHERE p.pronamespace = 'pgmq'::regnamespace AND p.proacl IS NOT NULL
   AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)
UNION ALL
SELECT p.oid::regprocedure::text,
       'GRANT EXECUTE ON FUNCTION ' || p.oid::regprocedure || ' TO ' || quote_ident(r.rolname)
           || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
  FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) AS a JOIN pg_roles r ON r.oid = a.grantee
 WHERE p.pronamespace = 'pgmq'::regnamespace AND a.grantee <> p.proowner
UNION ALL
SELECT 'pgmq.create(text)', 'GRANT ' || a.privilege_type || ' ON ' || c.oid::regclass || ' TO pg_monitor'
  FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
 WHERE c.relnamespace = 'pgmq'::regnamespace AND c.relkind IN ('r', 'p') AND a.grantee = to_regrole('pg_monitor');

-- name: missing_columns()
-- How to bring queues and archives that an older pgmq made into the shape of its successor.
SELECT 'ALTER TABLE ' || c.oid::regclass || ' ADD COLUMN ' || n.name || ' ' || n.type
  FROM pgmq.meta m
 CROSS JOIN (VALUES ('q_'), ('a_')) AS k (prefix)
  JOIN pg_class c ON c.relnamespace = 'pgmq'::regnamespace AND c.relname = k.prefix || lower(m.queue_name)
 CROSS JOIN (VALUES ('headers', 'jsonb'), ('last_read_at', 'timestamptz')) AS n (name, type)
 WHERE NOT EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attname = n.name AND NOT a.attisdropped);
