-- Makes a queue one that workers can serve: creates it where it is missing, and its functions.
CREATE OR REPLACE FUNCTION nexus.serve_queue(queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM nexus.checked_queue(queue);
    PERFORM pgmq.create(queue);
    -- pgmq lets the monitoring role read queue tables; payloads are for the owner and whom the owner grants them.
    EXECUTE format('REVOKE ALL ON pgmq.%I, pgmq.%I FROM pg_monitor', 'q_' || queue, 'a_' || queue);
    INSERT INTO nexus.queues (queue_name) VALUES (queue) ON CONFLICT DO NOTHING;
    PERFORM nexus.clone_queue_functions(queue);
    PERFORM nexus.grant_queue_access(queue);
END $$;
