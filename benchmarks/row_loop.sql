-- The baseline of the engine benchmark: the workflow as it was ordered, one message at a time, each in a subtransaction
-- of its own, with an insert, an update, a send and an archive for every message. It stands in a schema of its own and
-- works on queues of its own, so that both engines run on the same server in the same minute. Its known defects (times
-- that are always 0, failures that are never recorded) are kept: they are part of what is compared.
CREATE SCHEMA row_loop;

CREATE TABLE row_loop.executions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workflow_type varchar(50) NOT NULL,
    workflow_version varchar(10) DEFAULT '1.0',
    input_data jsonb NOT NULL,
    output_data jsonb,
    status varchar(20) NOT NULL DEFAULT 'pending',
    error_details jsonb,
    processing_time_ms integer,
    created_at timestamptz DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz,
    updated_at timestamptz DEFAULT now()
);
SELECT pgmq.create('row_loop_main');
SELECT pgmq.create('row_loop_results');
SELECT pgmq.create('row_loop_errors');

-- The signal as ordered, for whole numbers of RSI: also what the tests hold enhanced_trade_signal against.
CREATE FUNCTION row_loop.trade_signal(
    rsi integer, price numeric DEFAULT NULL, volume numeric DEFAULT NULL, market_context jsonb DEFAULT '{}'
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    side text := 'HOLD';
    certainty numeric := 0.1;
    risk text := 'LOW';
    strength numeric := 0.1;
    sentiment text;
BEGIN
    IF rsi < 30 THEN
        side := 'BUY';
        certainty := LEAST((30 - rsi) / 30.0, 1.0);
        risk := CASE WHEN rsi < 20 THEN 'HIGH' ELSE 'MEDIUM' END;
        strength := CASE WHEN rsi < 20 THEN 0.9 ELSE 0.7 END;
    ELSIF rsi > 70 THEN
        side := 'SELL';
        certainty := LEAST((rsi - 70) / 30.0, 1.0);
        risk := CASE WHEN rsi > 80 THEN 'HIGH' ELSE 'MEDIUM' END;
        strength := CASE WHEN rsi > 80 THEN 0.9 ELSE 0.7 END;
    END IF;
    sentiment := CASE
        WHEN market_context ->> 'trend' = 'bullish' AND side = 'BUY' THEN 'STRONG_BUY'
        WHEN market_context ->> 'trend' = 'bearish' AND side = 'SELL' THEN 'STRONG_SELL'
        ELSE side
    END;
    RETURN jsonb_build_object(
        'signal', side, 'enhanced_signal', sentiment, 'confidence', certainty, 'trade_strength', strength,
        'risk_level', risk, 'rsi', rsi, 'price', COALESCE(price, 0), 'volume', COALESCE(volume, 0),
        'market_context', market_context, 'timestamp', EXTRACT(EPOCH FROM NOW()),
        'strategy', 'enhanced_rsi', 'version', '1.0');
END $$;

CREATE FUNCTION row_loop.process(batch_size integer, timeout_seconds integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    entry record;
    decision jsonb;
    execution uuid;
    done integer := 0;
BEGIN
    FOR entry IN SELECT * FROM pgmq.read('row_loop_main', timeout_seconds, batch_size) LOOP
        BEGIN
            INSERT INTO row_loop.executions (workflow_type, input_data, status, started_at)
            VALUES ('trading_signal', entry.message, 'processing', NOW()) RETURNING id INTO execution;
            decision := row_loop.trade_signal(
                (entry.message ->> 'rsi')::integer, (entry.message ->> 'price')::numeric,
                (entry.message ->> 'volume')::numeric, COALESCE(entry.message -> 'market_context', '{}'));
            UPDATE row_loop.executions
               SET output_data = decision, status = 'completed', completed_at = NOW(),
                   processing_time_ms = EXTRACT(MILLISECONDS FROM NOW() - started_at)
             WHERE id = execution;
            PERFORM pgmq.send('row_loop_results', jsonb_build_object(
                'execution_id', execution, 'original_msg_id', entry.msg_id, 'result', decision,
                'processing_time', 0, 'processed_at', NOW()));
            PERFORM pgmq.archive('row_loop_main', entry.msg_id);
            done := done + 1;
        EXCEPTION WHEN OTHERS THEN
            PERFORM pgmq.send('row_loop_errors', jsonb_build_object('original_message', entry.message));
        END;
    END LOOP;
    RETURN done;
END $$;
