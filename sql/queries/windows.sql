-- The statements of nexus_pipeline/analytics/windows.py that all hourly tables share; those of a table are in the file of
-- its name. A window is [start, before): full hours in UTC. HourlyTable.compose fills in {table} and {hour}.

-- name: lock_rebuild(asset)!
-- One transaction at a time rebuilds windows of an asset; the next one sees what this one wrote.
SELECT pg_advisory_xact_lock(hashtext('nexus.rebuild'), hashtext(:asset));

-- name: take_marks(asset, start, before)!
-- Before the executions are read: what commits after this leaves a mark of its own.
DELETE FROM nexus.stale_marks m WHERE m.asset = :asset AND m.start >= :start AND m.start < :before;

-- name: delete_rows(start, before)!
DELETE FROM {table} t WHERE t.{hour} >= :start AND t.{hour} < :before;

-- name: mark_days(asset, start, before)!
-- The report of a day whose hours changed is stale, if it was ever built, or if the day ended after the installation.
INSERT INTO nexus.stale_marks (asset, start)
SELECT :asset, d.day
  FROM generate_series(date_bin('1 day', :start::timestamptz, '1970-01-01 00:00:00+00'),
                       :before::timestamptz - interval '1 hour', interval '24 hours') d (day)
 WHERE d.day + interval '24 hours' > (SELECT i.installed_hour FROM nexus.installation i) AND d.day <= clock_timestamp()
    OR EXISTS (SELECT FROM nexus.daily_reports r WHERE r.day = d.day);
