-- Why: what a signal request must be, and what becomes of it. All of it works on a whole batch in one statement.

-- The event time of a request in ISO 8601 with offset, or null where the text is no such time. A pattern instead of a
-- cast that may fail, because one failing cast would take the batch with it (pg_input_is_valid needs PostgreSQL 16).
-- The pattern bounds every part, so that only the day can still be one that its month does not have.
-- The first branch is a short cut for the form that nearly all senders use, on the days that every month has: the pattern
-- costs 4 % of settling a batch.
CREATE FUNCTION nexus.event_time(value text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN length(value) = 20 AND translate(value, '0123456789', '') = '--T::Z' AND value LIKE '____-__-__T__:__:__Z'
             AND substr(value, 1, 4) COLLATE "C" BETWEEN '1970' AND '2999'
             AND substr(value, 6, 2) COLLATE "C" BETWEEN '01' AND '12'
             AND substr(value, 9, 2) COLLATE "C" BETWEEN '01' AND '28'
             AND substr(value, 12, 2) COLLATE "C" <= '23'
             AND substr(value, 15, 2) COLLATE "C" <= '59' AND substr(value, 18, 2) COLLATE "C" <= '59'
            THEN value::timestamptz
        WHEN value !~ '^(19[7-9][0-9]|2[0-9][0-9][0-9])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$'
            THEN NULL
        WHEN substr(value, 9, 2)::int > 28
             AND substr(value, 9, 2)::int > extract(day FROM
                 make_date(substr(value, 1, 4)::int, substr(value, 6, 2)::int, 1) + interval '1 month - 1 day')
            THEN NULL
        ELSE value::timestamptz
    END
$$;

-- A request taken apart, and what is wrong with it: fault is {field, reason}, or null where nothing is. The first fault in
-- this order is told. nexus_pipeline/signals/request.py says the same at the edge; a test holds the two to each other.
-- A function in FROM, so that PostgreSQL takes it into the batch's statement; OFFSET 0 keeps it from working out the
-- parts again for every place that names them.
CREATE FUNCTION nexus.parse_request(message jsonb)
RETURNS TABLE (
    fault text[], rsi numeric, price numeric, volume numeric, market_context jsonb,
    symbol text, strategy text, occurred_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT r.fault,
           CASE WHEN r.fault IS NULL THEN r.rsi::numeric END,
           CASE WHEN r.fault IS NULL THEN r.price::numeric END,
           CASE WHEN r.fault IS NULL THEN r.volume::numeric END,
           coalesce(r.market_context, '{}'),
           CASE WHEN r.fault IS NULL THEN r.symbol #>> '{}' END,
           coalesce(r.strategy #>> '{}', 'enhanced_rsi'),
           CASE WHEN r.fault IS NULL THEN r.event_time END
      FROM (
        SELECT f.*,
               CASE
                   WHEN f.kind IS NULL OR f.kind = 'null'
                       THEN ARRAY['message', 'must be a JSON object, not null']
                   WHEN f.kind = 'array'
                       THEN ARRAY['message', 'must be a JSON object, not an array']
                   WHEN f.kind <> 'object'
                       THEN ARRAY['message', 'must be a JSON object, not a ' || f.kind]
                   WHEN octet_length(message::text) > 65536
                       THEN ARRAY['message', 'is longer than 65536 bytes']
                   WHEN f.rsi IS NULL
                       THEN ARRAY['rsi', CASE WHEN message ? 'rsi' THEN 'must be a number from 0 to 100'
                                              ELSE 'is required' END]
                   WHEN CASE WHEN jsonb_typeof(f.rsi) = 'number' THEN f.rsi::numeric NOT BETWEEN 0 AND 100 ELSE true END
                       THEN ARRAY['rsi', 'must be a number from 0 to 100']
                   WHEN CASE WHEN jsonb_typeof(f.price) = 'number' THEN f.price::numeric < 0 ELSE f.price IS NOT NULL END
                       THEN ARRAY['price', 'must be a number that is 0 or more']
                   WHEN f.price IS NOT NULL AND f.price::numeric > 1e30
                       THEN ARRAY['price', 'must be at most 1e30']
                   WHEN CASE WHEN jsonb_typeof(f.volume) = 'number' THEN f.volume::numeric < 0 ELSE f.volume IS NOT NULL END
                       THEN ARRAY['volume', 'must be a number that is 0 or more']
                   WHEN f.volume IS NOT NULL AND f.volume::numeric > 1e30
                       THEN ARRAY['volume', 'must be at most 1e30']
                   WHEN jsonb_typeof(f.market_context) <> 'object'
                       THEN ARRAY['market_context', 'must be an object']
                   WHEN jsonb_typeof(f.symbol) <> 'string' OR length(f.symbol #>> '{}') NOT BETWEEN 1 AND 200
                       THEN ARRAY['symbol', 'must be a text of 1 to 200 characters']
                   WHEN jsonb_typeof(f.source) <> 'string' OR length(f.source #>> '{}') NOT BETWEEN 1 AND 200
                       THEN ARRAY['source', 'must be a text of 1 to 200 characters']
                   WHEN jsonb_typeof(f.event_id) <> 'string' OR length(f.event_id #>> '{}') NOT BETWEEN 1 AND 200
                       THEN ARRAY['event_id', 'must be a text of 1 to 200 characters']
                   WHEN jsonb_typeof(f.strategy) <> 'string' OR length(f.strategy #>> '{}') NOT BETWEEN 1 AND 200
                       THEN ARRAY['strategy', 'must be a text of 1 to 200 characters']
                   WHEN f.occurred_at IS NOT NULL AND f.event_time IS NULL
                       THEN ARRAY['occurred_at', 'must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z']
               END AS fault
          FROM (
            SELECT k.*,
                   CASE WHEN jsonb_typeof(k.occurred_at) = 'string'
                        THEN nexus.event_time(k.occurred_at #>> '{}') END AS event_time
              FROM (
                -- Null stands for absent.
                SELECT jsonb_typeof(message) AS kind,
                       nullif(message -> 'rsi', 'null') AS rsi,
                       nullif(message -> 'price', 'null') AS price,
                       nullif(message -> 'volume', 'null') AS volume,
                       nullif(message -> 'market_context', 'null') AS market_context,
                       nullif(message -> 'symbol', 'null') AS symbol,
                       nullif(message -> 'source', 'null') AS source,
                       nullif(message -> 'event_id', 'null') AS event_id,
                       nullif(message -> 'strategy', 'null') AS strategy,
                       nullif(message -> 'occurred_at', 'null') AS occurred_at
                OFFSET 0
              ) k
            OFFSET 0
          ) f
        OFFSET 0
      ) r
$$;

-- The strategy `enhanced_rsi` 1.0 of the architecture document: RSI below 30 buys, above 70 sells, and the market's trend
-- in the same direction makes it strong. One expression, so that PostgreSQL takes it into the batch's statement.
-- `decided_at` (Unix time, s) is an argument: the same input at the same time gives the same output, which replay needs.
CREATE FUNCTION nexus.enhanced_rsi(
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

-- The public function. A missing RSI is an error here, not a HOLD.
CREATE FUNCTION public.enhanced_trade_signal(
    rsi numeric, price numeric DEFAULT NULL, volume numeric DEFAULT NULL, market_context jsonb DEFAULT '{}'
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF rsi IS NULL OR rsi = 'NaN' OR rsi NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION 'rsi: must be a number from 0 to 100' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN nexus.enhanced_rsi(rsi, price, volume, market_context, extract(epoch FROM clock_timestamp()));
END $$;
REVOKE EXECUTE ON FUNCTION public.enhanced_trade_signal(numeric, numeric, numeric, jsonb) FROM PUBLIC;

-- Strategies of one's own: a function (request jsonb) returns jsonb, whose result has the keys of enhanced_rsi, at least
-- `signal`. A request picks one by its field `strategy`; without it, enhanced_rsi decides.
CREATE TABLE nexus.strategies (
    name          text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 200 AND name <> 'enhanced_rsi'),
    version       varchar(10) NOT NULL,
    -- As text: pg_upgrade refuses columns of type regprocedure.
    evaluator     text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Registers a strategy, or replaces it by a new version.
CREATE FUNCTION nexus.register_strategy(name text, version text, evaluator regprocedure) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = evaluator
                      AND p.prorettype = 'jsonb'::regtype AND p.pronargs = 1
                      AND p.proargtypes[0] = 'jsonb'::regtype) THEN
        RAISE EXCEPTION 'strategy %: % must be a function (jsonb) returns jsonb', name, evaluator
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO nexus.strategies AS s (name, version, evaluator) VALUES ($1, $2, $3::text)
    ON CONFLICT ON CONSTRAINT strategies_pkey
        DO UPDATE SET version = excluded.version, evaluator = excluded.evaluator, registered_at = clock_timestamp();
END $$;

-- What one evaluation came to: an output, or a failure with its class, SQLSTATE and text.
CREATE TYPE nexus.verdict AS (
    output        jsonb,
    version       text,
    error_class   text,
    error_code    text,
    error_message text
);

-- Runs a registered strategy on one request. Its exceptions end here, as a verdict: one request harms no other.
CREATE FUNCTION nexus.run_strategy(strategy text, request jsonb) RETURNS nexus.verdict
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    chosen  nexus.strategies;
    output  jsonb;
BEGIN
    SELECT s.* INTO chosen FROM nexus.strategies s WHERE s.name = strategy;
    IF NOT FOUND THEN
        RETURN ROW(NULL, NULL, 'unknown_strategy', '22023', 'strategy: no strategy of this name is registered')::nexus.verdict;
    END IF;
    BEGIN
        EXECUTE format('SELECT %s($1)', chosen.evaluator::regprocedure::regproc) INTO output USING request;
    EXCEPTION WHEN OTHERS THEN
        RETURN ROW(NULL, chosen.version, 'strategy_error', SQLSTATE, left(SQLERRM, 2000))::nexus.verdict;
    END;
    IF output IS NULL OR jsonb_typeof(output) <> 'object'
       OR coalesce(output ->> 'signal', '') NOT IN ('BUY', 'SELL', 'HOLD') THEN
        RETURN ROW(NULL, chosen.version, 'strategy_error', '22000',
                   'the strategy returned no object with a signal of BUY, SELL or HOLD')::nexus.verdict;
    END IF;
    RETURN ROW(output || jsonb_build_object('strategy', chosen.name, 'version', chosen.version),
               chosen.version, NULL, NULL, NULL)::nexus.verdict;
END $$;
