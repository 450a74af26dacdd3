-- The statements of nexus_pipeline/analytics.
-- A window is [start, before): full hours in UTC. "Final" is completed or error; "ended" is final or retrying.

-- name: begin_replacing(asset)!
-- One at a time replaces windows of an asset; the next sees what this one wrote.
SELECT pg_advisory_xact_lock(hashtext('nexus.replace'), hashtext(:asset));

-- name: take_marks(asset, start, before)!
-- Before the executions are read: what commits after this leaves a mark of its own.
DELETE FROM nexus.stale_marks m WHERE m.asset = :asset AND m.start >= :start AND m.start < :before;

-- name: try_replacing(asset)$
-- As begin_replacing, without waiting: whether it was free.
SELECT pg_try_advisory_xact_lock(hashtext('nexus.replace'), hashtext(:asset));

-- name: compact_marks(asset)!
-- One mark is enough for a partition that nobody makes yet: the open hour, hours to come, hours before the first. Only
-- under the lock of begin_replacing: else the mark that is kept could be one that somebody is just taking.
DELETE FROM nexus.stale_marks m
 USING (SELECT k.start, min(k.ctid) AS kept
          FROM nexus.stale_marks k
         WHERE k.asset = :asset
         GROUP BY k.start
        HAVING count(*) > 1) d
 WHERE m.asset = :asset AND m.start = d.start AND m.ctid <> d.kept;

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
    SELECT nexus.hour_of(e.event_time) AS hour,
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
               ARRAY[extract(epoch FROM e.event_time),
                     (e.input_data -> 'price')::numeric] END AS priced_at,
           CASE WHEN e.status = 'completed' THEN nexus.json_number(e.input_data -> 'volume') END AS volume
      FROM public.workflow_executions e
     WHERE e.event_time >= :start
       AND e.event_time < :before
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
 WHERE d.day + interval '24 hours' > (SELECT f.since FROM nexus.followed_hours f) AND d.day <= clock_timestamp()
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
                             ORDER BY a.executions DESC, a.symbol, a.strategy))[1 : 5])
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

-- name: day_by_hour(start, before)
-- Each hour of the day, also those without executions.
SELECT h.hour, coalesce(s.executions, 0), coalesce(s.buy, 0), coalesce(s.sell, 0), coalesce(s.hold, 0),
       coalesce(s.failed, 0), s.avg_rsi, s.min_rsi, s.max_rsi,
       m.total_executions, m.success_rate, m.throughput_per_s,
       m.p50_processing_ms, m.p95_processing_ms, m.p95_wait_ms, m.retried, m.dead_lettered
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
SELECT a.symbol, a.strategy, sum(a.executions), sum(a.buy_signals), sum(a.sell_signals), sum(a.hold_signals),
       sum(a.strong_buy_signals) + sum(a.strong_sell_signals), sum(a.failed),
       sum(a.avg_rsi * a.completed) / nullif(sum(a.completed) FILTER (WHERE a.avg_rsi IS NOT NULL), 0),
       (array_agg(a.first_price ORDER BY a.hour) FILTER (WHERE a.first_price IS NOT NULL))[1],
       (array_agg(a.last_price ORDER BY a.hour DESC) FILTER (WHERE a.last_price IS NOT NULL))[1],
       sum(a.volume)
  FROM public.hourly_signal_aggregates a
 WHERE a.hour >= :start AND a.hour < :before
 GROUP BY a.symbol, a.strategy
 ORDER BY 3 DESC, 1, 2;

-- name: record_report(day)!
INSERT INTO nexus.daily_reports AS r (day) VALUES (:day)
ON CONFLICT (day) DO UPDATE SET made_at = clock_timestamp();

-- name: stale_partitions(asset, since, before)
SELECT p FROM nexus.stale_partitions(:asset, :since, :before) p;

-- name: mark_closed_hours()$
SELECT nexus.mark_closed_hours();

-- name: reconcile_hourly_signal_aggregates(start, before)^
-- The aggregates against the executions, counted anew and in one snapshot, so that nothing slips in between: an hour that
-- an execution changed since has a mark in the same snapshot, and is only behind. Compared are the counts of each hour and
-- symbol.
WITH behind AS (
    SELECT DISTINCT m.start FROM nexus.stale_marks m
     WHERE m.asset = 'hourly_signal_aggregates' AND m.start >= :start AND m.start < :before
), finals AS (
    SELECT date_trunc('hour', e.event_time, 'UTC') AS hour,
           CASE WHEN e.symbol IS NULL THEN '(none)' ELSE e.symbol END AS symbol,
           e.status, e.output_data, e.input_data
      FROM public.workflow_executions e
     WHERE e.event_time >= :start
       AND e.event_time < :before
       AND e.status = ANY ('{completed,error}')
), truth AS (
    SELECT f.hour, f.symbol, count(*) AS executions,
           sum((f.status = 'completed')::int) AS completed,
           sum((f.output_data ->> 'signal' = 'BUY')::int) AS buy,
           sum((f.output_data ->> 'signal' = 'SELL')::int) AS sell,
           sum((f.output_data ->> 'signal' = 'HOLD')::int) AS hold
      FROM finals f
     WHERE NOT EXISTS (SELECT FROM behind b WHERE b.start = f.hour)
     GROUP BY f.hour, f.symbol
), told AS (
    SELECT a.hour, a.symbol, sum(a.executions) AS executions, sum(a.completed) AS completed,
           sum(a.buy_signals) AS buy, sum(a.sell_signals) AS sell, sum(a.hold_signals) AS hold
      FROM public.hourly_signal_aggregates a
     WHERE a.hour >= :start AND a.hour < :before
       AND NOT EXISTS (SELECT FROM behind b WHERE b.start = a.hour)
     GROUP BY a.hour, a.symbol
), compared AS (
    SELECT coalesce(t.hour, a.hour) AS hour, coalesce(t.symbol, a.symbol) AS part,
           t.executions AS truth, a.executions AS told,
           (t.executions, t.completed, coalesce(t.buy, 0), coalesce(t.sell, 0), coalesce(t.hold, 0))
               IS DISTINCT FROM (a.executions, a.completed, a.buy, a.sell, a.hold) AS differs
      FROM truth t FULL JOIN told a ON a.hour = t.hour AND a.symbol = t.symbol
)
SELECT count(*), coalesce(sum(c.truth), 0)::bigint, coalesce(sum(c.told), 0)::bigint,
       count(*) FILTER (WHERE c.differs), (SELECT count(*) FROM behind),
       (array_agg(jsonb_build_array(c.hour, c.part, c.truth, c.told) ORDER BY c.hour, c.part)
            FILTER (WHERE c.differs))[1 : 10]
  FROM compared c;

-- name: reconcile_hourly_workflow_metrics(start, before)^
-- As above, by processing hour and outcome.
WITH behind AS (
    SELECT DISTINCT m.start FROM nexus.stale_marks m
     WHERE m.asset = 'hourly_workflow_metrics' AND m.start >= :start AND m.start < :before
), truth AS (
    SELECT date_trunc('hour', e.created_at, 'UTC') AS hour, count(*) AS total,
           sum((e.status = 'completed')::int) AS successful,
           sum((e.status = 'retrying')::int) AS retried,
           sum((e.status = 'error')::int) AS dead_lettered,
           max(e.started_at - e.enqueued_at) AS oldest
      FROM public.workflow_executions e
     WHERE e.created_at >= :start AND e.created_at < :before
       AND e.status = ANY ('{completed,error,retrying}')
       AND NOT EXISTS (SELECT FROM behind b WHERE b.start = date_trunc('hour', e.created_at, 'UTC'))
     GROUP BY 1
), compared AS (
    SELECT coalesce(t.hour, m.hour) AS hour, t.total AS truth, m.total_executions AS told,
           (t.total, t.successful, t.retried, t.dead_lettered, round(extract(epoch FROM t.oldest), 3))
               IS DISTINCT FROM (m.total_executions, m.successful, m.retried, m.dead_lettered,
                                 round(m.oldest_wait_ms::numeric / 1000, 3)) AS differs
      FROM truth t
      FULL JOIN (SELECT w.* FROM public.hourly_workflow_metrics w
                  WHERE w.hour >= :start AND w.hour < :before
                    AND NOT EXISTS (SELECT FROM behind b WHERE b.start = w.hour)) m ON m.hour = t.hour
)
SELECT count(*), coalesce(sum(c.truth), 0)::bigint, coalesce(sum(c.told), 0)::bigint,
       count(*) FILTER (WHERE c.differs), (SELECT count(*) FROM behind),
       (array_agg(jsonb_build_array(c.hour, '', c.truth, c.told) ORDER BY c.hour) FILTER (WHERE c.differs))[1 : 10]
  FROM compared c;

-- name: reconcile_workflow_metrics(start, before)^
-- As above: the number of metrics, by processing hour.
WITH behind AS (
    SELECT DISTINCT m.start FROM nexus.stale_marks m
     WHERE m.asset = 'workflow_metrics' AND m.start >= :start AND m.start < :before
), truth AS (
    SELECT date_trunc('hour', e.created_at, 'UTC') AS hour,
           count(e.started_at - e.enqueued_at) + count(coalesce(e.completed_at - e.started_at, interval '0'))
               - count(*) FILTER (WHERE e.completed_at - e.started_at IS NULL AND e.processing_time_ms IS NULL)
               + count(e.completed_at - e.enqueued_at) + count(e.attempt) AS metrics
      FROM public.workflow_executions e
     WHERE e.created_at >= :start AND e.created_at < :before
       AND e.status = ANY ('{completed,error,retrying}')
     GROUP BY 1
), told AS (
    SELECT date_trunc('hour', w.recorded_at, 'UTC') AS hour, count(*) AS metrics
      FROM public.workflow_metrics w
     WHERE w.recorded_at >= :start AND w.recorded_at < :before
     GROUP BY 1
), compared AS (
    SELECT coalesce(t.hour, w.hour) AS hour, t.metrics AS truth, w.metrics AS told,
           coalesce(t.metrics, 0) <> coalesce(w.metrics, 0) AS differs
      FROM truth t FULL JOIN told w ON w.hour = t.hour
     WHERE NOT EXISTS (SELECT FROM behind b WHERE b.start = coalesce(t.hour, w.hour))
)
SELECT count(*), coalesce(sum(c.truth), 0)::bigint, coalesce(sum(c.told), 0)::bigint,
       count(*) FILTER (WHERE c.differs), (SELECT count(*) FROM behind),
       (array_agg(jsonb_build_array(c.hour, '', c.truth, c.told) ORDER BY c.hour) FILTER (WHERE c.differs))[1 : 10]
  FROM compared c;

-- name: duplicates_hourly_signal_aggregates(start, before)$
-- Keys that the table holds more than once: an index that is broken or gone.
SELECT count(*) FROM (
    SELECT FROM public.hourly_signal_aggregates a WHERE a.hour >= :start AND a.hour < :before
     GROUP BY a.hour, a.symbol, a.strategy HAVING count(*) > 1) d;

-- name: duplicates_hourly_workflow_metrics(start, before)$
SELECT count(*) FROM (
    SELECT FROM public.hourly_workflow_metrics m WHERE m.hour >= :start AND m.hour < :before
     GROUP BY m.hour HAVING count(*) > 1) d;

-- name: duplicates_workflow_metrics(start, before)$
SELECT count(*) FROM (
    SELECT FROM public.workflow_metrics w WHERE w.recorded_at >= :start AND w.recorded_at < :before
     GROUP BY w.execution_id, w.metric_type HAVING count(*) > 1) d;

-- name: outcomes(start, before)^
-- Final executions, those of them that failed, and the hour with the slowest p95 (ms).
SELECT coalesce(sum(m.successful + m.dead_lettered), 0)::bigint, coalesce(sum(m.dead_lettered), 0)::bigint,
       max(m.p95_processing_ms),
       (array_agg(m.hour ORDER BY m.p95_processing_ms DESC NULLS LAST, m.hour))[1]
  FROM public.hourly_workflow_metrics m
 WHERE m.hour >= :start AND m.hour < :before;

-- name: dead_letter_growth()^
-- Dead letters that wait, those that came in the last hour, and those that somebody redrove or discarded in it.
SELECT (SELECT count(*) FROM pgmq.q_workflow_errors),
       (SELECT count(*) FROM pgmq.q_workflow_errors q WHERE q.enqueued_at > clock_timestamp() - interval '1 hour')
         + (SELECT count(*) FROM nexus.dead_letter_actions a
             WHERE a.dead_lettered_at > clock_timestamp() - interval '1 hour'),
       (SELECT count(*) FROM nexus.dead_letter_actions a WHERE a.acted_at > clock_timestamp() - interval '1 hour');

-- name: event_lag(start, before)^
-- The newest event hour of a final execution and the newest that is aggregated, among those of the window; and since
-- when the longest-waiting stale hour of them is behind.
SELECT (SELECT nexus.hour_of(e.event_time)
          FROM public.workflow_executions e
         WHERE e.event_time < :before
           AND e.status IN ('completed', 'error')
         ORDER BY e.event_time DESC LIMIT 1),
       (SELECT max(a.hour) FROM public.hourly_signal_aggregates a WHERE a.hour < :before),
       (SELECT min(m.since) FROM nexus.stale_marks m
         WHERE m.asset = 'hourly_signal_aggregates' AND m.start >= :start AND m.start < :before),
       clock_timestamp();

-- name: report_hours(hours)
-- The last hours by processing, the open one last, as trading_workflow_dashboard has them; hours without executions too.
SELECT h.hour, coalesce(e.total, 0), coalesce(e.successful, 0), coalesce(e.failed, 0), coalesce(e.retried, 0),
       e.avg_processing_ms, e.p95_processing_ms, coalesce(e.buy, 0), coalesce(e.sell, 0), coalesce(e.hold, 0)
  FROM generate_series(nexus.hour_of(now()) - (:hours::integer - 1) * interval '1 hour',
                       nexus.hour_of(now()), interval '1 hour') h (hour)
  LEFT JOIN (
    SELECT nexus.hour_of(w.created_at) AS hour, count(*) AS total,
           count(*) FILTER (WHERE w.status = 'completed') AS successful,
           count(*) FILTER (WHERE w.status = 'error') AS failed,
           count(*) FILTER (WHERE w.status = 'retrying') AS retried,
           avg(w.processing_time_ms)::float8 AS avg_processing_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY w.processing_time_ms) AS p95_processing_ms,
           count(*) FILTER (WHERE w.output_data ->> 'signal' = 'BUY') AS buy,
           count(*) FILTER (WHERE w.output_data ->> 'signal' = 'SELL') AS sell,
           count(*) FILTER (WHERE w.output_data ->> 'signal' = 'HOLD') AS hold
      FROM public.workflow_executions w
     WHERE w.workflow_type = 'trading_signal'
       AND w.created_at >= nexus.hour_of(now()) - (:hours::integer - 1) * interval '1 hour'
     GROUP BY 1
  ) e ON e.hour = h.hour
 ORDER BY h.hour;
