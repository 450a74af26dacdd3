DROP FUNCTION public.process_trading_workflow(integer, integer);
DROP FUNCTION nexus.release(text, bigint[], integer[]);
DROP FUNCTION nexus.settle(text, bigint[], integer[], timestamptz, integer, double precision, double precision, boolean);
DROP FUNCTION nexus.claim(text, integer, integer);
DO $$
DECLARE
    queue text;
BEGIN
    FOR queue IN SELECT q.queue_name FROM nexus.queues q LOOP
        EXECUTE format('DROP FUNCTION nexus.%I', 'claim_' || queue);
        EXECUTE format('DROP FUNCTION nexus.%I', 'settle_held_' || queue);
    END LOOP;
END $$;
DROP FUNCTION nexus.serve_queue(text);
DROP TABLE nexus.queues;
DROP FUNCTION nexus.enqueue(text, jsonb[], integer);
DROP FUNCTION nexus.header_count(jsonb, text);
