-- The states of a queue's messages and whether they add up, in one statement and so in one snapshot.
--   sent           messages that are in the queue or its archive
--   waiting, leased, retrying     in the queue, each message in one of them
--   completed, dead_lettered      in the archive, with their one final execution
--   lost           in the archive without a final execution
--   doubled        in the archive with more than one, or still in the queue with one
--   unarchived     final executions whose message is neither in the queue nor in the archive (it was purged)
-- The counts add up where lost and doubled are 0 and
-- sent = waiting + leased + retrying + completed + dead_lettered.
CREATE OR REPLACE FUNCTION nexus.ledger(queue text)
RETURNS TABLE (
    sent bigint, waiting bigint, leased bigint, retrying bigint, completed bigint, dead_lettered bigint,
    lost bigint, doubled bigint, unarchived bigint, oldest_wait_s double precision
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH queued AS (
            SELECT q.msg_id, q.enqueued_at, q.vt,
                   CASE
                       WHEN q.vt <= $1 THEN 'waiting'
                       -- Sent with a delay. (A retry that the one call parked was never read either.)
                       WHEN q.read_ct = 0 AND nexus.header_count(q.headers, 'nexus_attempts') = 0 THEN 'waiting'
                       WHEN q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads') THEN 'leased'
                       ELSE 'retrying'
                   END AS state
              FROM pgmq.%1$I q
        ), states AS (
            SELECT count(*) AS n,
                   count(*) FILTER (WHERE state = 'waiting') AS waiting,
                   count(*) FILTER (WHERE state = 'leased') AS leased,
                   count(*) FILTER (WHERE state = 'retrying') AS retrying,
                   extract(epoch FROM $1 - min(vt) FILTER (WHERE vt <= $1))::double precision AS oldest_wait_s
              FROM queued
        ), finals AS (
            SELECT e.msg_id, e.enqueued_at,
                   count(*) FILTER (WHERE e.status = 'completed') AS completed,
                   count(*) FILTER (WHERE e.status = 'error') AS failed
              FROM public.workflow_executions e
             WHERE e.queue_name = $2 AND e.status IN ('completed', 'error')
             GROUP BY e.msg_id, e.enqueued_at
        ), matched AS (
            SELECT count(*) FILTER (WHERE a.msg_id IS NOT NULL) AS archived,
                   count(*) FILTER (WHERE a.msg_id IS NOT NULL AND f.completed = 1 AND f.failed = 0) AS completed,
                   count(*) FILTER (WHERE a.msg_id IS NOT NULL AND f.completed = 0 AND f.failed = 1) AS dead_lettered,
                   count(*) FILTER (WHERE f.msg_id IS NULL) AS lost,
                   count(*) FILTER (WHERE f.completed + f.failed > 1) AS doubled,
                   count(*) FILTER (WHERE a.msg_id IS NULL) AS unarchived
              FROM pgmq.%2$I a
              FULL JOIN finals f ON f.msg_id = a.msg_id AND f.enqueued_at = a.enqueued_at
        ), unfinished AS (
            SELECT count(*) AS n FROM queued q JOIN finals f ON f.msg_id = q.msg_id AND f.enqueued_at = q.enqueued_at
        )
        SELECT s.n + m.archived, s.waiting, s.leased, s.retrying, m.completed, m.dead_lettered,
               m.lost, m.doubled + u.n, m.unarchived - u.n, s.oldest_wait_s
          FROM states s, matched m, unfinished u
    $q$, 'q_' || nexus.checked_queue(queue), 'a_' || queue) USING moment, queue;
END $$;
