-- name: list_executions(status, symbol, signal, msg_id, since, max_rows)
-- The newest executions that match. Those of a message are asked for status by status, as the conditions of their two
-- indexes are: a final one, or a failed attempt. (Otherwise half a million rows took 106 ms instead of 0.3.)
SELECT e.id, e.status, e.symbol, coalesce(e.output_data ->> 'enhanced_signal', e.output_data ->> 'signal') AS signal,
       nexus.json_number(e.output_data -> 'rsi') AS rsi,
       nexus.json_number(e.output_data -> 'confidence') AS confidence,
       e.output_data ->> 'risk_level' AS risk_level, e.workflow_version, e.attempt, e.msg_id, e.processing_time_ms,
       e.occurred_at, e.created_at, e.error_details ->> 'error_class' AS error_class,
       e.error_details ->> 'error_message' AS error_message
  FROM public.workflow_executions e
 WHERE (:status::text IS NULL OR e.status = :status)
   AND (:symbol::text IS NULL OR e.symbol = :symbol)
   AND (:signal::text IS NULL OR e.output_data ->> 'signal' = :signal)
   AND (:msg_id::bigint IS NULL
        OR (e.msg_id = :msg_id AND e.status IN ('completed', 'error'))
        OR (e.msg_id = :msg_id AND e.status = 'retrying'))
   AND (:since::timestamptz IS NULL OR e.created_at >= :since)
 ORDER BY e.created_at DESC, e.id DESC
 LIMIT :max_rows;

-- name: find_execution(execution_id)$
SELECT to_jsonb(e) FROM public.workflow_executions e WHERE e.id = :execution_id;
