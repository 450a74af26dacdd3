-- The statements of nexus_pipeline/analytics.
-- A window is [start, before): full hours in UTC. "Final" is completed or error; "ended" is final or retrying.

-- name: begin_replacing(asset)!
-- One at a time replaces windows of an asset; the next sees what this one wrote.
SELECT pg_advisory_xact_lock(hashtext('nexus.replace'), hashtext(:asset));

-- name: take_marks(asset, start, before)!
-- Before the executions are read: what commits after this leaves a mark of its own.
DELETE FROM nexus.stale_marks m WHERE m.asset = :asset AND m.start >= :start AND m.start < :before;

-- name: delete_signals(start, before)!
DELETE FROM public.hourly_signal_aggregates a WHERE a.hour >= :start AND a.hour < :before;

-- name: insert_signals(start, before)!
-- Final executions by event hour, symbol and strategy.
INSERT INTO public.hourly_signal_aggregates (
    hour, symbol, strategy, executions, completed, failed,
    buy_signals, sell_signals, hold_signals, strong_buy_signals, strong_sell_signals,
    avg_rsi, min_rsi, max_rsi, avg_confidence, min_confidence, max_confidence,
    avg_strength, min_strength, max_strength, low_risk, medium_risk, high_risk, first_price, last_price, volume)
SELECT d.hour, d.symbol, d.strategy,
       count(*), count(*) FILTER (WHERE d.completed), count(*) FILTER (WHERE NOT d.completed),
       count(*) FILTER (WHERE d.signal = 'BUY'), count(*) FILTER (WHERE d.signal = 'SELL'),
       count(*) FILTER (WHERE d.signal = 'HOLD'), count(*) FILTER (WHERE d.enhanced = 'STRONG_BUY'),
       count(*) FILTER (WHERE d.enhanced = 'STRONG_SELL'),
       avg(d.rsi), min(d.rsi), max(d.rsi), avg(d.confidence), min(d.confidence), max(d.confidence),
       avg(d.strength), min(d.strength), max(d.strength),
       count(*) FILTER (WHERE d.risk = 'LOW'), count(*) FILTER (WHERE d.risk = 'MEDIUM'),
       count(*) FILTER (WHERE d.risk = 'HIGH'),
       -- Pairs of time and price: the first and the last in constant memory, whatever the size of the hour.
       (min(d.priced_at))[2], (max(d.priced_at))[2],
       coalesce(sum(d.volume), 0)
  FROM (
    SELECT nexus.hour_of(coalesce(e.occurred_at, e.enqueued_at, e.created_at)) AS hour,
           coalesce(e.symbol, '(none)') AS symbol,
           -- A failure has no output: the strategy that it asked for, where that is a name.
           coalesce(e.output_data ->> 'strategy',
                    CASE WHEN jsonb_typeof(e.input_data -> 'strategy') = 'string'
                          AND length(e.input_data ->> 'strategy') BETWEEN 1 AND 200
                         THEN e.input_data ->> 'strategy' END,
                    '(none)') AS strategy,
           e.status = 'completed' AS completed,
           e.output_data ->> 'signal' AS signal,
           e.output_data ->> 'enhanced_signal' AS enhanced,
           e.output_data ->> 'risk_level' AS risk,
           nexus.json_number(e.output_data -> 'rsi') AS rsi,
           nexus.json_number(e.output_data -> 'confidence') AS confidence,
           nexus.json_number(e.output_data -> 'trade_strength') AS strength,
           CASE WHEN jsonb_typeof(e.input_data -> 'price') = 'number' AND e.status = 'completed' THEN
               ARRAY[extract(epoch FROM coalesce(e.occurred_at, e.enqueued_at, e.created_at)),
                     (e.input_data -> 'price')::numeric] END AS priced_at,
           CASE WHEN e.status = 'completed' THEN nexus.json_number(e.input_data -> 'volume') END AS volume
      FROM public.workflow_executions e
     WHERE coalesce(e.occurred_at, e.enqueued_at, e.created_at) >= :start
       AND coalesce(e.occurred_at, e.enqueued_at, e.created_at) < :before
       AND e.status IN ('completed', 'error')
    OFFSET 0 -- each value is taken out of its JSON once
  ) d
 GROUP BY d.hour, d.symbol, d.strategy;

-- name: delete_hourly_metrics(start, before)!
DELETE FROM public.hourly_workflow_metrics m WHERE m.hour >= :start AND m.hour < :before;

-- name: insert_hourly_metrics(start, before)!
-- Ended executions by processing hour.
INSERT INTO public.hourly_workflow_metrics (
    hour, total_executions, successful, failed, retried, dead_lettered, success_rate, throughput_per_s,
    avg_processing_ms, p50_processing_ms, p95_processing_ms, p99_processing_ms,
    p50_wait_ms, p95_wait_ms, p99_wait_ms, oldest_wait_ms)
SELECT g.hour, g.total, g.successful, g.total - g.successful, g.retried, g.dead_lettered,
       round(g.successful::numeric / g.total, 6), round(g.total / 3600.0, 6),
       g.avg_processing, g.processing[1], g.processing[2], g.processing[3],
       g.wait[1], g.wait[2], g.wait[3], g.wait[4]
  FROM (
    SELECT t.hour, count(*) AS total,
           count(*) FILTER (WHERE t.status = 'completed') AS successful,
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

-- name: delete_metrics(start, before)!
DELETE FROM public.workflow_metrics m WHERE m.recorded_at >= :start AND m.recorded_at < :before;

-- name: insert_metrics(start, before)!
-- Up to four rows for each ended execution; a value that the execution does not tell has no row. The id is made out of
-- the execution's: version 8 and a variant for each metric, so that making an hour twice changes nothing.
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
 WHERE e.created_at >= :start AND e.created_at < :before
   AND e.status IN ('completed', 'error', 'retrying')
   AND m.metric_value IS NOT NULL;

-- name: mark_days(start, before)!
-- The day's report is behind its hours: where it was made already, or the day closed since this was installed.
INSERT INTO nexus.stale_marks (asset, start)
SELECT 'daily_signal_report', d.day
  FROM generate_series(date_bin('1 day', :start::timestamptz, '1970-01-01 00:00:00+00'),
                       :before::timestamptz - interval '1 hour', interval '24 hours') d (day)
 WHERE d.day + interval '24 hours' > (SELECT f.since FROM nexus.followed_hours f)
    OR EXISTS (SELECT FROM nexus.daily_reports r WHERE r.day = d.day);

-- name: hours_of_hourly_signal_aggregates(start, before)
SELECT a.hour,
       jsonb_build_object(
           'rows', count(*), 'executions', sum(a.executions), 'completed', sum(a.completed), 'failed', sum(a.failed),
           'buy_signals', sum(a.buy_signals), 'sell_signals', sum(a.sell_signals),
           'hold_signals', sum(a.hold_signals), 'strong_buy_signals', sum(a.strong_buy_signals),
           'strong_sell_signals', sum(a.strong_sell_signals),
           'avg_rsi', round(sum(a.avg_rsi * a.completed) / nullif(sum(a.completed) FILTER (
               WHERE a.avg_rsi IS NOT NULL), 0), 3),
           'avg_confidence', round(sum(a.avg_confidence * a.completed) / nullif(sum(a.completed) FILTER (
               WHERE a.avg_confidence IS NOT NULL), 0), 3),
           'high_risk', sum(a.high_risk), 'volume', sum(a.volume),
           'top', (array_agg(jsonb_build_array(a.symbol, a.strategy, a.executions, a.buy_signals, a.sell_signals,
                                               a.hold_signals, a.failed, round(a.avg_rsi, 1), a.last_price)
                             ORDER BY a.executions DESC, a.symbol, a.strategy))[1:5])
  FROM public.hourly_signal_aggregates a
 WHERE a.hour >= :start AND a.hour < :before
 GROUP BY a.hour;

-- name: hours_of_hourly_workflow_metrics(start, before)
SELECT m.hour,
       jsonb_strip_nulls(to_jsonb(m) - 'hour')
           || jsonb_build_object('rows', 1, 'top', jsonb_build_array(jsonb_build_array(
               m.total_executions, m.successful, m.retried, m.dead_lettered, m.success_rate, m.throughput_per_s,
               round(m.p50_processing_ms::numeric, 1), round(m.p95_processing_ms::numeric, 1),
               round(m.p99_processing_ms::numeric, 1), round(m.p95_wait_ms::numeric, 1))))
  FROM public.hourly_workflow_metrics m
 WHERE m.hour >= :start AND m.hour < :before;

-- name: hours_of_workflow_metrics(start, before)
SELECT t.hour,
       jsonb_build_object('rows', sum(t.n), 'executions', max(t.n))
           || jsonb_object_agg('avg_' || t.metric_type, round(t.mean, 3))
           || jsonb_build_object('top', jsonb_agg(jsonb_build_array(
                  t.metric_type, t.metric_unit, t.n, round(t.mean, 1), round(t.top, 1)) ORDER BY t.metric_type))
  FROM (
    SELECT nexus.hour_of(w.recorded_at) AS hour, w.metric_type, w.metric_unit,
           count(*) AS n, avg(w.metric_value) AS mean, max(w.metric_value) AS top
      FROM public.workflow_metrics w
     WHERE w.recorded_at >= :start AND w.recorded_at < :before
     GROUP BY 1, 2, 3
  ) t
 GROUP BY t.hour;
