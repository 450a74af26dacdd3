-- Registers a version of a strategy: a function (request jsonb, decided_at timestamptz) returns jsonb whose result is an
-- object with a `signal` of BUY, SELL or HOLD. Versions are immutable: registering the same one again changes nothing, and
-- with another function it is an error. The new version becomes the active one unless `activate` is false.
CREATE OR REPLACE FUNCTION nexus.register_strategy(
    name text, version text, evaluator regprocedure, activate boolean DEFAULT true
) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target     record;
    registered nexus.strategies;
BEGIN
    SELECT n.nspname AS function_schema, p.proname AS function_name INTO target
      FROM pg_proc p
      JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.oid = evaluator
       AND p.prorettype = 'jsonb'::regtype
       AND p.proargtypes = ARRAY['jsonb'::regtype, 'timestamptz'::regtype]::oidvector;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strategy %: % must be a function (request jsonb, decided_at timestamptz) returns jsonb',
            name, evaluator USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO nexus.strategies AS s (name, version, function_schema, function_name)
    VALUES ($1, $2, target.function_schema, target.function_name)
    ON CONFLICT ON CONSTRAINT strategies_pkey DO NOTHING;
    SELECT s.* INTO registered FROM nexus.strategies s WHERE s.name = $1 AND s.version = $2;
    IF (registered.function_schema, registered.function_name) <> (target.function_schema, target.function_name) THEN
        RAISE EXCEPTION 'strategy % %: is registered with the function %.%; register the new one under a new version',
            name, version, registered.function_schema, registered.function_name
            USING ERRCODE = 'unique_violation';
    END IF;
    IF activate THEN
        PERFORM nexus.activate_strategy(name, version);
    END IF;
END $$;
