-- Turns requests into decisions and writes nothing: one statement for each strategy that the requests name. `position`
-- is that of the request, from 1. A request that is not valid, names no registered strategy, or makes its strategy fail
-- gets a decision with an error; it harms no other.
CREATE OR REPLACE FUNCTION nexus.evaluate(requests jsonb[], decided_at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE ("position" bigint, decision nexus.decision)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_memoize = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    part record;
    ran  record;
    tag  jsonb; -- what every output carries
BEGIN
    FOR part IN
        SELECT p.fault IS NULL AS valid, s.name, s.version, s.function_schema, s.function_name,
               array_agg(r.position) AS positions, array_agg(r.request) AS requests,
               array_agg(p.symbol) AS symbols, array_agg(p.occurred_at) AS times,
               array_agg(p.fault[1]) AS fields, array_agg(p.fault[2]) AS reasons
          FROM unnest(requests) WITH ORDINALITY AS r (request, position)
         CROSS JOIN LATERAL nexus.parse_request(r.request) AS p
          LEFT JOIN nexus.strategies s
            ON s.name = p.strategy
           AND CASE WHEN p.strategy_version IS NULL THEN s.active ELSE s.version = p.strategy_version END
           AND p.fault IS NULL
         GROUP BY 1, 2, 3, 4, 5
    LOOP
        IF NOT part.valid THEN
            RETURN QUERY
            SELECT u.position, ROW(NULL, NULL, NULL, NULL,
                       'invalid_input', '22023', u.field || ': ' || u.reason, u.field)::nexus.decision
              FROM unnest(part.positions, part.fields, part.reasons) AS u (position, field, reason);
        ELSIF part.name IS NULL THEN
            RETURN QUERY
            SELECT u.position, ROW(NULL, NULL, u.symbol, u.occurred_at, 'unknown_strategy', '22023',
                       'strategy: no strategy of this name and version is registered', NULL)::nexus.decision
              FROM unnest(part.positions, part.symbols, part.times) AS u (position, symbol, occurred_at);
        ELSE
            tag := jsonb_build_object('strategy', part.name, 'version', part.version);
            ran := nexus.run_strategy(part.function_schema, part.function_name, part.requests, decided_at);
            RETURN QUERY
            SELECT u.position,
                   CASE
                       WHEN u.error_code IS NOT NULL THEN ROW(NULL, part.version, u.symbol, u.occurred_at,
                           'strategy_error', u.error_code, u.error_message, NULL)::nexus.decision
                       WHEN u.output ->> 'signal' IN ('BUY', 'SELL', 'HOLD') THEN ROW(
                           -- A strategy may name itself: looking costs less than merging.
                           CASE WHEN u.output @> tag THEN u.output ELSE u.output || tag END,
                           part.version, u.symbol, u.occurred_at, NULL, NULL, NULL, NULL)::nexus.decision
                       ELSE ROW(NULL, part.version, u.symbol, u.occurred_at, 'strategy_error', '22000',
                           'the strategy returned no object with a signal of BUY, SELL or HOLD', NULL)::nexus.decision
                   END
              FROM unnest(part.positions, ran.outputs, part.symbols, part.times, ran.error_codes, ran.error_messages)
                AS u (position, output, symbol, occurred_at, error_code, error_message);
        END IF;
    END LOOP;
END $$;
