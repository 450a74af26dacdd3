-- Claims, evaluates and settles one batch in one call and one transaction, for psql and pg_cron. Faster than claim and
-- settle apart, since its messages are locked and need no lease (timeout_seconds is checked, and accepted for callers that
-- pass one). But a crash of the server leaves no trace in read_ct, so a message that crashes the server comes back for
-- ever here.
CREATE OR REPLACE FUNCTION public.process_trading_workflow(
    batch_size integer DEFAULT 10, timeout_seconds integer DEFAULT 30
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    started   timestamptz := clock_timestamp();
    lease     record;
    settled   record;
    good      integer := 0;
    bad       integer := 0;
BEGIN
    IF batch_size IS NULL OR batch_size NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'batch_size: must be from 1 to 10000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF timeout_seconds IS NULL OR timeout_seconds NOT BETWEEN 1 AND 43200 THEN
        RAISE EXCEPTION 'timeout_seconds: must be from 1 to 43200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The queue's own functions, by name: a static statement keeps its plan.
    SELECT * INTO lease FROM nexus.claim_workflow_main_queue(batch_size, NULL);
    IF lease.msg_ids IS NOT NULL THEN
        BEGIN
            SELECT * INTO settled FROM nexus.settle_workflow_main_queue(
                lease.msg_ids, lease.read_cts, lease.claimed_at, NULL, 5, 1, 300, true);
        EXCEPTION WHEN OTHERS OR assert_failure THEN
            -- One by one, or raised again.
            SELECT * INTO settled FROM nexus.settle_or_split(
                'workflow_main_queue', lease.msg_ids, lease.read_cts, lease.claimed_at, NULL, 5, 1, 300, true);
        END;
        good := settled.completed;
        bad := settled.retried + settled.dead_lettered;
    END IF;
    RETURN jsonb_build_object(
        'processed_count', good,
        'error_count', bad,
        'success_rate', CASE WHEN good + bad = 0 THEN 0 ELSE good::numeric / (good + bad) END,
        'processing_time_ms', round(extract(epoch FROM clock_timestamp() - started) * 1000, 3),
        'batch_size', batch_size,
        'timestamp', clock_timestamp()
    );
END $$;
