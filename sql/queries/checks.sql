-- name: count_duplicates(start, before)$
-- Keys that an hourly table has more than once: its unique index is broken or missing. HourlyTable.compose fills it in.
SELECT count(*) FROM (
    SELECT FROM {table} t WHERE t.{hour} >= :start AND t.{hour} < :before GROUP BY {key} HAVING count(*) > 1) d;

-- name: error_rate(start, before)^
-- Failed of all final executions.
SELECT f.failed, f.final, coalesce(f.failed::float8 / nullif(f.final, 0), 0) AS error_rate
  FROM (SELECT coalesce(sum(m.dead_lettered), 0)::bigint AS failed,
               coalesce(sum(m.successful + m.dead_lettered), 0)::bigint AS final
          FROM public.hourly_workflow_metrics m
         WHERE m.hour >= :start AND m.hour < :before) f;

-- name: slowest_hour(start, before)
-- The hour with the highest p95 (ms), no row without executions.
SELECT m.hour, m.p95_processing_ms
  FROM public.hourly_workflow_metrics m
 WHERE m.hour >= :start AND m.hour < :before AND m.p95_processing_ms IS NOT NULL
 ORDER BY m.p95_processing_ms DESC, m.hour LIMIT 1;

-- name: dead_letter_growth()^
-- Dead letters that are waiting, those that arrived in the last hour, and those that were redriven or discarded in it.
SELECT (SELECT count(*) FROM pgmq.q_workflow_errors) AS waiting,
       (SELECT count(*) FROM pgmq.q_workflow_errors q WHERE q.enqueued_at > clock_timestamp() - interval '1 hour')
         + (SELECT count(*) FROM nexus.dead_letter_actions a
             WHERE a.dead_lettered_at > clock_timestamp() - interval '1 hour') AS arrived,
       (SELECT count(*) FROM nexus.dead_letter_actions a
         WHERE a.acted_at > clock_timestamp() - interval '1 hour') AS handled;

-- name: event_lag(start, before)^
-- The newest event hour of a final execution and the newest aggregated hour of the window; and for how long (s) its oldest
-- mark has been there, 0 without any.
SELECT (SELECT nexus.hour_of(e.event_time)
          FROM public.workflow_executions e
         WHERE e.event_time < :before AND e.status IN ('completed', 'error')
         ORDER BY e.event_time DESC LIMIT 1) AS newest_event,
       (SELECT max(a.hour) FROM public.hourly_signal_aggregates a WHERE a.hour < :before) AS newest_aggregated,
       coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT min(m.since) FROM nexus.stale_marks m
            WHERE m.asset = 'hourly_signal_aggregates' AND m.start >= :start AND m.start < :before)), 0)::float8
           AS stale_s;
