-- The statements of nexus_pipeline/processing/demo_figures.py: what became of the requests of one source, as far as
-- they are completed. Days and hours are those of the event, in UTC.

-- name: signals(source)^
-- Decisions by signal, the strong ones among them, and the first and last event.
SELECT count(*)                                                                       AS completed,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'BUY')                     AS buy,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'SELL')                    AS sell,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'HOLD')                    AS hold,
       count(*) FILTER (WHERE e.output_data ->> 'enhanced_signal' = 'STRONG_BUY')     AS strong_buy,
       count(*) FILTER (WHERE e.output_data ->> 'enhanced_signal' = 'STRONG_SELL')    AS strong_sell,
       min(e.occurred_at)                                                             AS first_event,
       max(e.occurred_at)                                                             AS last_event
  FROM public.workflow_executions e
 WHERE e.status = 'completed' AND e.input_data ->> 'source' = :source;

-- name: by_day(source)
-- Decisions of each day that has an event, and the price of its last one.
SELECT (e.occurred_at AT TIME ZONE 'UTC')::date                     AS day,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'BUY')   AS buy,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'SELL')  AS sell,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'HOLD')  AS hold,
       (array_agg((e.output_data ->> 'price')::numeric ORDER BY e.occurred_at DESC, e.id DESC))[1] AS close
  FROM public.workflow_executions e
 WHERE e.status = 'completed' AND e.input_data ->> 'source' = :source AND e.occurred_at IS NOT NULL
 GROUP BY 1
 ORDER BY 1;

-- name: by_hour(source)
-- Decisions of each hour of the day, all 24 of them.
SELECT h.hour,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'BUY')   AS buy,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'SELL')  AS sell,
       count(*) FILTER (WHERE e.output_data ->> 'signal' = 'HOLD')  AS hold
  FROM generate_series(0, 23) AS h (hour)
  LEFT JOIN public.workflow_executions e
    ON extract(hour FROM e.occurred_at AT TIME ZONE 'UTC') = h.hour
   AND e.status = 'completed' AND e.input_data ->> 'source' = :source
 GROUP BY h.hour
 ORDER BY h.hour;

-- name: latency(source)^
-- Percentiles of the time from a message's sending to its settling, ms; null where there is none.
SELECT p.ms[1] AS p50, p.ms[2] AS p95, p.ms[3] AS p99
  FROM (
    SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
               ORDER BY extract(epoch FROM e.completed_at - e.enqueued_at)::double precision * 1000) AS ms
      FROM public.workflow_executions e
     WHERE e.status = 'completed' AND e.input_data ->> 'source' = :source
  ) p;

-- name: aggregates_by_week(symbol, since, before)
-- Decisions of each week out of hourly_signal_aggregates, and how many of its hours have a row.
SELECT (date_trunc('week', a.hour AT TIME ZONE 'UTC'))::date AS week,
       count(DISTINCT a.hour)    AS hours,
       sum(a.buy_signals)::int   AS buy,
       sum(a.sell_signals)::int  AS sell,
       sum(a.hold_signals)::int  AS hold,
       round(min(a.min_rsi), 1)  AS min_rsi,
       round(max(a.max_rsi), 1)  AS max_rsi
  FROM public.hourly_signal_aggregates a
 WHERE a.symbol = :symbol AND a.hour >= :since AND a.hour < :before
 GROUP BY 1
 ORDER BY 1;
