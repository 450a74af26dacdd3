-- Executions as the settling of batches leaves them, spread evenly from %(start)s over %(hours)s hours: in the order of
-- processing, of 20 symbols, 1 in 20 without an event time, 3 in 100 with one up to three days old, 2 in 100 retried,
-- 1 in 100 dead-lettered. The same arguments give the same rows.
INSERT INTO public.workflow_executions (
    id, workflow_type, workflow_version, input_data, output_data, status, error_details, processing_time_ms,
    created_at, started_at, completed_at, updated_at, queue_name, msg_id, enqueued_at, attempt, symbol, occurred_at)
SELECT (lpad(to_hex(floor(extract(epoch FROM m.settled) * 1000)::bigint), 12, '0') || '7000' || '8000'
        || lpad(to_hex(m.i), 12, '0'))::uuid,
       'trading_signal', '1.0', m.input,
       CASE WHEN m.status = 'completed' THEN nexus.enhanced_rsi(
           (m.input ->> 'rsi')::numeric, (m.input ->> 'price')::numeric, (m.input ->> 'volume')::numeric,
           m.input -> 'market_context', extract(epoch FROM m.settled)) END,
       m.status,
       CASE WHEN m.status <> 'completed' THEN '{"error_class": "strategy_error", "error_message": "out of luck"}'::jsonb END,
       m.took, m.settled, m.settled - make_interval(secs => m.took / 1000.0), m.settled, m.settled,
       'workflow_main_queue', m.i, m.settled - make_interval(secs => m.took / 1000.0 + m.i %% 97 / 50.0), 1,
       m.input ->> 'symbol', (m.input ->> 'occurred_at')::timestamptz
  FROM (
    SELECT i, t.settled, 3 + i %% 41 AS took,
           CASE i %% 100 WHEN 7 THEN 'error' WHEN 23 THEN 'retrying' WHEN 71 THEN 'retrying' ELSE 'completed' END AS status,
           jsonb_strip_nulls(jsonb_build_object(
               'rsi', (i * 7919 %% 10007) / 100.07,
               'price', round(100 + 10 * sin(i / 5000.0)::numeric + i %% 20, 2),
               'volume', i %% 1000,
               'symbol', 'SYM' || i %% 20,
               'market_context', jsonb_build_object('trend', (ARRAY['bullish', 'bearish', 'neutral'])[1 + i %% 3]),
               'occurred_at', CASE WHEN i %% 20 <> 11 THEN to_char(
                   (t.settled - make_interval(secs => CASE WHEN i %% 100 IN (3, 31, 59) THEN i * 31 %% 259200 ELSE 2 END))
                   AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END)) AS input
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) i
     CROSS JOIN LATERAL (SELECT %(start)s::timestamptz
                             + %(hours)s::float8 * interval '1 hour' * (i::float8 / %(total)s::float8) AS settled) t
    OFFSET 0 -- else the input is built anew wherever it is named
  ) m
