-- name: list_dead_letters(error_class, max_rows)
SELECT d.dead_letter_id, d.dead_lettered_at, d.error_class, d.error_code, d.error_message, d.attempts,
       d.original_queue, d.original_msg_id, d.execution_id, d.original_message
  FROM nexus.dead_letters d
 WHERE (:error_class::text IS NULL OR d.error_class = :error_class)
 ORDER BY d.dead_letter_id DESC
 LIMIT :max_rows;

-- name: count_by_class()
SELECT coalesce(d.error_class, 'unknown') AS error_class, count(*) AS letters,
       min(d.dead_lettered_at) AS oldest, max(d.dead_lettered_at) AS newest
  FROM nexus.dead_letters d
 GROUP BY 1
 ORDER BY 2 DESC, 1;

-- name: find_dead_letter(dead_letter_id)
-- The message of a dead letter, also when it was redriven or discarded.
SELECT q.message, q.enqueued_at AS dead_lettered_at FROM pgmq.q_workflow_errors q WHERE q.msg_id = :dead_letter_id
UNION ALL
SELECT a.message, a.enqueued_at FROM pgmq.a_workflow_errors a WHERE a.msg_id = :dead_letter_id
 ORDER BY dead_lettered_at DESC
 LIMIT 1;

-- name: attempts_of(queue, msg_id, enqueued_at)
SELECT e.attempt, e.status, e.started_at, e.completed_at, e.error_details
  FROM public.workflow_executions e
 WHERE e.queue_name = :queue AND e.msg_id = :msg_id AND e.enqueued_at = :enqueued_at
   AND e.status IN ('retrying', 'error', 'completed')
 ORDER BY e.attempt;

-- name: actions_of(ids)
SELECT a.dead_letter_id, a.action, a.new_msg_id, a.actor, a.reason, a.acted_at
  FROM nexus.dead_letter_actions a
 WHERE a.dead_letter_id = ANY (:ids)
 ORDER BY a.id;

-- name: waiting_among(ids)$
SELECT coalesce(array_agg(d.dead_letter_id), '{}') FROM nexus.dead_letters d WHERE d.dead_letter_id = ANY (:ids);

-- name: redrive(ids, error_class, max_rows, reason)
SELECT r.* FROM nexus.redrive(:ids::bigint[], :error_class, :max_rows, :reason) AS r;

-- name: discard(ids, error_class, max_rows, reason)
SELECT r.* FROM nexus.discard(:ids::bigint[], :error_class, :max_rows, :reason) AS r;
