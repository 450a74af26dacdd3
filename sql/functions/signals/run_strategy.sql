-- Runs a strategy over requests: outputs[i] is the result for requests[i]; where it failed, it is null and errors[i] is
-- {SQLSTATE, text}. One statement for all of them, in which an SQL function is inlined. Only when that statement fails
-- are they run one by one, each in a subtransaction, so that a request which makes the strategy fail harms no other.
CREATE OR REPLACE FUNCTION nexus.run_strategy(
    function_schema text, function_name text, requests jsonb[], decided_at timestamptz,
    OUT outputs jsonb[], OUT error_codes text[], OUT error_messages text[]
)
-- A strategy may name tables of the schema public without their schema.
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    call   text := format('%I.%I', function_schema, function_name);
    output jsonb;
BEGIN
    EXECUTE format('SELECT ARRAY(SELECT %s(r.request, $2) FROM unnest($1) AS r (request))', call)
       INTO outputs USING requests, decided_at;
EXCEPTION WHEN OTHERS THEN
    IF cardinality(requests) = 1 THEN
        error_codes[1] := SQLSTATE;
        error_messages[1] := left(SQLERRM, 2000);
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(requests) LOOP
        BEGIN
            EXECUTE format('SELECT %s($1, $2)', call) INTO output USING requests[i], decided_at;
            outputs[i] := output;
        EXCEPTION WHEN OTHERS THEN
            outputs[i] := NULL;
            error_codes[i] := SQLSTATE;
            error_messages[i] := left(SQLERRM, 2000);
        END;
    END LOOP;
END $$;
