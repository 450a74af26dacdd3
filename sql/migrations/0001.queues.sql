-- Why: the three public queues of the workflow. pgmq.create makes pgmq.q_* and pgmq.a_* and is harmless where they exist.
DO $$
BEGIN
    PERFORM pgmq.create('workflow_main_queue');
    PERFORM pgmq.create('workflow_results');
    PERFORM pgmq.create('workflow_errors');
END $$;

-- A queue table lives on its dead rows being swept: at the default of 20 % a full queue of a million is never vacuumed
-- while it drains, and every claim walks the corpses.
ALTER TABLE pgmq.q_workflow_main_queue
    SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 1);
ALTER TABLE pgmq.q_workflow_results
    SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 1);

-- Payloads are the owner's: pgmq lets the monitoring role read them.
REVOKE ALL ON pgmq.q_workflow_main_queue, pgmq.a_workflow_main_queue, pgmq.q_workflow_results, pgmq.a_workflow_results,
    pgmq.q_workflow_errors, pgmq.a_workflow_errors FROM pg_monitor;

-- The queues a worker may serve: a name of the form that cannot collide (`MyQ` and `myq` would share a table).
CREATE FUNCTION nexus.checked_queue(queue text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF queue IS NULL OR queue !~ '^[a-z0-9_]{1,47}$' THEN
        RAISE EXCEPTION 'queue name %: must be 1 to 47 of a-z, 0-9 and _', coalesce(quote_literal(left(queue, 60)), 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN queue;
END $$;
