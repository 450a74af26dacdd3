-- name: report_hours(hours)
-- The last hours by processing, the open one last, with the columns of trading_workflow_dashboard; including hours
-- without executions.
SELECT h.hour, coalesce(e.total_executions, 0) AS total_executions, coalesce(e.successful, 0) AS successful,
       coalesce(e.failed, 0) AS failed, coalesce(e.retried, 0) AS retried, e.avg_processing_time, e.p95_processing_time,
       coalesce(e.buy_signals, 0) AS buy_signals, coalesce(e.sell_signals, 0) AS sell_signals,
       coalesce(e.hold_signals, 0) AS hold_signals
  FROM generate_series(nexus.hour_of(now()) - (:hours::integer - 1) * interval '1 hour',
                       nexus.hour_of(now()), interval '1 hour') h (hour)
  LEFT JOIN (
    SELECT nexus.hour_of(w.created_at) AS hour, count(*) AS total_executions,
           count(*) FILTER (WHERE w.status = 'completed') AS successful,
           count(*) FILTER (WHERE w.status = 'error') AS failed,
           count(*) FILTER (WHERE w.status = 'retrying') AS retried,
           avg(w.processing_time_ms)::float8 AS avg_processing_time,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY w.processing_time_ms) AS p95_processing_time,
           count(*) FILTER (WHERE w.output_data ->> 'signal' = 'BUY') AS buy_signals,
           count(*) FILTER (WHERE w.output_data ->> 'signal' = 'SELL') AS sell_signals,
           count(*) FILTER (WHERE w.output_data ->> 'signal' = 'HOLD') AS hold_signals
      FROM public.workflow_executions w
     WHERE w.workflow_type = 'trading_signal'
       AND w.created_at >= nexus.hour_of(now()) - (:hours::integer - 1) * interval '1 hour'
     GROUP BY 1
  ) e ON e.hour = h.hour
 ORDER BY h.hour;
