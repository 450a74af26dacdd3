-- Locks the dead letters that an action takes and returns their ids: those of `ids`, or of an error class, or all, and of
-- these the oldest `max_rows`. In the order of msg_id: two operators at once must not deadlock, nor act on one twice.
CREATE OR REPLACE FUNCTION nexus.lock_dead_letters(ids bigint[], class text, max_rows integer, served boolean)
RETURNS bigint[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH locked AS (
        SELECT q.msg_id
          FROM pgmq.q_workflow_errors q
         WHERE (ids IS NULL OR q.msg_id = ANY (ids))
           AND (class IS NULL OR coalesce(q.message #>> '{error_details,error_class}', 'unknown') = class)
           -- Any role with INSERT may send to the queue: what names no queue that workers serve cannot be sent again.
           AND (NOT served OR q.message ->> 'original_queue' IN (SELECT s.queue_name FROM nexus.queues s))
         ORDER BY q.msg_id
         LIMIT max_rows
           FOR UPDATE
    )
    SELECT coalesce(array_agg(l.msg_id ORDER BY l.msg_id), '{}') FROM locked l
$$;

-- Records an action on dead letters that the caller has locked, and archives them. `new_msg_ids[i]` is the message that a
-- redrive of `ids[i]` sent.
CREATE OR REPLACE FUNCTION nexus.end_dead_letters(action text, ids bigint[], new_msg_ids bigint[], reason text)
RETURNS TABLE (dead_letter_id bigint, original_queue text, original_msg_id bigint, error_class text, new_msg_id bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    INSERT INTO nexus.dead_letter_actions AS a (
        dead_letter_id, dead_lettered_at, action, error_class, original_queue, original_msg_id, execution_id,
        new_msg_id, reason)
    SELECT d.dead_letter_id, d.dead_lettered_at, $1, d.error_class, d.original_queue, d.original_msg_id,
           d.execution_id, n.new_msg_id, left($4, 2000)
      FROM unnest($2, $3) AS n (dead_letter_id, new_msg_id)
      JOIN nexus.dead_letters d ON d.dead_letter_id = n.dead_letter_id
     ORDER BY d.dead_letter_id
    RETURNING a.dead_letter_id, a.original_queue, a.original_msg_id, a.error_class, a.new_msg_id;
    PERFORM pgmq.archive('workflow_errors', ids);
END $$;
