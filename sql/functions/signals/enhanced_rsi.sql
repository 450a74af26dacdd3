-- The strategy `enhanced_rsi` 1.0: an RSI below 30 buys, above 70 sells, and the market's trend in the same direction makes
-- the signal strong. One expression, so that PostgreSQL inlines it into the statement that settles a batch.
-- `decided_at` (Unix time, s) is an argument: the same request at the same time gives the same decision, as replay needs.
CREATE OR REPLACE FUNCTION nexus.enhanced_rsi(
    rsi numeric, price numeric, volume numeric, market_context jsonb, decided_at numeric
) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object(
        'signal', CASE WHEN rsi < 30 THEN 'BUY' WHEN rsi > 70 THEN 'SELL' ELSE 'HOLD' END,
        'enhanced_signal', CASE
            WHEN rsi < 30 AND market_context ->> 'trend' = 'bullish' THEN 'STRONG_BUY'
            WHEN rsi > 70 AND market_context ->> 'trend' = 'bearish' THEN 'STRONG_SELL'
            WHEN rsi < 30 THEN 'BUY' WHEN rsi > 70 THEN 'SELL' ELSE 'HOLD' END,
        'confidence', CASE
            WHEN rsi < 30 THEN least((30 - rsi) / 30.0, 1.0)
            WHEN rsi > 70 THEN least((rsi - 70) / 30.0, 1.0) ELSE 0.1 END,
        'trade_strength', CASE
            WHEN rsi < 20 OR rsi > 80 THEN 0.9 WHEN rsi < 30 OR rsi > 70 THEN 0.7 ELSE 0.1 END,
        'risk_level', CASE
            WHEN rsi < 20 OR rsi > 80 THEN 'HIGH' WHEN rsi < 30 OR rsi > 70 THEN 'MEDIUM' ELSE 'LOW' END,
        'rsi', rsi,
        'price', coalesce(price, 0),
        'volume', coalesce(volume, 0),
        'market_context', market_context,
        'timestamp', decided_at,
        'strategy', 'enhanced_rsi',
        'version', '1.0'
    )
$$;

-- The same as a registered strategy: its contract is (request, decided_at). The request was parsed before and is valid.
CREATE OR REPLACE FUNCTION nexus.enhanced_rsi(request jsonb, decided_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nexus.enhanced_rsi(
        (request -> 'rsi')::numeric,
        nullif(request -> 'price', 'null')::numeric,
        nullif(request -> 'volume', 'null')::numeric,
        coalesce(nullif(request -> 'market_context', 'null'), '{}'),
        extract(epoch FROM decided_at))
$$;
