-- Makes a version the one that decides requests which name the strategy and no version.
CREATE OR REPLACE FUNCTION nexus.activate_strategy(name text, version text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Locked together and in one order, so that two activations at once leave one active version.
    PERFORM FROM nexus.strategies s WHERE s.name = $1 ORDER BY s.version FOR UPDATE;
    UPDATE nexus.strategies s SET active = false WHERE s.name = $1 AND s.active AND s.version <> $2;
    UPDATE nexus.strategies s SET active = true WHERE s.name = $1 AND s.version = $2;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strategy % %: is not registered', name, version USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;
