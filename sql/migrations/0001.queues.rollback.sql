DROP FUNCTION nexus.checked_queue(text);
DO $$
BEGIN
    PERFORM pgmq.drop_queue('workflow_errors');
    PERFORM pgmq.drop_queue('workflow_results');
    PERFORM pgmq.drop_queue('workflow_main_queue');
END $$;
