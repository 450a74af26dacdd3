-- The statements of nexus_pipeline/demo: what became of the requests of one source, as far as they are completed.
-- Days, weeks and hours are those of the event, in UTC. The columns are named as in the output of `nexus demo --json`.

-- name: totals(source)
-- Decisions by signal, the strong ones among them, the first and last event, and percentiles of the time from the send
-- of a message to its settlement, ms; null without executions.
SELECT count(*) FILTER (WHERE t.signal = 'BUY') AS "BUY",
       count(*) FILTER (WHERE t.signal = 'SELL') AS "SELL",
       count(*) FILTER (WHERE t.signal = 'HOLD') AS "HOLD",
       count(*) FILTER (WHERE t.enhanced = 'STRONG_BUY') AS "STRONG_BUY",
       count(*) FILTER (WHERE t.enhanced = 'STRONG_SELL') AS "STRONG_SELL",
       min(t.occurred_at) AS first_event, max(t.occurred_at) AS last_event,
       round(percentile_cont(0.50) WITHIN GROUP (ORDER BY t.ms)::numeric, 3)::double precision AS p50,
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY t.ms)::numeric, 3)::double precision AS p95,
       round(percentile_cont(0.99) WITHIN GROUP (ORDER BY t.ms)::numeric, 3)::double precision AS p99
  FROM (SELECT e.output_data ->> 'signal' AS signal, e.output_data ->> 'enhanced_signal' AS enhanced, e.occurred_at,
               extract(epoch FROM e.completed_at - e.enqueued_at)::double precision * 1000 AS ms
          FROM public.workflow_executions e
         WHERE e.status = 'completed' AND e.input_data ->> 'source' = :source) t;

-- name: by_day(source)
-- Decisions of each day that has an event, and the price of its last event.
SELECT (e.occurred_at AT TIME ZONE 'UTC')::date::text               AS day,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'BUY')   AS "BUY",
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'SELL')  AS "SELL",
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'HOLD')  AS "HOLD",
       (array_agg((e.output_data ->> 'price')::double precision ORDER BY e.occurred_at DESC, e.id DESC))[1] AS close
  FROM public.workflow_executions e
 WHERE e.status = 'completed' AND e.input_data ->> 'source' = :source AND e.occurred_at IS NOT NULL
 GROUP BY 1 ORDER BY 1;

-- name: by_hour(source)
-- Decisions of each hour of the day, all 24 of them.
SELECT h.hour,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'BUY')   AS "BUY",
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'SELL')  AS "SELL",
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'HOLD')  AS "HOLD"
  FROM generate_series(0, 23) AS h (hour)
  LEFT JOIN public.workflow_executions e
    ON extract(hour FROM e.occurred_at AT TIME ZONE 'UTC') = h.hour
   AND e.status = 'completed' AND e.input_data ->> 'source' = :source
 GROUP BY h.hour ORDER BY h.hour;

-- name: aggregates_by_week(symbol, since, before)
-- Decisions of each week out of hourly_signal_aggregates, and how many of its hours have a row.
SELECT date_trunc('week', a.hour AT TIME ZONE 'UTC')::date::text AS week,
       count(DISTINCT a.hour) AS hours,
       sum(a.buy_signals)::int AS "BUY", sum(a.sell_signals)::int AS "SELL", sum(a.hold_signals)::int AS "HOLD",
       round(min(a.min_rsi), 1)::double precision AS min_rsi, round(max(a.max_rsi), 1)::double precision AS max_rsi
  FROM public.hourly_signal_aggregates a
 WHERE a.symbol = :symbol AND a.hour >= :since AND a.hour < :before
 GROUP BY 1 ORDER BY 1;
