DROP FUNCTION nexus.run_strategy(text, jsonb);
DROP TYPE nexus.verdict;
DROP FUNCTION nexus.register_strategy(text, text, regprocedure);
DROP TABLE nexus.strategies;
DROP FUNCTION public.enhanced_trade_signal(numeric, numeric, numeric, jsonb);
DROP FUNCTION nexus.enhanced_rsi(numeric, numeric, numeric, jsonb, numeric);
DROP FUNCTION nexus.parse_request(jsonb);
DROP FUNCTION nexus.event_time(text);
