-- The number that a JSON value is, null for any other value: a row written by hand must not break its hour.
CREATE OR REPLACE FUNCTION nexus.json_number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END
$$;
