-- Turns requests into decisions, in their order, and writes nothing: one statement for each strategy that they name. A
-- request that is not valid, names no registered strategy, or makes its strategy fail gets a decision with an error; it
-- harms no other.
CREATE OR REPLACE FUNCTION nexus.evaluate(requests jsonb[], decided_at timestamptz DEFAULT clock_timestamp())
RETURNS nexus.decision[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_memoize = off SET jit = off AS $$
DECLARE
    part      record;
    decided   nexus.decision[];
    positions bigint[] := '{}';
    decisions nexus.decision[] := '{}';
BEGIN
    FOR part IN
        SELECT s AS strategy, array_agg(r.position) AS positions, array_agg(r.request) AS requests,
               -- Final where no strategy can run.
               array_agg(CASE
                   WHEN p.fault IS NOT NULL THEN ROW(NULL, NULL, NULL, NULL,
                       'invalid_input', '22023', p.fault[1] || ': ' || p.fault[2], p.fault[1])::nexus.decision
                   WHEN s.name IS NULL THEN ROW(NULL, NULL, p.symbol, p.occurred_at, 'unknown_strategy', '22023',
                       'strategy: no strategy of this name and version is registered', NULL)::nexus.decision
                   ELSE ROW(NULL, s.version, p.symbol, p.occurred_at, NULL, NULL, NULL, NULL)::nexus.decision
               END) AS drafts
          FROM unnest(requests) WITH ORDINALITY AS r (request, position)
         CROSS JOIN LATERAL nexus.parse_request(r.request) AS p
          LEFT JOIN nexus.strategies s
            ON s.name = p.strategy AND p.fault IS NULL
           AND CASE WHEN p.strategy_version IS NULL THEN s.active ELSE s.version = p.strategy_version END
         GROUP BY s.name, s.version
    LOOP
        decided := CASE
            WHEN part.strategy IS NULL THEN part.drafts
            ELSE nexus.run_strategy(part.strategy, part.requests, part.drafts, decided_at) END;
        -- The usual case: one strategy decided the whole batch, which is in order.
        IF part.positions = ARRAY(SELECT generate_series(1::bigint, cardinality(requests))) THEN
            RETURN decided;
        END IF;
        positions := positions || part.positions;
        decisions := decisions || decided;
    END LOOP;
    RETURN ARRAY(
        SELECT ROW(d.output, d.version, d.symbol, d.occurred_at,
                   d.error_class, d.error_code, d.error_message, d.field)::nexus.decision
          FROM unnest(positions, decisions) AS d (
                   position, output, version, symbol, occurred_at, error_class, error_code, error_message, field)
         ORDER BY d.position);
END $$;
