-- Marks the hours that closed since it was called last, so that an hour is made also when nothing happened in it, and
-- those that were missed while nobody was there. Returns how many hours.
CREATE OR REPLACE FUNCTION nexus.mark_closed_hours() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
