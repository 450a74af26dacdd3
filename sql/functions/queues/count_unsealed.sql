-- What became of the messages of a queue that its seal does not cover, in the snapshot of the calling statement (STABLE):
-- those above `sealed_up_to` and up to `up_to`, and those in `open_ids`, but none in `except_ids`. Final executions from
-- before `since` whose message is not there are not counted. The columns are those of nexus.ledger.
CREATE OR REPLACE FUNCTION nexus.count_unsealed(
    queue text, sealed_up_to bigint, open_ids bigint[], since timestamptz, up_to bigint, except_ids bigint[] DEFAULT '{}'
) RETURNS TABLE (
    archived bigint, completed bigint, dead_lettered bigint, lost bigint, doubled bigint, unarchived bigint
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH archived AS (
            SELECT a.msg_id, a.enqueued_at
              FROM pgmq.%2$I a
             WHERE (a.msg_id > $2 AND a.msg_id <= $5 OR a.msg_id = ANY ($3)) AND a.msg_id <> ALL ($6)
        ), finals AS (
            SELECT e.msg_id, e.enqueued_at,
                   count(*) FILTER (WHERE e.status = 'completed') AS completed,
                   count(*) FILTER (WHERE e.status = 'error') AS failed
              FROM public.workflow_executions e
             WHERE (e.msg_id > $2 AND e.msg_id <= $5 OR e.msg_id = ANY ($3)) AND e.msg_id <> ALL ($6)
               AND e.queue_name = $1 AND e.status IN ('completed', 'error')
             GROUP BY e.msg_id, e.enqueued_at
        ), outcomes AS (
            SELECT a.msg_id IS NOT NULL AS archived, q.msg_id IS NOT NULL AS queued,
                   coalesce(f.completed, 0) AS completed, coalesce(f.failed, 0) AS failed
              FROM archived a
              FULL JOIN finals f ON f.msg_id = a.msg_id AND f.enqueued_at = a.enqueued_at
              LEFT JOIN pgmq.%1$I q ON q.msg_id = f.msg_id AND q.enqueued_at = f.enqueued_at
             WHERE a.msg_id IS NOT NULL OR q.msg_id IS NOT NULL OR f.enqueued_at >= $4
        )
        SELECT count(*) FILTER (WHERE o.archived),
               count(*) FILTER (WHERE o.archived AND o.completed = 1 AND o.failed = 0),
               count(*) FILTER (WHERE o.archived AND o.completed = 0 AND o.failed = 1),
               count(*) FILTER (WHERE o.archived AND o.completed + o.failed = 0),
               count(*) FILTER (WHERE o.completed + o.failed > 1 OR o.queued),
               count(*) FILTER (WHERE NOT o.archived AND NOT o.queued)
          FROM outcomes o
    $q$, 'q_' || nexus.checked_queue(queue), 'a_' || queue)
    USING queue, sealed_up_to, open_ids, since, up_to, except_ids;
END $$;
