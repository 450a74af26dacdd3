DROP TABLE nexus.queues;
DO $$ BEGIN
    PERFORM pgmq.drop_queue(name)
       FROM unnest(ARRAY['workflow_errors', 'workflow_results', 'workflow_main_queue']) AS name;
END $$;
