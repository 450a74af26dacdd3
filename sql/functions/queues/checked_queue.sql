-- The name of a queue, if it is valid. Lower case only: in PostgreSQL `MyQ` and `myq` would share a table.
CREATE OR REPLACE FUNCTION nexus.checked_queue(queue text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF queue IS NULL OR queue !~ '^[a-z0-9_]{1,47}$' THEN
        RAISE EXCEPTION 'queue name %: must be 1 to 47 of a-z, 0-9 and _', coalesce(quote_literal(left(queue, 60)), 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN queue;
END $$;
