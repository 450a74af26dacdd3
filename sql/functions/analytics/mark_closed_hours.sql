-- Marks the hours that closed since the last call, so that an hour is also built when nothing happened in it, or when
-- nothing ran at its end. Returns how many hours.
CREATE OR REPLACE FUNCTION nexus.mark_closed_hours() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    open_hour timestamptz := nexus.hour_of(clock_timestamp());
    first     timestamptz;
BEGIN
    SELECT i.closed_until INTO first FROM nexus.installation i WHERE i.closed_until < open_hour FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    INSERT INTO nexus.stale_marks (asset, start)
    SELECT t.name, h.hour
      FROM nexus.hourly_tables t CROSS JOIN generate_series(first, open_hour - interval '1 hour', interval '1 hour') h (hour);
    UPDATE nexus.installation SET closed_until = open_hour;
    RETURN extract(epoch FROM open_hour - first) / 3600;
END $$;
