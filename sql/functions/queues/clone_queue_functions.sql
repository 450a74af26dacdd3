-- Gives a served queue its own claim and settle functions: those of workflow_main_queue with the queue's name replaced.
-- `nexus migrate` calls it again for every served queue when functions changed.
CREATE OR REPLACE FUNCTION nexus.clone_queue_functions(queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    source record;
    stale  regprocedure;
BEGIN
    IF nexus.checked_queue(queue) = 'workflow_main_queue' THEN
        RETURN;
    END IF;
    FOR source IN
        SELECT p.oid, p.proargtypes, p.proallargtypes, p.proargnames, p.prorettype,
               replace(p.proname, 'workflow_main_queue', queue) AS clone
          FROM pg_proc p
         WHERE p.pronamespace = 'nexus'::regnamespace
           AND p.proname IN ('claim_workflow_main_queue', 'settle_workflow_main_queue')
    LOOP
        -- CREATE OR REPLACE can change neither arguments nor result types.
        FOR stale IN
            SELECT p.oid::regprocedure FROM pg_proc p
             WHERE p.pronamespace = 'nexus'::regnamespace AND p.proname = source.clone
               AND (p.proargtypes, p.proallargtypes, p.proargnames, p.prorettype)
                   IS DISTINCT FROM (source.proargtypes, source.proallargtypes, source.proargnames, source.prorettype)
        LOOP
            EXECUTE 'DROP FUNCTION ' || stale;
        END LOOP;
        EXECUTE replace(pg_get_functiondef(source.oid), 'workflow_main_queue', queue);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION nexus.%I FROM PUBLIC', source.clone);
    END LOOP;
END $$;
