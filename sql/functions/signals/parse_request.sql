-- A request taken apart, and the first rule that it breaks: fault is {field, reason}, or null where there is none.
-- The only place with the rules of a request: nexus.enqueue and nexus.request_faults ask here.
--
-- Each LATERAL step ends in OFFSET 0, here and elsewhere: it keeps PostgreSQL from merging the step into the next one, and
-- so from computing an expression again at every place that names it. It stores nothing. As one SQL function without SET
-- clauses in FROM, the whole is inlined into the statement that settles a batch. Callers set enable_memoize = off: between
-- LATERAL steps the planner would put Memoize nodes, which hash every value and never find one again.
CREATE OR REPLACE FUNCTION nexus.parse_request(message jsonb)
RETURNS TABLE (
    fault text[], rsi numeric, price numeric, volume numeric, market_context jsonb,
    symbol text, strategy text, strategy_version text, occurred_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT checked.fault,
           CASE WHEN checked.fault IS NULL THEN typed.rsi END,
           CASE WHEN checked.fault IS NULL THEN typed.price END,
           CASE WHEN checked.fault IS NULL THEN typed.volume END,
           coalesce(part.market_context, '{}'),
           CASE WHEN checked.fault IS NULL THEN typed.symbol END,
           coalesce(part.strategy #>> '{}', 'enhanced_rsi'),
           part.strategy_version #>> '{}',
           CASE WHEN checked.fault IS NULL THEN typed.occurred_at END
      FROM (
        -- JSON null stands for absent.
        SELECT jsonb_typeof(message) AS kind,
               nullif(message -> 'rsi', 'null') AS rsi,
               nullif(message -> 'price', 'null') AS price,
               nullif(message -> 'volume', 'null') AS volume,
               nullif(message -> 'market_context', 'null') AS market_context,
               nullif(message -> 'symbol', 'null') AS symbol,
               nullif(message -> 'source', 'null') AS source,
               nullif(message -> 'event_id', 'null') AS event_id,
               nullif(message -> 'strategy', 'null') AS strategy,
               nullif(message -> 'strategy_version', 'null') AS strategy_version,
               nullif(message -> 'occurred_at', 'null') AS occurred_at,
               message ->> 'occurred_at' AS occurred_text
        OFFSET 0
      ) AS part
     CROSS JOIN LATERAL (
        -- Null where the value is of another type.
        SELECT CASE WHEN jsonb_typeof(part.rsi) = 'number' THEN part.rsi::numeric END AS rsi,
               CASE WHEN jsonb_typeof(part.price) = 'number' THEN part.price::numeric END AS price,
               CASE WHEN jsonb_typeof(part.volume) = 'number' THEN part.volume::numeric END AS volume,
               CASE WHEN jsonb_typeof(part.symbol) = 'string' THEN part.symbol #>> '{}' END AS symbol,
               CASE WHEN jsonb_typeof(part.occurred_at) = 'string'
                    THEN nexus.parse_time(part.occurred_text) END AS occurred_at
        OFFSET 0
      ) AS typed
     CROSS JOIN LATERAL (
        SELECT CASE
            WHEN part.kind IS NULL OR part.kind = 'null'
                THEN ARRAY['message', 'must be a JSON object, not null']
            WHEN part.kind = 'array'
                THEN ARRAY['message', 'must be a JSON object, not an array']
            WHEN part.kind <> 'object'
                THEN ARRAY['message', 'must be a JSON object, not a ' || part.kind]
            WHEN octet_length(message::text) > 65536
                THEN ARRAY['message', 'is longer than 65536 bytes']
            WHEN part.rsi IS NULL
                THEN ARRAY['rsi', CASE WHEN message ? 'rsi' THEN 'must be a number from 0 to 100' ELSE 'is required' END]
            WHEN (typed.rsi BETWEEN 0 AND 100) IS NOT TRUE
                THEN ARRAY['rsi', 'must be a number from 0 to 100']
            WHEN part.price IS NOT NULL AND (typed.price >= 0) IS NOT TRUE
                THEN ARRAY['price', 'must be a number that is 0 or more']
            WHEN typed.price > 1e30
                THEN ARRAY['price', 'must be at most 1e30']
            WHEN part.volume IS NOT NULL AND (typed.volume >= 0) IS NOT TRUE
                THEN ARRAY['volume', 'must be a number that is 0 or more']
            WHEN typed.volume > 1e30
                THEN ARRAY['volume', 'must be at most 1e30']
            WHEN jsonb_typeof(part.market_context) <> 'object'
                THEN ARRAY['market_context', 'must be an object']
            WHEN part.symbol IS NOT NULL AND (length(typed.symbol) BETWEEN 1 AND 200) IS NOT TRUE
                THEN ARRAY['symbol', 'must be a text of 1 to 200 characters']
            WHEN jsonb_typeof(part.source) <> 'string' OR length(part.source #>> '{}') NOT BETWEEN 1 AND 200
                THEN ARRAY['source', 'must be a text of 1 to 200 characters']
            WHEN jsonb_typeof(part.event_id) <> 'string' OR length(part.event_id #>> '{}') NOT BETWEEN 1 AND 200
                THEN ARRAY['event_id', 'must be a text of 1 to 200 characters']
            WHEN jsonb_typeof(part.strategy) <> 'string' OR length(part.strategy #>> '{}') NOT BETWEEN 1 AND 200
                THEN ARRAY['strategy', 'must be a text of 1 to 200 characters']
            WHEN jsonb_typeof(part.strategy_version) <> 'string'
                 OR length(part.strategy_version #>> '{}') NOT BETWEEN 1 AND 10
                THEN ARRAY['strategy_version', 'must be a text of 1 to 10 characters']
            WHEN part.occurred_at IS NOT NULL AND typed.occurred_at IS NULL
                THEN ARRAY['occurred_at', nexus.time_fault(part.occurred_text)]
        END AS fault
        OFFSET 0
      ) AS checked
$$;
