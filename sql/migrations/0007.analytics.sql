-- Why: what people look at, by the hour, and a record of which hours are behind the executions.

-- An execution belongs to two hours (UTC): that of its event, for signals, and that of its processing (created_at), for
-- metrics. Both windows are read by index, one hour of a large table as well as a year.
CREATE INDEX workflow_executions_event_time
    ON public.workflow_executions (coalesce(occurred_at, enqueued_at, created_at));
DROP INDEX public.workflow_executions_created;
CREATE INDEX workflow_executions_created ON public.workflow_executions (created_at);

-- The start of the hour in UTC, whatever the time zone of the session.
CREATE FUNCTION nexus.hour_of(moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_bin('1 hour', moment, '1970-01-01 00:00:00+00')
$$;

-- A number out of a JSON value, null where it is none: one odd row written by hand must not stop its hour for ever.
CREATE FUNCTION nexus.json_number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END
$$;

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

-- The rows of an hour are replaced together: recorded_at is the time of the execution that they tell of. The foreign key
-- goes: it locks every execution, one by one, for rows that one statement derives from them.
ALTER TABLE public.workflow_metrics DROP CONSTRAINT workflow_metrics_execution_id_fkey;
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
INSERT INTO nexus.followed_hours (since, until) VALUES (nexus.hour_of(now()), nexus.hour_of(now()));

-- The days whose report was made: it follows when an hour of its day changes.
CREATE TABLE nexus.daily_reports (
    day     timestamptz PRIMARY KEY, -- UTC, start
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION nexus.mark_stale_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO nexus.stale_marks (asset, start)
        SELECT 'hourly_signal_aggregates', t.hour
          FROM (SELECT DISTINCT nexus.hour_of(coalesce(n.occurred_at, n.enqueued_at, n.created_at)) AS hour
                  FROM after_rows n) t
         WHERE t.hour IS NOT NULL
         UNION ALL
        SELECT a.asset, t.hour
          FROM (SELECT DISTINCT nexus.hour_of(n.created_at) AS hour FROM after_rows n) t
         CROSS JOIN (VALUES ('hourly_workflow_metrics'), ('workflow_metrics')) a (asset)
         WHERE t.hour IS NOT NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO nexus.stale_marks (asset, start)
        SELECT 'hourly_signal_aggregates', t.hour
          FROM (SELECT DISTINCT nexus.hour_of(coalesce(o.occurred_at, o.enqueued_at, o.created_at)) AS hour
                  FROM before_rows o) t
         WHERE t.hour IS NOT NULL
         UNION ALL
        SELECT a.asset, t.hour
          FROM (SELECT DISTINCT nexus.hour_of(o.created_at) AS hour FROM before_rows o) t
         CROSS JOIN (VALUES ('hourly_workflow_metrics'), ('workflow_metrics')) a (asset)
         WHERE t.hour IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION nexus.mark_stale_hours() FROM PUBLIC;

CREATE TRIGGER workflow_executions_inserted AFTER INSERT ON public.workflow_executions
    REFERENCING NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE TRIGGER workflow_executions_updated AFTER UPDATE ON public.workflow_executions
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE TRIGGER workflow_executions_deleted AFTER DELETE ON public.workflow_executions
    REFERENCING OLD TABLE AS before_rows FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();

-- Emptied at once: every hour that has rows is behind.
CREATE FUNCTION nexus.mark_all_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO nexus.stale_marks (asset, start)
    SELECT DISTINCT 'hourly_signal_aggregates', a.hour FROM public.hourly_signal_aggregates a
     UNION ALL
    SELECT 'hourly_workflow_metrics', m.hour FROM public.hourly_workflow_metrics m
     UNION ALL
    SELECT DISTINCT 'workflow_metrics', nexus.hour_of(w.recorded_at) FROM public.workflow_metrics w;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION nexus.mark_all_hours() FROM PUBLIC;
CREATE TRIGGER workflow_executions_truncated AFTER TRUNCATE ON public.workflow_executions
    FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_all_hours();

-- What was executed before this migration.
INSERT INTO nexus.stale_marks (asset, start)
SELECT DISTINCT 'hourly_signal_aggregates', nexus.hour_of(coalesce(e.occurred_at, e.enqueued_at, e.created_at))
  FROM public.workflow_executions e
 WHERE coalesce(e.occurred_at, e.enqueued_at, e.created_at) IS NOT NULL
 UNION ALL
SELECT a.asset, h.hour
  FROM (SELECT DISTINCT nexus.hour_of(e.created_at) AS hour FROM public.workflow_executions e
         WHERE e.created_at IS NOT NULL) h
 CROSS JOIN (VALUES ('hourly_workflow_metrics'), ('workflow_metrics')) a (asset);

-- The stale partitions of an asset from `since` (inclusive) to `before` (exclusive), oldest first. Jumps from one to the
-- next by index, however many marks each has. (By number: a parameter `since` would be the column.)
CREATE FUNCTION nexus.stale_partitions(asset text, since timestamptz, before timestamptz) RETURNS SETOF timestamptz
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE found AS (
        (SELECT m.start FROM nexus.stale_marks m
          WHERE m.asset = $1 AND m.start >= $2 AND m.start < $3 ORDER BY m.start LIMIT 1)
        UNION ALL
        SELECT (SELECT m.start FROM nexus.stale_marks m
                 WHERE m.asset = $1 AND m.start > f.start AND m.start < $3 ORDER BY m.start LIMIT 1)
          FROM found f
         WHERE f.start IS NOT NULL
    )
    SELECT f.start FROM found f WHERE f.start IS NOT NULL
$$;

-- Marks the hours that closed since it was called last, so that an hour is made also when nothing happened in it, and
-- those that were missed while nobody was there. Returns how many hours.
CREATE FUNCTION nexus.mark_closed_hours() RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    open_hour timestamptz := nexus.hour_of(clock_timestamp());
    followed  timestamptz;
BEGIN
    SELECT f.until INTO followed FROM nexus.followed_hours f WHERE f.until < open_hour FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    INSERT INTO nexus.stale_marks (asset, start)
    SELECT a.asset, h.hour
      FROM generate_series(followed, open_hour - interval '1 hour', interval '1 hour') h (hour)
     CROSS JOIN (VALUES ('hourly_signal_aggregates'), ('hourly_workflow_metrics'), ('workflow_metrics')) a (asset);
    UPDATE nexus.followed_hours SET until = open_hour;
    RETURN extract(epoch FROM open_hour - followed) / 3600;
END $$;
