-- A strategy as users register one, which decides as the built-in enhanced_rsi does: what is measured is the way there.
CREATE FUNCTION public.registered_rsi(request jsonb, decided_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'signal', CASE
            WHEN (request -> 'rsi')::numeric < 30 THEN 'BUY' WHEN (request -> 'rsi')::numeric > 70 THEN 'SELL' ELSE 'HOLD' END,
        'enhanced_signal', CASE
            WHEN (request -> 'rsi')::numeric < 30
            THEN CASE WHEN request #>> '{market_context,trend}' = 'bullish' THEN 'STRONG_BUY' ELSE 'BUY' END
            WHEN (request -> 'rsi')::numeric > 70
            THEN CASE WHEN request #>> '{market_context,trend}' = 'bearish' THEN 'STRONG_SELL' ELSE 'SELL' END
            ELSE 'HOLD' END,
        'confidence', CASE
            WHEN (request -> 'rsi')::numeric < 30 THEN least((30 - (request -> 'rsi')::numeric) / 30.0, 1.0)
            WHEN (request -> 'rsi')::numeric > 70 THEN least(((request -> 'rsi')::numeric - 70) / 30.0, 1.0) ELSE 0.1 END,
        'trade_strength', CASE
            WHEN (request -> 'rsi')::numeric BETWEEN 30 AND 70 THEN 0.1
            WHEN (request -> 'rsi')::numeric BETWEEN 20 AND 80 THEN 0.7 ELSE 0.9 END,
        'risk_level', CASE
            WHEN (request -> 'rsi')::numeric BETWEEN 30 AND 70 THEN 'LOW'
            WHEN (request -> 'rsi')::numeric BETWEEN 20 AND 80 THEN 'MEDIUM' ELSE 'HIGH' END,
        'rsi', request -> 'rsi',
        'price', coalesce(request -> 'price', '0'),
        'volume', coalesce(request -> 'volume', '0'),
        'market_context', coalesce(request -> 'market_context', '{}'),
        'timestamp', extract(epoch FROM decided_at),
        'strategy', 'registered_rsi',
        'version', '1.0')
$$;
SELECT nexus.register_strategy('registered_rsi', '1.0', 'public.registered_rsi(jsonb, timestamptz)');
