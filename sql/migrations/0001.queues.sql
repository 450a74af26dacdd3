-- The three public queues of the workflow, and which queues workers serve.
-- pgmq.create makes the tables pgmq.q_* and pgmq.a_* and does nothing where they exist.
DO $$ BEGIN
    PERFORM pgmq.create(name) FROM unnest(ARRAY['workflow_main_queue', 'workflow_results', 'workflow_errors']) AS name;
END $$;

-- A queue table depends on vacuum removing its dead rows: at the default scale factor of 20 %, a backlog of a million
-- messages is not vacuumed while it drains, and every claim walks the dead rows.
ALTER TABLE pgmq.q_workflow_main_queue
    SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 1);
ALTER TABLE pgmq.q_workflow_results
    SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 1);

-- pgmq lets the monitoring role read queue tables; payloads are for the owner and whom the owner grants them.
REVOKE ALL ON pgmq.q_workflow_main_queue, pgmq.a_workflow_main_queue, pgmq.q_workflow_results, pgmq.a_workflow_results,
    pgmq.q_workflow_errors, pgmq.a_workflow_errors FROM pg_monitor;

-- Queues that workers serve: each has functions of its own, cloned by nexus.serve_queue.
CREATE TABLE nexus.queues (
    queue_name text PRIMARY KEY,
    served_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO nexus.queues (queue_name) VALUES ('workflow_main_queue');
