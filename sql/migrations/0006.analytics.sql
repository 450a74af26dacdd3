-- Hourly tables, and a record of which of their hours are stale.

-- nexus_pipeline/analytics/tables.py says what the columns of the hourly tables mean.

-- Decisions by event hour, symbol and strategy. Final executions only: completed and error. An hour without any has no
-- row. A column that is neither key nor count is null where no execution of the group has such a value.
CREATE TABLE public.hourly_signal_aggregates (
    hour timestamptz NOT NULL, symbol text NOT NULL, strategy text NOT NULL,
    executions bigint NOT NULL, completed bigint NOT NULL, failed bigint NOT NULL,
    buy_signals bigint NOT NULL, sell_signals bigint NOT NULL, hold_signals bigint NOT NULL,
    strong_buy_signals bigint NOT NULL, strong_sell_signals bigint NOT NULL,
    avg_rsi numeric, min_rsi numeric, max_rsi numeric,
    avg_confidence numeric, min_confidence numeric, max_confidence numeric,
    avg_strength numeric, min_strength numeric, max_strength numeric,
    low_risk bigint NOT NULL, medium_risk bigint NOT NULL, high_risk bigint NOT NULL,
    first_price numeric, last_price numeric, volume numeric NOT NULL,
    PRIMARY KEY (hour, symbol, strategy)
);

-- Attempts by hour of processing: outcomes and times (ms). An hour without any has no row.
CREATE TABLE public.hourly_workflow_metrics (
    hour timestamptz PRIMARY KEY,
    total_executions bigint NOT NULL, successful bigint NOT NULL,
    failed bigint NOT NULL, retried bigint NOT NULL, dead_lettered bigint NOT NULL,
    success_rate numeric NOT NULL, throughput_per_s numeric NOT NULL, avg_processing_ms double precision,
    p50_processing_ms double precision, p95_processing_ms double precision, p99_processing_ms double precision,
    p50_wait_ms double precision, p95_wait_ms double precision, p99_wait_ms double precision,
    oldest_wait_ms double precision
);

-- Single metrics of each attempt; recorded_at is the time of the execution. The rows of an hour are replaced together.
CREATE TABLE public.workflow_metrics (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- No foreign key: it would lock every execution, one by one, for rows that one statement derives from them.
    execution_id uuid,
    metric_type  varchar(50) NOT NULL,
    metric_value numeric NOT NULL,
    metric_unit  varchar(20),
    recorded_at  timestamptz DEFAULT now()
);
CREATE INDEX workflow_metrics_recorded ON public.workflow_metrics (recorded_at);
CREATE UNIQUE INDEX workflow_metrics_of_execution ON public.workflow_metrics (execution_id, metric_type);

-- The hourly tables, for the functions that mark stale hours (in nexus_pipeline/analytics/tables.py they have a record
-- each): which hour of an execution a table goes by, that of its event_time or that of its created_at.
CREATE TABLE nexus.hourly_tables (
    name        text PRIMARY KEY,
    basis       text NOT NULL CHECK (basis IN ('event', 'processing')),
    hour_column text NOT NULL -- the column that says which hour a row belongs to
);
INSERT INTO nexus.hourly_tables (name, basis, hour_column) VALUES
    ('hourly_signal_aggregates', 'event', 'hour'),
    ('hourly_workflow_metrics', 'processing', 'hour'),
    ('workflow_metrics', 'processing', 'recorded_at');

-- Stale partitions: each statement that changes executions leaves a mark for every hour that it touched. A rebuild takes
-- the marks of its hours first and reads the executions then: what commits in between leaves its mark.
-- Marks are only appended, any number for an hour: with a unique key, settlements of the same hour would wait for each
-- other. Without a key, a publication for all tables would forbid to delete them, were it not for the replica identity.
CREATE TABLE nexus.stale_marks (
    asset text NOT NULL, -- an hourly table, or daily_signal_report
    start timestamptz NOT NULL, -- of the partition: an hour, or a day for daily_signal_report
    since timestamptz NOT NULL DEFAULT clock_timestamp() -- when the change was made
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE nexus.stale_marks REPLICA IDENTITY FULL;
CREATE INDEX stale_marks_partition ON nexus.stale_marks (asset, start);
-- The hours of executions from before this migration: there are some if it was rolled back.
INSERT INTO nexus.stale_marks (asset, start)
SELECT t.name, h.hour
  FROM (SELECT DISTINCT 'event' AS basis, date_bin('1 hour', e.event_time, '1970-01-01 00:00:00+00') AS hour
          FROM public.workflow_executions e
         UNION ALL
        SELECT DISTINCT 'processing', date_bin('1 hour', e.created_at, '1970-01-01 00:00:00+00')
          FROM public.workflow_executions e) h
  JOIN nexus.hourly_tables t ON t.basis = h.basis
 WHERE h.hour IS NOT NULL;

-- Facts about this database, recorded when it was first migrated; one row.
CREATE TABLE nexus.installation (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    partitions_start timestamptz NOT NULL, -- where the hours start, unless NEXUS_PARTITIONS_START is set
    installed_hour   timestamptz NOT NULL, -- earlier hours and days are only rebuilt on demand, or when they change
    closed_until     timestamptz NOT NULL  -- the closed hours before this have been marked
);
INSERT INTO nexus.installation (partitions_start, installed_hour, closed_until)
SELECT date_trunc('year', now(), 'UTC') - interval '8784 hours', hour, hour
  FROM date_bin('1 hour', now(), '1970-01-01 00:00:00+00') AS hour;

-- The days whose report was built: it is rebuilt when an hour of its day changes.
CREATE TABLE nexus.daily_reports (
    day      timestamptz PRIMARY KEY, -- UTC, start
    built_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
