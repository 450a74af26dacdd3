-- name: day_by_hour(start, before)
-- Each hour of the day, including those without executions, under the heads of the report; times in ms. The last four
-- columns are not shown by hour.
SELECT h.hour, coalesce(s.executions, 0) AS executions, coalesce(s.buy, 0) AS "BUY", coalesce(s.sell, 0) AS "SELL",
       coalesce(s.hold, 0) AS "HOLD", coalesce(s.failed, 0) AS failed, s.avg_rsi AS "avg RSI",
       coalesce(m.total_executions, 0) AS processed, m.throughput_per_s AS "per s",
       m.p50_processing_ms AS "p50 ms", m.p95_processing_ms AS "p95 ms", m.p95_wait_ms AS "wait p95 ms",
       s.min_rsi, s.max_rsi, coalesce(m.retried, 0) AS retried, coalesce(m.dead_lettered, 0) AS "dead-lettered"
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
-- Symbols and strategies of the day, most executions first, under the heads of the report.
SELECT a.symbol, a.strategy, sum(a.executions) AS executions, sum(a.buy_signals) AS "BUY", sum(a.sell_signals) AS "SELL",
       sum(a.hold_signals) AS "HOLD", sum(a.strong_buy_signals) + sum(a.strong_sell_signals) AS strong,
       sum(a.failed) AS failed,
       sum(a.avg_rsi * a.completed) / nullif(sum(a.completed) FILTER (WHERE a.avg_rsi IS NOT NULL), 0) AS "avg RSI",
       (array_agg(a.first_price ORDER BY a.hour) FILTER (WHERE a.first_price IS NOT NULL))[1] AS "first price",
       (array_agg(a.last_price ORDER BY a.hour DESC) FILTER (WHERE a.last_price IS NOT NULL))[1] AS "last price",
       sum(a.volume) AS volume
  FROM public.hourly_signal_aggregates a
 WHERE a.hour >= :start AND a.hour < :before
 GROUP BY a.symbol, a.strategy
 ORDER BY sum(a.executions) DESC, a.symbol, a.strategy;

-- name: record_report(day)!
INSERT INTO nexus.daily_reports AS r (day) VALUES (:day)
ON CONFLICT (day) DO UPDATE SET built_at = clock_timestamp();
