-- The statements of nexus_pipeline/analytics that belong to no single hourly table (those of a table are in the file of
-- its name). A window is [start, before): full hours in UTC.

-- name: lock_rebuild(asset)!
-- One transaction at a time rebuilds windows of an asset; the next one sees what this one wrote.
SELECT pg_advisory_xact_lock(hashtext('nexus.rebuild'), hashtext(:asset));

-- name: try_lock_rebuild(asset)$
-- As lock_rebuild, without waiting: whether the lock was free.
SELECT pg_try_advisory_xact_lock(hashtext('nexus.rebuild'), hashtext(:asset));

-- name: take_marks(asset, start, before)!
-- Before the executions are read: what commits after this leaves a mark of its own.
DELETE FROM nexus.stale_marks m WHERE m.asset = :asset AND m.start >= :start AND m.start < :before;

-- name: compact_marks(asset)!
-- One mark is enough for a partition that is not rebuilt yet: the open hour, hours to come, hours before the first. Needs
-- the lock of lock_rebuild: without it, the mark that is kept could be one that a rebuild is just taking.
DELETE FROM nexus.stale_marks m
 USING (SELECT k.start, min(k.ctid) AS kept
          FROM nexus.stale_marks k
         WHERE k.asset = :asset
         GROUP BY k.start
        HAVING count(*) > 1) d
 WHERE m.asset = :asset AND m.start = d.start AND m.ctid <> d.kept;

-- name: mark_days(asset, start, before)!
-- The report of a day whose hours changed is stale, if it was ever built, or if the day ended after the installation.
INSERT INTO nexus.stale_marks (asset, start)
SELECT :asset, d.day
  FROM generate_series(date_bin('1 day', :start::timestamptz, '1970-01-01 00:00:00+00'),
                       :before::timestamptz - interval '1 hour', interval '24 hours') d (day)
 WHERE d.day + interval '24 hours' > (SELECT i.installed_hour FROM nexus.installation i) AND d.day <= clock_timestamp()
    OR EXISTS (SELECT FROM nexus.daily_reports r WHERE r.day = d.day);

-- name: stale_partitions(asset, since, before)
SELECT p AS start FROM nexus.stale_partitions(:asset, :since, :before) p;

-- name: mark_closed_hours()$
SELECT nexus.mark_closed_hours() AS hours;

-- name: partitions_start()$
-- In seconds since 1970: readable whatever the DateStyle of the server.
SELECT extract(epoch FROM i.partitions_start)::float8 FROM nexus.installation i;

-- name: day_by_hour(start, before)
-- Each hour of the day, including those without executions.
SELECT h.hour, coalesce(s.executions, 0) AS executions, coalesce(s.buy, 0) AS buy, coalesce(s.sell, 0) AS sell,
       coalesce(s.hold, 0) AS hold, coalesce(s.failed, 0) AS failed, s.avg_rsi, s.min_rsi, s.max_rsi,
       coalesce(m.total_executions, 0) AS processed, m.success_rate, m.throughput_per_s,
       m.p50_processing_ms AS p50_ms, m.p95_processing_ms AS p95_ms, m.p95_wait_ms,
       coalesce(m.retried, 0) AS retried, coalesce(m.dead_lettered, 0) AS dead_lettered
  FROM generate_series(:start::timestamptz, :before::timestamptz - interval '1 hour', interval '1 hour') h (hour)
  LEFT JOIN (
    SELECT a.hour, sum(a.executions) AS executions, sum(a.buy_signals) AS buy, sum(a.sell_signals) AS sell,
           sum(a.hold_signals) AS hold, sum(a.failed) AS failed,
           sum(a.avg_rsi * a.completed) / nullif(sum(a.completed) FILTER (WHERE a.avg_rsi IS NOT NULL), 0) AS avg_rsi,
           min(a.min_rsi) AS min_rsi, max(a.max_rsi) AS max_rsi
      FROM public.hourly_signal_aggregates a
     WHERE a.hour >= :start AND a.hour < :before
     GROUP BY a.hour
  ) s ON s.hour = h.hour
  LEFT JOIN public.hourly_workflow_metrics m ON m.hour = h.hour
 ORDER BY h.hour;

-- name: day_by_symbol(start, before)
-- Symbols and strategies of the day, most executions first.
SELECT a.symbol, a.strategy, sum(a.executions) AS executions, sum(a.buy_signals) AS buy, sum(a.sell_signals) AS sell,
       sum(a.hold_signals) AS hold, sum(a.strong_buy_signals) + sum(a.strong_sell_signals) AS strong,
       sum(a.failed) AS failed,
       sum(a.avg_rsi * a.completed) / nullif(sum(a.completed) FILTER (WHERE a.avg_rsi IS NOT NULL), 0) AS avg_rsi,
       (array_agg(a.first_price ORDER BY a.hour) FILTER (WHERE a.first_price IS NOT NULL))[1] AS first_price,
       (array_agg(a.last_price ORDER BY a.hour DESC) FILTER (WHERE a.last_price IS NOT NULL))[1] AS last_price,
       sum(a.volume) AS volume
  FROM public.hourly_signal_aggregates a
 WHERE a.hour >= :start AND a.hour < :before
 GROUP BY a.symbol, a.strategy
 ORDER BY 3 DESC, 1, 2;

-- name: record_report(day)!
INSERT INTO nexus.daily_reports AS r (day) VALUES (:day)
ON CONFLICT (day) DO UPDATE SET built_at = clock_timestamp();

-- name: outcomes(start, before)^
-- Final executions, how many of them failed, and the hour with the slowest p95 (ms).
SELECT coalesce(sum(m.successful + m.dead_lettered), 0)::bigint AS final,
       coalesce(sum(m.dead_lettered), 0)::bigint AS failed,
       max(m.p95_processing_ms) AS worst_p95_ms,
       (array_agg(m.hour ORDER BY m.p95_processing_ms DESC, m.hour)
            FILTER (WHERE m.p95_processing_ms IS NOT NULL))[1] AS worst_hour
  FROM public.hourly_workflow_metrics m
 WHERE m.hour >= :start AND m.hour < :before;

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
         WHERE e.event_time < :before
           AND e.status IN ('completed', 'error')
         ORDER BY e.event_time DESC LIMIT 1) AS newest_event,
       (SELECT max(a.hour) FROM public.hourly_signal_aggregates a WHERE a.hour < :before) AS newest_aggregated,
       coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT min(m.since) FROM nexus.stale_marks m
            WHERE m.asset = 'hourly_signal_aggregates' AND m.start >= :start AND m.start < :before)), 0)::float8
           AS stale_s;

-- name: report_hours(hours)
-- The last hours by processing, the open one last, with the columns of trading_workflow_dashboard; including hours
-- without executions.
SELECT h.hour, coalesce(e.total_executions, 0) AS total_executions, coalesce(e.successful, 0) AS successful,
       coalesce(e.failed, 0) AS failed, coalesce(e.retried, 0) AS retried,
       e.avg_processing_time, e.p95_processing_time,
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
