-- A strategy as users register one, which decides as the built-in enhanced_rsi does: what is measured is the way there.
CREATE FUNCTION public.registered_rsi(request jsonb, decided_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT nexus.enhanced_rsi(
        (request -> 'rsi')::numeric, (request -> 'price')::numeric, (request -> 'volume')::numeric,
        coalesce(request -> 'market_context', '{}'), extract(epoch FROM decided_at))
$$;
SELECT nexus.register_strategy('registered_rsi', '1.0', 'public.registered_rsi(jsonb, timestamptz)');
