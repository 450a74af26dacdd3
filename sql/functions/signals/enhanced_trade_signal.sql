-- The decision of enhanced_rsi 1.0 for one set of values. A missing RSI is an error, not a HOLD.
CREATE OR REPLACE FUNCTION public.enhanced_trade_signal(
    rsi numeric, price numeric DEFAULT NULL, volume numeric DEFAULT NULL, market_context jsonb DEFAULT '{}'
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF rsi IS NULL OR rsi = 'NaN' OR rsi NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION 'rsi: must be a number from 0 to 100' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN nexus.enhanced_rsi(rsi, price, volume, market_context, extract(epoch FROM clock_timestamp()));
END $$;
