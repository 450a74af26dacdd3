-- One request evaluated by enhanced_rsi 1.0, inlined into the statement that settles its batch: an optimization for the
-- strategy that requests get when they name none. Every other request is decided by nexus.evaluate.
-- STABLE, because PostgreSQL inlines no volatile function in FROM; as a call of its own it would see an older snapshot.
CREATE OR REPLACE FUNCTION nexus.evaluate_request(request jsonb, epoch numeric)
RETURNS TABLE (
    output jsonb, version text, symbol text, occurred_at timestamptz,
    error_class text, error_code text, error_message text, field text
)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT CASE WHEN parsed.fault IS NULL
                THEN nexus.enhanced_rsi(parsed.rsi, parsed.price, parsed.volume, parsed.market_context, epoch) END,
           '1.0',
           parsed.symbol,
           parsed.occurred_at,
           CASE WHEN parsed.fault IS NOT NULL THEN 'invalid_input' END,
           CASE WHEN parsed.fault IS NOT NULL THEN '22023' END,
           parsed.fault[1] || ': ' || parsed.fault[2],
           parsed.fault[1]
      FROM nexus.parse_request(request) AS parsed
$$;
