-- The statements of the hourly table workflow_metrics. A window is [start, before): full hours in UTC.

-- name: insert(start, before)!
-- Up to four rows for each ended attempt (completed, error or retrying); no row for what the execution does not record.
-- The id is derived from the execution's (version 8, and a variant for each metric), so that rebuilding an hour gives the
-- same rows.
INSERT INTO public.workflow_metrics (id, execution_id, metric_type, metric_value, metric_unit, recorded_at)
SELECT overlay(overlay(e.id::text PLACING '8' FROM 15 FOR 1) PLACING m.variant FROM 20 FOR 1)::uuid,
       e.id, m.metric_type, m.metric_value, m.metric_unit, e.created_at
  FROM public.workflow_executions e
 CROSS JOIN LATERAL (VALUES
     ('8', 'queue_wait_ms', extract(epoch FROM e.started_at - e.enqueued_at) * 1000, 'ms'),
     ('9', 'processing_ms',
      coalesce(extract(epoch FROM e.completed_at - e.started_at) * 1000, e.processing_time_ms), 'ms'),
     ('a', 'end_to_end_ms', extract(epoch FROM e.completed_at - e.enqueued_at) * 1000, 'ms'),
     ('b', 'attempts', e.attempt::numeric, 'count')) m (variant, metric_type, metric_value, metric_unit)
 WHERE e.created_at >= :start AND e.created_at < :before AND e.status IN ('completed', 'error', 'retrying')
   AND m.metric_value IS NOT NULL;

-- name: summarize(start, before)
-- Each hour of the window, as in hourly_signal_aggregates.sql; its preview has a row for each metric.
SELECT h.hour, coalesce(sum(t.n), 0)::bigint AS rows, 0 AS more,
       array_agg(json_build_object('metric', t.metric_type, 'unit', t.metric_unit, 'rows', t.n,
                                   'average', round(t.mean, 1), 'highest', round(t.highest, 1)) ORDER BY t.metric_type)
           FILTER (WHERE t.hour IS NOT NULL) AS preview,
       coalesce(max(t.n), 0) AS executions,
       max(t.mean) FILTER (WHERE t.metric_type = 'queue_wait_ms') AS avg_queue_wait_ms,
       max(t.mean) FILTER (WHERE t.metric_type = 'processing_ms') AS avg_processing_ms,
       max(t.mean) FILTER (WHERE t.metric_type = 'end_to_end_ms') AS avg_end_to_end_ms,
       max(t.mean) FILTER (WHERE t.metric_type = 'attempts') AS avg_attempts
  FROM generate_series(:start::timestamptz, :before::timestamptz - interval '1 hour', interval '1 hour') h (hour)
  LEFT JOIN (
    SELECT nexus.hour_of(w.recorded_at) AS hour, w.metric_type, w.metric_unit,
           count(*) AS n, round(avg(w.metric_value), 3) AS mean, max(w.metric_value) AS highest
      FROM public.workflow_metrics w
     WHERE w.recorded_at >= :start AND w.recorded_at < :before
     GROUP BY 1, 2, 3
  ) t ON t.hour = h.hour
 GROUP BY h.hour
 ORDER BY h.hour;

-- name: reconcile(start, before)^
-- The number of metrics of each hour against the executions, as in hourly_signal_aggregates.sql.
WITH stale AS (
    SELECT DISTINCT m.start FROM nexus.stale_marks m
     WHERE m.asset = 'workflow_metrics' AND m.start >= :start AND m.start < :before
), expected AS (
    SELECT date_trunc('hour', e.created_at, 'UTC') AS hour,
           count(e.started_at - e.enqueued_at) + count(coalesce(e.completed_at - e.started_at, interval '0'))
               - count(*) FILTER (WHERE e.completed_at - e.started_at IS NULL AND e.processing_time_ms IS NULL)
               + count(e.completed_at - e.enqueued_at) + count(e.attempt) AS metrics
      FROM public.workflow_executions e
     WHERE e.created_at >= :start AND e.created_at < :before AND e.status = ANY ('{completed,error,retrying}')
     GROUP BY 1
), actual AS (
    SELECT date_trunc('hour', w.recorded_at, 'UTC') AS hour, count(*) AS metrics
      FROM public.workflow_metrics w
     WHERE w.recorded_at >= :start AND w.recorded_at < :before
     GROUP BY 1
), compared AS (
    SELECT coalesce(x.hour, a.hour) AS hour, x.metrics AS expected, a.metrics AS actual,
           coalesce(x.metrics, 0) <> coalesce(a.metrics, 0) AS differs
      FROM expected x FULL JOIN actual a ON a.hour = x.hour
     WHERE NOT EXISTS (SELECT FROM stale s WHERE s.start = coalesce(x.hour, a.hour))
)
SELECT count(*) AS groups, coalesce(sum(c.expected), 0)::bigint AS expected, coalesce(sum(c.actual), 0)::bigint AS actual,
       count(*) FILTER (WHERE c.differs) AS different, (SELECT count(*) FROM stale) AS stale_hours,
       to_jsonb((array_agg(jsonb_build_array(c.hour, '', c.expected, c.actual) ORDER BY c.hour)
                     FILTER (WHERE c.differs))[1 : 10]) AS examples
  FROM compared c;
