-- A number out of a JSON value, null where it is none: one odd row written by hand must not stop its hour for ever.
CREATE OR REPLACE FUNCTION nexus.json_number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END
$$;
