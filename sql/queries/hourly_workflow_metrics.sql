-- The statements of the hourly table hourly_workflow_metrics. A window is [start, before): full hours in UTC.

-- name: insert(start, before)!
-- Ended attempts (completed, error or retrying) by processing hour.
INSERT INTO public.hourly_workflow_metrics (
    hour, total_executions, successful, failed, retried, dead_lettered, success_rate, throughput_per_s,
    avg_processing_ms, p50_processing_ms, p95_processing_ms, p99_processing_ms,
    p50_wait_ms, p95_wait_ms, p99_wait_ms, oldest_wait_ms)
SELECT g.hour, g.total, g.successful, g.total - g.successful, g.retried, g.dead_lettered,
       round(g.successful::numeric / g.total, 6), round(g.total / 3600.0, 6),
       g.avg_processing, g.processing[1], g.processing[2], g.processing[3],
       g.wait[1], g.wait[2], g.wait[3], g.wait[4]
  FROM (
    SELECT t.hour, count(*) AS total, count(*) FILTER (WHERE t.status = 'completed') AS successful,
           count(*) FILTER (WHERE t.status = 'retrying') AS retried,
           count(*) FILTER (WHERE t.status = 'error') AS dead_lettered,
           avg(t.processing_ms) AS avg_processing,
           percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY t.processing_ms) AS processing,
           percentile_cont(ARRAY[0.5, 0.95, 0.99, 1.0]) WITHIN GROUP (ORDER BY t.wait_ms) AS wait
      FROM (
        SELECT nexus.hour_of(e.created_at) AS hour, e.status,
               coalesce(extract(epoch FROM e.completed_at - e.started_at) * 1000, e.processing_time_ms)::float8
                   AS processing_ms,
               (extract(epoch FROM e.started_at - e.enqueued_at) * 1000)::float8 AS wait_ms
          FROM public.workflow_executions e
         WHERE e.created_at >= :start AND e.created_at < :before
           AND e.status IN ('completed', 'error', 'retrying')
      ) t
     GROUP BY t.hour
  ) g;

-- name: summarize(start, before)
-- Each hour of the window, as in hourly_signal_aggregates.sql.
SELECT h.hour, (m.hour IS NOT NULL)::int AS rows, 0 AS more,
       CASE WHEN m.hour IS NOT NULL THEN ARRAY[json_build_object(
           'total', m.total_executions, 'successful', m.successful, 'retried', m.retried,
           'dead-lettered', m.dead_lettered, 'rate', m.success_rate, 'per s', m.throughput_per_s,
           'p50', round(m.p50_processing_ms::numeric, 1), 'p95', round(m.p95_processing_ms::numeric, 1),
           'p99', round(m.p99_processing_ms::numeric, 1), 'wait p95', round(m.p95_wait_ms::numeric, 1))] END AS preview,
       coalesce(m.total_executions, 0) AS total_executions, coalesce(m.successful, 0) AS successful,
       coalesce(m.failed, 0) AS failed, coalesce(m.retried, 0) AS retried,
       coalesce(m.dead_lettered, 0) AS dead_lettered,
       m.success_rate, m.throughput_per_s, m.p50_processing_ms, m.p95_processing_ms, m.p99_processing_ms,
       m.p50_wait_ms, m.p95_wait_ms, m.p99_wait_ms, m.oldest_wait_ms
  FROM generate_series(:start::timestamptz, :before::timestamptz - interval '1 hour', interval '1 hour') h (hour)
  LEFT JOIN public.hourly_workflow_metrics m ON m.hour = h.hour AND m.hour >= :start AND m.hour < :before
 ORDER BY h.hour;

-- name: reconcile(start, before)^
-- The outcomes of each hour against the executions, as in hourly_signal_aggregates.sql.
WITH stale AS (
    SELECT DISTINCT m.start FROM nexus.stale_marks m
     WHERE m.asset = 'hourly_workflow_metrics' AND m.start >= :start AND m.start < :before
), expected AS (
    SELECT date_trunc('hour', e.created_at, 'UTC') AS hour, count(*) AS total,
           sum((e.status = 'completed')::int) AS successful, sum((e.status = 'retrying')::int) AS retried,
           sum((e.status = 'error')::int) AS dead_lettered, max(e.started_at - e.enqueued_at) AS oldest
      FROM public.workflow_executions e
     WHERE e.created_at >= :start AND e.created_at < :before
       AND e.status = ANY ('{completed,error,retrying}')
       AND NOT EXISTS (SELECT FROM stale s WHERE s.start = date_trunc('hour', e.created_at, 'UTC'))
     GROUP BY 1
), actual AS (
    SELECT m.* FROM public.hourly_workflow_metrics m
     WHERE m.hour >= :start AND m.hour < :before
       AND NOT EXISTS (SELECT FROM stale s WHERE s.start = m.hour)
), compared AS (
    SELECT coalesce(x.hour, a.hour) AS hour, x.total AS expected, a.total_executions AS actual,
           (x.total, x.successful, x.retried, x.dead_lettered, round(extract(epoch FROM x.oldest), 3))
               IS DISTINCT FROM (a.total_executions, a.successful, a.retried, a.dead_lettered,
                                 round(a.oldest_wait_ms::numeric / 1000, 3)) AS differs
      FROM expected x FULL JOIN actual a ON a.hour = x.hour
)
SELECT count(*) AS groups, coalesce(sum(c.expected), 0)::bigint AS expected, coalesce(sum(c.actual), 0)::bigint AS actual,
       count(*) FILTER (WHERE c.differs) AS different, (SELECT count(*) FROM stale) AS stale_hours,
       to_jsonb((array_agg(jsonb_build_array(c.hour, '', c.expected, c.actual) ORDER BY c.hour)
                     FILTER (WHERE c.differs))[1 : 10]) AS examples
  FROM compared c;
