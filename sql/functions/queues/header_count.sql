-- A counter from the headers of a message; 0 where the header is missing or not a counter: any sender can write headers.
CREATE OR REPLACE FUNCTION nexus.header_count(headers jsonb, key text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN headers ->> key ~ '^[0-9]{1,9}$' THEN (headers ->> key)::int ELSE 0 END
$$;
