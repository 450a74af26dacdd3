-- The statements of the hourly table hourly_signal_aggregates. A window is [start, before): full hours in UTC.

-- name: insert(start, before)!
-- Final executions (completed or error) by event hour, symbol and strategy.
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
       -- Pairs of time and price: the first and the last in constant memory, however large the hour. Of equal times, the
       -- lowest price is the first and the highest the last.
       (min(d.priced_at))[2], (max(d.priced_at))[2], coalesce(sum(d.volume), 0)
  FROM (
    SELECT nexus.hour_of(e.event_time) AS hour, coalesce(e.symbol, '(none)') AS symbol,
           -- A failure has no output: it counts for the strategy that its request names, if that can be a name.
           coalesce(e.output_data ->> 'strategy',
                    CASE WHEN jsonb_typeof(e.input_data -> 'strategy') = 'string'
                          AND length(e.input_data ->> 'strategy') BETWEEN 1 AND 200
                         THEN e.input_data ->> 'strategy' END,
                    '(none)') AS strategy,
           e.status = 'completed' AS completed,
           e.output_data ->> 'signal' AS signal, e.output_data ->> 'enhanced_signal' AS enhanced,
           e.output_data ->> 'risk_level' AS risk,
           nexus.json_number(e.output_data -> 'rsi') AS rsi,
           nexus.json_number(e.output_data -> 'confidence') AS confidence,
           nexus.json_number(e.output_data -> 'trade_strength') AS strength,
           CASE WHEN jsonb_typeof(e.input_data -> 'price') = 'number' AND e.status = 'completed'
                THEN ARRAY[extract(epoch FROM e.event_time), (e.input_data -> 'price')::numeric] END AS priced_at,
           CASE WHEN e.status = 'completed' THEN nexus.json_number(e.input_data -> 'volume') END AS volume
      FROM public.workflow_executions e
     WHERE e.event_time >= :start AND e.event_time < :before AND e.status IN ('completed', 'error')
    OFFSET 0 -- a fence: each value is read from its JSON once, not once for each aggregate that uses it
  ) d
 GROUP BY d.hour, d.symbol, d.strategy;

-- name: summarize(start, before)
-- Each hour of the window, including those without rows: a preview of its five groups with most executions, and how many
-- more it has. The columns from `executions` on are plotted under their names; null is nothing to measure.
SELECT h.hour, count(a.hour) AS rows, greatest(count(a.hour) - 5, 0) AS more,
       (array_agg(json_build_object(
            'symbol', a.symbol, 'strategy', a.strategy, 'executions', a.executions, 'buy', a.buy_signals,
            'sell', a.sell_signals, 'hold', a.hold_signals, 'failed', a.failed, 'avg RSI', round(a.avg_rsi, 1),
            'last price', a.last_price) ORDER BY a.executions DESC, a.symbol, a.strategy)
            FILTER (WHERE a.hour IS NOT NULL))[1 : 5] AS preview,
       coalesce(sum(a.executions), 0)::bigint AS executions, coalesce(sum(a.completed), 0)::bigint AS completed,
       coalesce(sum(a.failed), 0)::bigint AS failed, coalesce(sum(a.buy_signals), 0)::bigint AS buy_signals,
       coalesce(sum(a.sell_signals), 0)::bigint AS sell_signals, coalesce(sum(a.hold_signals), 0)::bigint AS hold_signals,
       coalesce(sum(a.strong_buy_signals), 0)::bigint AS strong_buy_signals,
       coalesce(sum(a.strong_sell_signals), 0)::bigint AS strong_sell_signals,
       coalesce(sum(a.high_risk), 0)::bigint AS high_risk,
       round(sum(a.avg_rsi * a.completed) / nullif(sum(a.completed) FILTER (WHERE a.avg_rsi IS NOT NULL), 0), 3)
           AS avg_rsi,
       round(sum(a.avg_confidence * a.completed)
             / nullif(sum(a.completed) FILTER (WHERE a.avg_confidence IS NOT NULL), 0), 3) AS avg_confidence,
       sum(a.volume) AS volume
  FROM generate_series(:start::timestamptz, :before::timestamptz - interval '1 hour', interval '1 hour') h (hour)
  LEFT JOIN public.hourly_signal_aggregates a ON a.hour = h.hour AND a.hour >= :start AND a.hour < :before
 GROUP BY h.hour
 ORDER BY h.hour;

-- name: reconcile(start, before)^
-- The counts of each hour and symbol against the executions, counted independently of `insert` and in one snapshot: an
-- hour that an execution has changed since it was built has a mark in the same snapshot, and is stale instead of wrong.
-- `expected` and `actual` are the executions (in workflow_metrics: their metrics) as counted and as the table has them;
-- `examples` are at most ten of the groups that differ: hour, symbol, expected, actual.
WITH stale AS (
    SELECT DISTINCT m.start FROM nexus.stale_marks m
     WHERE m.asset = 'hourly_signal_aggregates' AND m.start >= :start AND m.start < :before
), finals AS (
    SELECT date_trunc('hour', e.event_time, 'UTC') AS hour,
           CASE WHEN e.symbol IS NULL THEN '(none)' ELSE e.symbol END AS symbol, e.status, e.output_data
      FROM public.workflow_executions e
     WHERE e.event_time >= :start AND e.event_time < :before AND e.status = ANY ('{completed,error}')
), expected AS (
    SELECT f.hour, f.symbol, count(*) AS executions,
           sum((f.status = 'completed')::int) AS completed, sum((f.output_data ->> 'signal' = 'BUY')::int) AS buy,
           sum((f.output_data ->> 'signal' = 'SELL')::int) AS sell,
           sum((f.output_data ->> 'signal' = 'HOLD')::int) AS hold
      FROM finals f
     WHERE NOT EXISTS (SELECT FROM stale s WHERE s.start = f.hour)
     GROUP BY f.hour, f.symbol
), actual AS (
    SELECT a.hour, a.symbol, sum(a.executions) AS executions, sum(a.completed) AS completed,
           sum(a.buy_signals) AS buy, sum(a.sell_signals) AS sell, sum(a.hold_signals) AS hold
      FROM public.hourly_signal_aggregates a
     WHERE a.hour >= :start AND a.hour < :before
       AND NOT EXISTS (SELECT FROM stale s WHERE s.start = a.hour)
     GROUP BY a.hour, a.symbol
), compared AS (
    SELECT coalesce(x.hour, a.hour) AS hour, coalesce(x.symbol, a.symbol) AS part,
           x.executions AS expected, a.executions AS actual,
           (x.executions, x.completed, coalesce(x.buy, 0), coalesce(x.sell, 0), coalesce(x.hold, 0))
               IS DISTINCT FROM (a.executions, a.completed, a.buy, a.sell, a.hold) AS differs
      FROM expected x FULL JOIN actual a ON a.hour = x.hour AND a.symbol = x.symbol
)
SELECT count(*) AS groups, coalesce(sum(c.expected), 0)::bigint AS expected, coalesce(sum(c.actual), 0)::bigint AS actual,
       count(*) FILTER (WHERE c.differs) AS different, (SELECT count(*) FROM stale) AS stale_hours,
       to_jsonb((array_agg(jsonb_build_array(c.hour, c.part, c.expected, c.actual) ORDER BY c.hour, c.part)
                     FILTER (WHERE c.differs))[1 : 10]) AS examples
  FROM compared c;
