-- The decisions for the messages of a lease, in the order of msg_ids, as nexus.settle takes them. Messages that are no
-- longer ours, and those whose worker died `max_attempts` times or more, are not evaluated.
CREATE OR REPLACE FUNCTION nexus.evaluate_lease(
    queue text, msg_ids bigint[], read_cts integer[], max_attempts integer DEFAULT 5
) RETURNS nexus.decision[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    requests jsonb[];
BEGIN
    EXECUTE format($query$
        -- One pass over the index. The subquery hides the array from the planner, which would estimate each element.
        WITH held AS MATERIALIZED (
            SELECT q.msg_id, q.read_ct, q.message
              FROM pgmq.%I q
             WHERE q.msg_id = ANY (ARRAY(SELECT unnest($1))) AND nexus.crashes(q.read_ct, q.headers) < $3
        )
        SELECT array_agg(h.message ORDER BY c.position)
          FROM unnest($1, $2) WITH ORDINALITY AS c (msg_id, read_ct, position)
          LEFT JOIN held h ON h.msg_id = c.msg_id AND h.read_ct = c.read_ct
    $query$, 'q_' || nexus.checked_queue(queue)) INTO requests USING msg_ids, read_cts, max_attempts;
    RETURN nexus.evaluate(requests);
END $$;
