-- Who may do what, applied after every change of functions: nobody but the owner, and the roles of 0007.roles where they
-- exist. PostgreSQL lets PUBLIC execute a new function until that is revoked.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA nexus FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION public.enhanced_trade_signal, public.process_trading_workflow FROM PUBLIC;

DO $$
DECLARE
    granted record;
BEGIN
    -- What an earlier version granted and this one may not.
    FOR granted IN
        SELECT DISTINCT format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass) AS object,
               a.grantee::regrole AS role
          FROM pg_class c
         CROSS JOIN LATERAL aclexplode(c.relacl) a
         WHERE a.grantee IN (to_regrole('nexus_sender'), to_regrole('nexus_reader'), to_regrole('nexus_operator'))
           AND a.grantor = current_user::regrole
           AND (c.relnamespace IN ('nexus'::regnamespace, 'pgmq'::regnamespace)
                OR c.oid IN ('public.workflow_executions'::regclass, 'public.workflow_metrics'::regclass,
                             'public.trading_workflow_dashboard'::regclass, 'public.hourly_signal_aggregates'::regclass,
                             'public.hourly_workflow_metrics'::regclass))
        UNION ALL
        SELECT DISTINCT format('FUNCTION %s', p.oid::regprocedure), a.grantee::regrole
          FROM pg_proc p
         CROSS JOIN LATERAL aclexplode(p.proacl) a
         WHERE a.grantee IN (to_regrole('nexus_sender'), to_regrole('nexus_reader'), to_regrole('nexus_operator'))
           AND a.grantor = current_user::regrole
           AND p.pronamespace = 'nexus'::regnamespace
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', granted.object, granted.role);
    END LOOP;

    PERFORM nexus.grant_queue_access(q.queue_name) FROM nexus.queues q;
    -- Sends requests, and reads nothing else: nexus.enqueue and `nexus send`.
    IF to_regrole('nexus_sender') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA nexus TO nexus_sender;
        GRANT SELECT ON nexus.queues, nexus.migrations, nexus.function_files TO nexus_sender;
        GRANT SELECT, INSERT ON nexus.idempotency_keys TO nexus_sender;
        GRANT EXECUTE ON FUNCTION
            nexus.enqueue, nexus.request_faults, nexus.checked_queue, nexus.parse_request, nexus.parse_time,
            nexus.time_fault
            TO nexus_sender;
    END IF;
    -- Reads decisions, hours and what is going on.
    IF to_regrole('nexus_reader') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA nexus TO nexus_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA nexus TO nexus_reader;
        GRANT SELECT ON pgmq.q_workflow_results, pgmq.a_workflow_results, pgmq.q_workflow_errors, pgmq.a_workflow_errors,
            pgmq.q_workflow_results_msg_id_seq TO nexus_reader;
        GRANT SELECT ON public.workflow_executions, public.workflow_metrics, public.trading_workflow_dashboard,
            public.hourly_signal_aggregates, public.hourly_workflow_metrics TO nexus_reader;
        GRANT EXECUTE ON FUNCTION
            nexus.ledger, nexus.ledger_seal, nexus.ledger_identity, nexus.newest_msg_id, nexus.count_unsealed, nexus.depth,
            nexus.header_count, nexus.checked_queue, nexus.hour_of, nexus.json_number,
            nexus.stale_partitions, public.enhanced_trade_signal TO nexus_reader;
    END IF;
    -- Runs the pipeline and acts on what failed; may not change the schema.
    IF to_regrole('nexus_operator') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA nexus TO nexus_operator;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA nexus TO nexus_operator;
        GRANT SELECT, INSERT, UPDATE, DELETE ON pgmq.q_workflow_results, pgmq.a_workflow_results,
            pgmq.q_workflow_errors, pgmq.a_workflow_errors TO nexus_operator;
        GRANT SELECT ON pgmq.q_workflow_results_msg_id_seq TO nexus_operator;
        GRANT SELECT, INSERT, UPDATE, DELETE ON public.workflow_executions, public.workflow_metrics,
            public.hourly_signal_aggregates, public.hourly_workflow_metrics TO nexus_operator;
        GRANT SELECT ON public.trading_workflow_dashboard TO nexus_operator;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA nexus TO nexus_operator;
        GRANT EXECUTE ON FUNCTION public.enhanced_trade_signal, public.process_trading_workflow TO nexus_operator;
    END IF;
    -- pgmq's own objects may be another role's, who grants them.
    IF has_schema_privilege('pgmq', 'USAGE WITH GRANT OPTION')
       AND has_table_privilege('pgmq.meta', 'SELECT WITH GRANT OPTION') THEN
        FOR granted IN
            SELECT r.role FROM unnest(ARRAY['nexus_sender', 'nexus_reader', 'nexus_operator']) AS r (role)
             WHERE to_regrole(r.role) IS NOT NULL
        LOOP
            EXECUTE format('GRANT USAGE ON SCHEMA pgmq TO %I', granted.role);
            EXECUTE format('GRANT SELECT ON pgmq.meta TO %I', granted.role);
        END LOOP;
    END IF;
END $$;
