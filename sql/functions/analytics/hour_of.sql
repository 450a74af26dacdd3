-- The start of the hour in UTC, whatever the time zone of the session.
CREATE OR REPLACE FUNCTION nexus.hour_of(moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_bin('1 hour', moment, '1970-01-01 00:00:00+00')
$$;
