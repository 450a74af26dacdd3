-- One request evaluated inside the statement that settles its batch: the short cut for enhanced_rsi 1.0, which is inlined
-- here where it is the active version (`inlined`). Every other strategy is run by nexus.evaluate, one request at a time;
-- a batch that needs it is therefore evaluated before it is settled (nexus.evaluate_lease).
-- STABLE, because PostgreSQL inlines no volatile function in FROM; as a call of its own it would see an older snapshot.
CREATE OR REPLACE FUNCTION nexus.evaluate_request(request jsonb, decided_at timestamptz, epoch numeric, inlined boolean)
RETURNS TABLE (
    output jsonb, version text, symbol text, occurred_at timestamptz,
    error_class text, error_code text, error_message text, field text
)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT coalesce(decided.output, (decided.other).output),
           CASE WHEN decided.output IS NOT NULL THEN '1.0' ELSE (decided.other).version END,
           parsed.symbol,
           parsed.occurred_at,
           CASE WHEN parsed.fault IS NULL THEN (decided.other).error_class ELSE 'invalid_input' END,
           CASE WHEN parsed.fault IS NULL THEN (decided.other).error_code ELSE '22023' END,
           CASE WHEN parsed.fault IS NULL THEN (decided.other).error_message
                ELSE parsed.fault[1] || ': ' || parsed.fault[2] END,
           parsed.fault[1]
      FROM nexus.parse_request(request) AS parsed
     CROSS JOIN LATERAL (
        SELECT CASE
                   WHEN parsed.fault IS NULL AND parsed.strategy = 'enhanced_rsi'
                        AND CASE WHEN parsed.strategy_version IS NULL THEN inlined ELSE parsed.strategy_version = '1.0' END
                   THEN nexus.enhanced_rsi(parsed.rsi, parsed.price, parsed.volume, parsed.market_context, epoch)
               END AS output,
               CASE
                   WHEN parsed.fault IS NULL AND NOT (
                        parsed.strategy = 'enhanced_rsi'
                        AND CASE WHEN parsed.strategy_version IS NULL THEN inlined ELSE parsed.strategy_version = '1.0' END)
                   THEN (nexus.evaluate(ARRAY[request], decided_at))[1]
               END AS other
        OFFSET 0
      ) AS decided
$$;
