-- A counter out of the headers, which anybody may have written: 0 for all that is no counter.
CREATE OR REPLACE FUNCTION nexus.header_count(headers jsonb, key text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN headers ->> key ~ '^[0-9]{1,9}$' THEN (headers ->> key)::int ELSE 0 END
$$;
