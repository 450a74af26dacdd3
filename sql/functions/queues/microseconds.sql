-- A time in microseconds since 1970, exactly; null for an infinite one.
CREATE OR REPLACE FUNCTION nexus.microseconds(moment timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN isfinite(moment) THEN (extract(epoch FROM moment) * 1000000)::bigint END
$$;
