-- The statements of nexus_pipeline/queues/dead_letters.py.

-- name: list_letters(error_class, at_most)
-- The newest dead letters that wait for a decision.
SELECT dead_letter_id, dead_lettered_at, error_class, error_code, error_message, attempts,
       original_queue, original_msg_id, execution_id, original_message
  FROM nexus.dead_letters
 WHERE (:error_class::text IS NULL OR error_class = :error_class)
 ORDER BY dead_letter_id DESC
 LIMIT :at_most;

-- name: count_by_class()
-- How many dead letters wait, by error class, and since when.
SELECT coalesce(error_class, 'unknown') AS error_class, count(*) AS letters,
       min(dead_lettered_at) AS oldest, max(dead_lettered_at) AS newest
  FROM nexus.dead_letters
 GROUP BY 1
 ORDER BY 2 DESC, 1;

-- name: one_letter(dead_letter_id)^
-- A dead letter whole, also when it was acted on already.
SELECT q.message, q.enqueued_at FROM pgmq.q_workflow_errors q WHERE q.msg_id = :dead_letter_id
UNION ALL
SELECT a.message, a.enqueued_at FROM pgmq.a_workflow_errors a WHERE a.msg_id = :dead_letter_id
 ORDER BY enqueued_at DESC
 LIMIT 1;

-- name: attempts_of(queue, msg_id, enqueued_at)
-- Every attempt at the message that a dead letter ended.
SELECT e.attempt, e.status, e.started_at, e.completed_at, e.error_details
  FROM public.workflow_executions e
 WHERE e.queue_name = :queue AND e.msg_id = :msg_id AND e.enqueued_at = :enqueued_at
   AND e.status IN ('retrying', 'error', 'completed')
 ORDER BY e.attempt;

-- name: actions_of(ids)
-- What was done with dead letters.
SELECT a.dead_letter_id, a.action, a.new_msg_id, a.actor, a.reason, a.acted_at
  FROM nexus.dead_letter_actions a
 WHERE a.dead_letter_id = ANY (:ids)
 ORDER BY a.id;
