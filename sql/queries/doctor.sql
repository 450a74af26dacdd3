-- The statements of nexus_pipeline/local/doctor.py. They change nothing.

-- name: clock()
SELECT clock_timestamp() AS now;

-- name: rights()
-- Whether the role may create schemas, and tables in public. granted_role is the first of our roles without the privileges
-- for processing that it is a member of, or null.
SELECT has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
       coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false) AS may_create_tables,
       (SELECT r.name
          FROM (VALUES (1, 'nexus_sender'), (2, 'nexus_reader')) AS r (rank, name)
         WHERE to_regrole(r.name) IS NOT NULL AND pg_has_role(to_regrole(r.name), 'MEMBER')
         ORDER BY r.rank LIMIT 1) AS granted_role;

-- name: missing_privileges()
-- Privileges that processing needs and the role lacks, on objects that exist.
SELECT n.privilege || ' ON SCHEMA ' || n.name AS missing
  FROM (VALUES ('nexus', 'USAGE'), ('pgmq', 'USAGE'), ('public', 'USAGE')) AS n (name, privilege)
 WHERE NOT has_schema_privilege(to_regnamespace(n.name), n.privilege)
UNION ALL
SELECT t.privilege || ' ON TABLE ' || t.name
  FROM (VALUES
        ('public.workflow_executions', 'SELECT'), ('public.workflow_executions', 'INSERT'),
        ('pgmq.q_workflow_main_queue', 'SELECT'), ('pgmq.q_workflow_main_queue', 'INSERT'),
        ('pgmq.q_workflow_main_queue', 'UPDATE'), ('pgmq.q_workflow_main_queue', 'DELETE'),
        ('pgmq.a_workflow_main_queue', 'INSERT'), ('pgmq.q_workflow_results', 'INSERT'),
        ('pgmq.q_workflow_errors', 'INSERT'), ('nexus.idempotency_keys', 'INSERT')) AS t (name, privilege)
 WHERE to_regnamespace(split_part(t.name, '.', 1)) IS NOT NULL
   AND has_schema_privilege(to_regnamespace(split_part(t.name, '.', 1)), 'USAGE')
   AND NOT has_table_privilege(to_regclass(t.name), t.privilege)
UNION ALL
SELECT 'EXECUTE ON FUNCTION ' || p.oid::regprocedure
  FROM pg_proc p
 WHERE p.pronamespace IN (to_regnamespace('nexus'), to_regnamespace('pgmq'))
   AND has_schema_privilege(p.pronamespace, 'USAGE')
   AND NOT has_function_privilege(p.oid, 'EXECUTE');

-- name: has_record()
-- Whether the role may read the table with pgmq's recorded version; null if the table does not exist.
SELECT has_table_privilege(to_regclass('nexus.pgmq_installs'), 'SELECT') AS readable;

-- name: other_database(name)
-- Whether a database exists, and whether the role may create databases.
SELECT EXISTS (SELECT FROM pg_database d WHERE d.datname = :name) AS present,
       (SELECT r.rolsuper OR r.rolcreatedb FROM pg_roles r WHERE r.rolname = current_user) AS may_create;

-- name: session_defaults(pooled)
-- Defaults of the server, database or role that can reach the product: a statement timeout, and behind a pooler, which may
-- lead each transaction to another session, those that a session can only set for itself. `source` as in pg_settings.
SELECT s.name, s.reset_val AS value,
       coalesce((
           SELECT CASE WHEN d.setrole <> 0 AND d.setdatabase <> 0 THEN 'database user'
                       WHEN d.setrole <> 0 THEN 'user' WHEN d.setdatabase <> 0 THEN 'database' ELSE 'global' END
             FROM pg_db_role_setting d CROSS JOIN unnest(d.setconfig) AS c (line)
            WHERE d.setdatabase IN (0, (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()))
              AND d.setrole IN (0, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user))
              AND lower(split_part(c.line, '=', 1)) = s.name
            ORDER BY d.setrole <> 0 DESC, d.setdatabase <> 0 DESC
            LIMIT 1), 'configuration file') AS source
  FROM pg_settings s
  JOIN (VALUES ('statement_timeout', '0', false), ('default_transaction_isolation', 'read committed', true),
               ('lock_timeout', '0', true), ('transaction_timeout', '0', true),
               ('idle_in_transaction_session_timeout', '0', true), ('idle_session_timeout', '0', true)
       ) AS n (name, wanted, behind_pooler) ON n.name = s.name
 WHERE s.reset_val <> n.wanted AND (:pooled OR NOT n.behind_pooler)
 ORDER BY s.name;
