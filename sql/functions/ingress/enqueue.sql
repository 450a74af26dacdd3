-- Sends requests, in their order; those that name an event (`event_id`, per `source`) already sent are counted as
-- duplicates instead. Events and messages are committed together.
CREATE OR REPLACE FUNCTION nexus.enqueue(queue text, requests jsonb[], delay_seconds integer DEFAULT 0)
RETURNS TABLE (sent integer, duplicates integer, first_msg_id bigint, last_msg_id bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fresh jsonb[];
BEGIN
    PERFORM nexus.checked_queue(queue);
    WITH incoming AS MATERIALIZED (
        SELECT r.request, r.position,
               coalesce(r.request ->> 'source', '') AS source,
               CASE WHEN jsonb_typeof(r.request) = 'object' AND length(r.request ->> 'event_id') BETWEEN 1 AND 200
                         AND length(coalesce(r.request ->> 'source', '')) <= 200
                    THEN r.request ->> 'event_id' END AS event_id
          FROM unnest(requests) WITH ORDINALITY AS r (request, position)
    ), first_seen AS (
        -- In one order for everybody: two senders of the same events must not deadlock.
        INSERT INTO nexus.idempotency_keys AS e (queue_name, source, event_id)
        SELECT DISTINCT queue, i.source, i.event_id FROM incoming i WHERE i.event_id IS NOT NULL
         ORDER BY i.source, i.event_id
        ON CONFLICT DO NOTHING
        RETURNING e.source, e.event_id
    ), chosen AS (
        SELECT i.request, i.position FROM incoming i WHERE i.event_id IS NULL
        UNION ALL
        (SELECT DISTINCT ON (i.source, i.event_id) i.request, i.position
           FROM incoming i JOIN first_seen f USING (source, event_id)
          ORDER BY i.source, i.event_id, i.position)
    )
    SELECT array_agg(c.request ORDER BY c.position) INTO fresh FROM chosen c;

    sent := coalesce(cardinality(fresh), 0);
    duplicates := coalesce(cardinality(requests), 0) - sent;
    IF sent > 0 THEN
        SELECT min(id), max(id) INTO first_msg_id, last_msg_id
          FROM pgmq.send_batch(queue, fresh, delay_seconds) AS id;
    END IF;
    RETURN NEXT;
END $$;
