-- A strategy in SQL: buys below an RSI of 45, and holds otherwise. Requests choose it with "strategy": "mean_reversion".
CREATE FUNCTION public.mean_reversion(request jsonb, decided_at timestamptz) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_build_object(
    'signal', CASE WHEN (request ->> 'rsi')::numeric < 45 THEN 'BUY' ELSE 'HOLD' END,
    'confidence', 0.5);
SELECT nexus.register_strategy('mean_reversion', '1.0', 'public.mean_reversion(jsonb, timestamptz)');

-- Versions are immutable: a change is a new function and a new version. This one sells, too. Registering activates it; to
-- go back: SELECT nexus.activate_strategy('mean_reversion', '1.0').
CREATE FUNCTION public.mean_reversion_1_1(request jsonb, decided_at timestamptz) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_build_object(
    'signal', CASE WHEN (request ->> 'rsi')::numeric < 45 THEN 'BUY'
                   WHEN (request ->> 'rsi')::numeric > 55 THEN 'SELL' ELSE 'HOLD' END,
    'confidence', 0.5);
SELECT nexus.register_strategy('mean_reversion', '1.1', 'public.mean_reversion_1_1(jsonb, timestamptz)');
