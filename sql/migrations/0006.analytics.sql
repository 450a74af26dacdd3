-- Hourly tables, and a record of which of their hours are stale.

-- Decisions by event hour, symbol and strategy. Final executions only: completed and error. An hour without any has no
-- row. Every column but the key and the counts is null where no execution of the group has such a value.
CREATE TABLE public.hourly_signal_aggregates (
    hour                timestamptz NOT NULL, -- UTC, start
    symbol              text NOT NULL,        -- '(none)' for executions without
    strategy            text NOT NULL,        -- '(none)' for failures before a strategy was known
    executions          bigint NOT NULL,      -- completed + failed
    completed           bigint NOT NULL,
    failed              bigint NOT NULL,      -- dead letters
    buy_signals         bigint NOT NULL,      -- strong ones among them
    sell_signals        bigint NOT NULL,      -- strong ones among them
    hold_signals        bigint NOT NULL,
    strong_buy_signals  bigint NOT NULL,
    strong_sell_signals bigint NOT NULL,
    avg_rsi             numeric,
    min_rsi             numeric,
    max_rsi             numeric,
    avg_confidence      numeric,
    min_confidence      numeric,
    max_confidence      numeric,
    avg_strength        numeric,
    min_strength        numeric,
    max_strength        numeric,
    low_risk            bigint NOT NULL,
    medium_risk         bigint NOT NULL,
    high_risk           bigint NOT NULL,
    first_price         numeric,              -- of the earliest event that names one; of equal times the lowest
    last_price          numeric,              -- of the latest event that names one; of equal times the highest
    volume              numeric NOT NULL,     -- of the requests that name one
    PRIMARY KEY (hour, symbol, strategy)
);

-- How the work went, by hour of processing. An hour without any has no row. Times in ms.
CREATE TABLE public.hourly_workflow_metrics (
    hour               timestamptz PRIMARY KEY, -- UTC, start
    total_executions   bigint NOT NULL,  -- attempts: successful + failed
    successful         bigint NOT NULL,
    failed             bigint NOT NULL,  -- retried + dead_lettered
    retried            bigint NOT NULL,  -- attempts that failed and were followed by another
    dead_lettered      bigint NOT NULL,
    success_rate       numeric NOT NULL, -- successful / total_executions, 0 to 1
    throughput_per_s   numeric NOT NULL, -- total_executions / 3600
    avg_processing_ms  double precision,
    p50_processing_ms  double precision,
    p95_processing_ms  double precision,
    p99_processing_ms  double precision,
    p50_wait_ms        double precision, -- from enqueue to the claim of the attempt
    p95_wait_ms        double precision,
    p99_wait_ms        double precision,
    oldest_wait_ms     double precision
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

-- Partitions that are behind: each statement that changes executions leaves a mark for every hour it touched, and whoever
-- makes the hour anew takes its marks first, then reads. What commits in between leaves its mark behind.
-- Marks are only appended, and counted once however many there are: a unique key would make every settling of the hour
-- wait for the one before it.
CREATE TABLE nexus.stale_marks (
    asset text NOT NULL,
    start timestamptz NOT NULL, -- of the partition: an hour, or a day for daily_signal_report
    since timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX stale_marks_partition ON nexus.stale_marks (asset, start);

-- Up to where closed hours were marked because they had closed; hours before the installation are nobody's to make up.
CREATE TABLE nexus.followed_hours (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
);
INSERT INTO nexus.followed_hours (since, until)
SELECT hour, hour FROM date_bin('1 hour', now(), '1970-01-01 00:00:00+00') AS hour;

-- The days whose report was made: it follows when an hour of its day changes.
CREATE TABLE nexus.daily_reports (
    day     timestamptz PRIMARY KEY, -- UTC, start
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
