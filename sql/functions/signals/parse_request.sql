-- A request taken apart, and the first rule that it breaks: fault is {field, reason}, or null where there is none.
-- The only place with the rules of a request: nexus.enqueue and nexus.request_faults ask here.
--
-- Each LATERAL step ends in OFFSET 0, here and elsewhere: it keeps PostgreSQL from merging the step into the next one, and
-- so from computing an expression again at every place that names it. It stores nothing. As one SQL function without SET
-- clauses in FROM, the whole is inlined into the statement that settles a batch.
CREATE OR REPLACE FUNCTION nexus.parse_request(message jsonb)
RETURNS TABLE (
    fault text[], rsi numeric, price numeric, volume numeric, market_context jsonb,
    symbol text, strategy text, strategy_version text, occurred_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT checked.fault,
           CASE WHEN checked.fault IS NULL THEN part.rsi::numeric END,
           CASE WHEN checked.fault IS NULL THEN part.price::numeric END,
           CASE WHEN checked.fault IS NULL THEN part.volume::numeric END,
           coalesce(part.market_context, '{}'),
           CASE WHEN checked.fault IS NULL THEN part.symbol #>> '{}' END,
           coalesce(part.strategy #>> '{}', 'enhanced_rsi'),
           part.strategy_version #>> '{}',
           CASE WHEN checked.fault IS NULL THEN timed.occurred_at END
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
               nullif(message -> 'occurred_at', 'null') AS occurred_at
        OFFSET 0
      ) AS part
     CROSS JOIN LATERAL (
        SELECT CASE WHEN jsonb_typeof(part.occurred_at) = 'string'
                    THEN nexus.parse_time(part.occurred_at #>> '{}') END AS occurred_at
        OFFSET 0
      ) AS timed
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
            WHEN CASE WHEN jsonb_typeof(part.rsi) = 'number' THEN part.rsi::numeric NOT BETWEEN 0 AND 100 ELSE true END
                THEN ARRAY['rsi', 'must be a number from 0 to 100']
            WHEN CASE WHEN jsonb_typeof(part.price) = 'number' THEN part.price::numeric < 0 ELSE part.price IS NOT NULL END
                THEN ARRAY['price', 'must be a number that is 0 or more']
            WHEN part.price IS NOT NULL AND part.price::numeric > 1e30
                THEN ARRAY['price', 'must be at most 1e30']
            WHEN CASE WHEN jsonb_typeof(part.volume) = 'number' THEN part.volume::numeric < 0
                      ELSE part.volume IS NOT NULL END
                THEN ARRAY['volume', 'must be a number that is 0 or more']
            WHEN part.volume IS NOT NULL AND part.volume::numeric > 1e30
                THEN ARRAY['volume', 'must be at most 1e30']
            WHEN jsonb_typeof(part.market_context) <> 'object'
                THEN ARRAY['market_context', 'must be an object']
            WHEN jsonb_typeof(part.symbol) <> 'string' OR length(part.symbol #>> '{}') NOT BETWEEN 1 AND 200
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
            WHEN part.occurred_at IS NOT NULL AND timed.occurred_at IS NULL
                THEN ARRAY['occurred_at', 'must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z']
        END AS fault
        OFFSET 0
      ) AS checked
$$;
