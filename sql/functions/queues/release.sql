-- Gives a lease back untouched: waiting again, as if never read. For a worker that stops before it began.
CREATE OR REPLACE FUNCTION nexus.release(queue text, msg_ids bigint[], read_cts integer[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    released integer;
BEGIN
    PERFORM nexus.checked_queue(queue);
    EXECUTE format($q$
        WITH held AS MATERIALIZED (
            SELECT q.msg_id
              FROM pgmq.%1$I q
              JOIN unnest($1, $2) AS c (msg_id, read_ct) ON c.msg_id = q.msg_id AND c.read_ct = q.read_ct
             WHERE q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads')
             ORDER BY q.msg_id
               FOR UPDATE OF q
        )
        UPDATE pgmq.%1$I q SET read_ct = q.read_ct - 1, vt = clock_timestamp() FROM held h WHERE q.msg_id = h.msg_id
    $q$, 'q_' || queue) USING msg_ids, read_cts;
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;
