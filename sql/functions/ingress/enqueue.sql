-- Sends a batch of requests, in their order and all or nothing. Requests that name an event (`event_id`, within `source`)
-- which was sent before are counted as duplicates instead. Idempotency keys and messages are committed together.
-- With `validate`, nothing is sent when a request breaks a rule: `faults` is then an array of {position, field, reason},
-- and null otherwise. Without it, such a request is sent and becomes a dead letter. That is the default, because a caller
-- who does not read `faults` would lose the batch without an error.
CREATE OR REPLACE FUNCTION nexus.enqueue(
    queue text, requests jsonb[], delay_seconds integer DEFAULT 0, validate boolean DEFAULT false
)
RETURNS TABLE (sent integer, duplicates integer, first_msg_id bigint, last_msg_id bigint, faults jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_memoize = off SET jit = off AS $$
DECLARE
    fresh jsonb[];
BEGIN
    PERFORM nexus.checked_queue(queue);
    IF validate THEN
        SELECT jsonb_agg(to_jsonb(f) ORDER BY f.position) INTO faults FROM nexus.request_faults(requests) AS f;
        IF faults IS NOT NULL THEN
            sent := 0;
            duplicates := 0;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;

    WITH incoming AS MATERIALIZED (
        SELECT r.request, r.position,
               coalesce(r.request ->> 'source', '') AS source,
               -- Only valid texts name an event: the number 1 must not take the name of the text "1".
               CASE WHEN jsonb_typeof(r.request -> 'event_id') = 'string'
                         AND length(r.request ->> 'event_id') BETWEEN 1 AND 200
                         AND CASE jsonb_typeof(r.request -> 'source')
                             WHEN 'string' THEN length(r.request ->> 'source') BETWEEN 1 AND 200
                             ELSE coalesce(r.request -> 'source', 'null') = 'null' END
                    THEN r.request ->> 'event_id' END AS event_id
          FROM unnest(requests) WITH ORDINALITY AS r (request, position)
    ), first_seen AS (
        -- In one order for all senders: two that send the same events must not deadlock.
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
