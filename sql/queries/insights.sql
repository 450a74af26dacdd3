-- name: one_snapshot()!
-- At the start of a transaction: all its statements see the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: results_waiting()$
-- Messages in the queue of results: counted up to 100,000, beyond that estimated as the planner does, by the size of the
-- table. Where nobody reads them, they are as many as the decisions.
SELECT CASE WHEN counted.n < 100000 THEN counted.n ELSE greatest(counted.n, estimated.n) END
  FROM (SELECT count(*) AS n FROM (SELECT FROM pgmq.q_workflow_results LIMIT 100000) r) AS counted,
       (SELECT (c.reltuples / greatest(c.relpages, 1)
                * (pg_relation_size(c.oid) / current_setting('block_size')::integer))::bigint AS n
          FROM pg_class c
         WHERE c.oid = 'pgmq.q_workflow_results'::regclass) AS estimated;

-- name: recent()
-- The attempts of the last hour, of all queues: the newest 10,000 of them at most, so that it costs the same at any rate.
-- Times in ms. per_second is over the time that they cover.
WITH newest AS MATERIALIZED (
    SELECT e.created_at, e.status, e.started_at - e.enqueued_at AS wait, e.completed_at - e.started_at AS processing
      FROM public.workflow_executions e
     WHERE e.created_at > clock_timestamp() - interval '1 hour' AND e.status IN ('completed', 'error', 'retrying')
     ORDER BY e.created_at DESC
     LIMIT 10000
), covered AS (
    SELECT count(*) AS attempts, count(*) FILTER (WHERE n.status <> 'retrying') AS decisions,
           CASE WHEN count(*) < 10000 THEN 3600
                ELSE greatest(extract(epoch FROM clock_timestamp() - min(n.created_at)), 0.001) END AS seconds,
           percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM n.wait) * 1000) AS wait,
           percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM n.processing) * 1000)
               AS processing
      FROM newest n
)
SELECT c.attempts, c.seconds::float8 AS window_s, (c.decisions / c.seconds)::float8 AS decisions_per_s,
       c.wait[1] AS wait_p50_ms, c.wait[2] AS wait_p95_ms, c.wait[3] AS wait_p99_ms,
       c.processing[1] AS processing_p50_ms, c.processing[2] AS processing_p95_ms, c.processing[3] AS processing_p99_ms
  FROM covered c;

-- name: stale_partitions(first_hour)
-- The stale closed partitions of each hourly table and of the daily report, and the stale hours before the first
-- partition. Cheap: nexus.stale_partitions jumps through an index.
SELECT p.asset, count(s.start) FILTER (WHERE s.start >= p.first) AS partitions,
       min(s.start) FILTER (WHERE s.start >= p.first) AS oldest,
       max(s.start) FILTER (WHERE s.start >= p.first) AS newest,
       count(s.start) FILTER (WHERE s.start < p.first) AS before_first
  FROM (
    SELECT t.name AS asset, '-infinity'::timestamptz AS since, :first_hour::timestamptz AS first,
           nexus.hour_of(clock_timestamp()) AS before
      FROM nexus.hourly_tables t
    UNION ALL
    SELECT 'daily_signal_report', d.first, d.first, d.before
      FROM (SELECT date_bin('1 day', :first_hour::timestamptz, '1970-01-01 00:00:00+00') AS first,
                   date_bin('1 day', clock_timestamp(), '1970-01-01 00:00:00+00') AS before) AS d
  ) AS p
  LEFT JOIN LATERAL nexus.stale_partitions(p.asset, p.since, p.before) AS s (start) ON true
 GROUP BY p.asset
 ORDER BY p.asset = 'daily_signal_report', p.asset;
