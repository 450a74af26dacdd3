-- Runs a strategy over requests: fills in the outputs of `drafts`, whose other fields stay as they are. One statement for
-- all requests, in which an SQL function is inlined. Only when that statement fails are they run one by one, each in a
-- subtransaction, so that a request which makes the strategy fail harms no other. OTHERS leaves out assert_failure.
CREATE OR REPLACE FUNCTION nexus.run_strategy(
    strategy nexus.strategies, requests jsonb[], drafts nexus.decision[], decided_at timestamptz
) RETURNS nexus.decision[]
-- A strategy may name tables of the schema public without their schema.
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    tag       jsonb := jsonb_build_object('strategy', strategy.name, 'version', strategy.version);
    decisions nexus.decision[];
BEGIN
    EXECUTE format($query$
        SELECT array_agg(CASE
                   WHEN ran.output ->> 'signal' IN ('BUY', 'SELL', 'HOLD') THEN ROW(
                       -- A strategy may name itself: looking costs less than merging.
                       CASE WHEN ran.output @> $3 THEN ran.output ELSE ran.output || $3 END,
                       r.version, r.symbol, r.occurred_at, NULL, NULL, NULL, NULL)::nexus.decision
                   ELSE ROW(NULL, r.version, r.symbol, r.occurred_at, 'strategy_error', '22000',
                       'the strategy returned no object with a signal of BUY, SELL or HOLD', NULL)::nexus.decision
               END)
          FROM unnest($1, $2) AS r (
                   request, output, version, symbol, occurred_at, error_class, error_code, error_message, field)
         CROSS JOIN LATERAL (SELECT %I.%I(r.request, $4) AS output OFFSET 0) AS ran
    $query$, strategy.function_schema, strategy.function_name)
       INTO decisions USING requests, drafts, tag, decided_at;
    RETURN decisions;
EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF cardinality(requests) = 1 THEN
        RETURN ARRAY[ROW(NULL, drafts[1].version, drafts[1].symbol, drafts[1].occurred_at,
            'strategy_error', SQLSTATE, left(SQLERRM, 2000), NULL)::nexus.decision];
    END IF;
    FOR i IN 1 .. cardinality(requests) LOOP
        decisions[i : i] := nexus.run_strategy(strategy, requests[i : i], drafts[i : i], decided_at);
    END LOOP;
    RETURN decisions;
END $$;
