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
