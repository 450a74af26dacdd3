-- The number that a JSON value is; null for any other value, and for a number beyond what is plausible (1e30, as for a
-- price): strategies return what they like, and one row must not break its hour, or a list that it is in.
CREATE OR REPLACE FUNCTION nexus.json_number(value jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number'
                THEN CASE WHEN value::numeric BETWEEN -1e30 AND 1e30 THEN value::numeric END END
$$;
