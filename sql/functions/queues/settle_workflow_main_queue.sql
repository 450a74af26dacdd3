-- Settles messages of workflow_main_queue that are still ours, in one statement: execution rows, results, dead letters,
-- retries and archive. nexus.serve_queue clones this function for other queues, as it does the claim.
-- decisions[i] is that of msg_ids[i]. Without decisions the messages are evaluated here: by nexus.evaluate those that name
-- a strategy, and all of them while the active version is not the inlined one (nexus.evaluate_request).
-- `locked`: the messages are not leased but locked by this very transaction.
CREATE OR REPLACE FUNCTION nexus.settle_workflow_main_queue(
    msg_ids bigint[], read_cts integer[], claimed_at timestamptz, decisions nexus.decision[],
    max_attempts integer, retry_base_seconds double precision, retry_max_seconds double precision, locked boolean,
    OUT completed integer, OUT retried integer, OUT dead_lettered integer
)
-- Triggers of users run here: they may name tables of the schema public without their schema.
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_memoize = off AS $$
#variable_conflict use_column
DECLARE
    settled_at timestamptz := clock_timestamp();
    settled_js jsonb := to_jsonb(settled_at);
    settled_ep numeric := extract(epoch FROM settled_at);
    inlined    boolean := EXISTS (SELECT FROM nexus.strategies s
                                   WHERE s.name = 'enhanced_rsi' AND s.version = '1.0' AND s.active);
    -- UUIDs version 7 (RFC 9562, 6.2 method 2): time, random bits for the batch, and a counter with a random start. In
    -- the order of time, so that the primary key grows at its end; one random draw for the batch.
    seed       text := replace(gen_random_uuid()::text, '-', '');
    prefix     text := lpad(to_hex(floor(settled_ep * 1000)::bigint), 12, '0') || '7' || substr(seed, 1, 3)
                       || '8' || substr(seed, 4, 3);
    counter    bigint := ('x' || substr(seed, 21, 11))::bit(44)::bigint;
BEGIN
    WITH held AS MATERIALIZED (
        -- The fence: a message that was claimed again has another read_ct; one whose lease ran out is visible again and
        -- may be claimed by any worker; one that was settled as a failure waits for its retry. None of them is ours any
        -- more. Locked in the order of msg_id, as everywhere, so that two settlements cannot deadlock.
        SELECT q.msg_id, q.read_ct, q.enqueued_at, q.message, q.headers, c.position,
               nexus.header_count(q.headers, 'nexus_attempts') + 1 AS attempt,
               nexus.crashes(q.read_ct, q.headers) AS crashes,
               NOT inlined OR coalesce(q.message ?| '{strategy,strategy_version}', false) AS registered
          FROM pgmq.q_workflow_main_queue q
          JOIN unnest(msg_ids, read_cts) WITH ORDINALITY AS c (msg_id, read_ct, position)
            ON c.msg_id = q.msg_id AND c.read_ct = q.read_ct
         -- Redundant with the join, but lets PostgreSQL find all messages in one pass over the index.
         WHERE q.msg_id = ANY (msg_ids)
           AND (locked OR q.vt > settled_at AND q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads'))
         ORDER BY q.msg_id
           FOR UPDATE OF q
    ), given AS NOT MATERIALIZED (
        SELECT d.* FROM unnest(decisions) WITH ORDINALITY AS d (
                   output, version, symbol, occurred_at, error_class, error_code, error_message, field, position)
        UNION ALL
        SELECT d.*
          FROM (SELECT array_agg(h.message) AS requests, array_agg(h.position) AS positions
                  FROM held h
                 WHERE decisions IS NULL AND h.registered AND h.crashes < max_attempts
                HAVING count(*) > 0) AS r
         CROSS JOIN LATERAL unnest(nexus.evaluate(r.requests, settled_at), r.positions) AS d (
                   output, version, symbol, occurred_at, error_class, error_code, error_message, field, position)
    ), evaluated AS NOT MATERIALIZED (
        SELECT h.*, e.output, e.version, e.symbol, e.occurred_at,
               CASE WHEN h.crashes >= max_attempts THEN 'crash' ELSE e.error_class END AS error_class,
               e.error_code, e.error_message, e.field
          FROM held h
         CROSS JOIN LATERAL nexus.evaluate_request(
             -- A message whose worker died too often is not evaluated again.
             CASE WHEN h.crashes < max_attempts THEN h.message END, settled_ep) AS e
         WHERE decisions IS NULL AND (h.crashes >= max_attempts OR NOT h.registered)
        UNION ALL
        SELECT h.*, g.output, g.version, g.symbol, g.occurred_at,
               CASE WHEN h.crashes >= max_attempts THEN 'crash' ELSE g.error_class END,
               g.error_code, g.error_message, g.field
          FROM held h
          JOIN given g ON g.position = h.position
    ), decided AS MATERIALIZED (
        SELECT e.msg_id, e.read_ct, e.enqueued_at, e.message, e.headers, e.symbol, e.occurred_at, e.attempt,
               (prefix || lpad(to_hex(counter + e.position), 12, '0'))::uuid AS execution_id,
               CASE WHEN e.error_class IS NULL THEN e.output END AS output,
               coalesce(e.version, '1.0') AS version,
               CASE
                   WHEN e.error_class IS NULL THEN 'completed'
                   WHEN e.error_class IN ('invalid_input', 'unknown_strategy', 'crash') THEN 'error'
                   WHEN e.attempt >= max_attempts THEN 'error'
                   ELSE 'retrying'
               END AS outcome,
               CASE
                   WHEN e.error_class = 'crash' THEN jsonb_build_object(
                       'error_class', 'crash',
                       'error_code', '57P02',
                       'error_message', format('the worker died or lost its lease %s times while it held this message',
                                               e.crashes),
                       'error_timestamp', settled_js,
                       'attempt', e.attempt,
                       'max_attempts', max_attempts,
                       'crashes', e.crashes)
                   WHEN e.error_class IS NOT NULL THEN jsonb_strip_nulls(jsonb_build_object(
                       'error_class', e.error_class,
                       'error_code', e.error_code,
                       'error_message', e.error_message,
                       'field', e.field,
                       'error_timestamp', settled_js,
                       'attempt', e.attempt,
                       'max_attempts', max_attempts,
                       'crashes', greatest(e.crashes, 0)))
               END AS error
          FROM evaluated e
    ), finished AS MATERIALIZED (
        -- When every message is decided: strategies take their time in between.
        SELECT t.at, round(extract(epoch FROM t.at - claimed_at) * 1000, 3) AS took_ms
          FROM (SELECT clock_timestamp() AS at FROM (SELECT count(*) FROM decided) n OFFSET 0) t
    ), recorded AS (
        INSERT INTO public.workflow_executions (
            id, workflow_type, workflow_version, input_data, output_data, status, error_details,
            processing_time_ms, created_at, started_at, completed_at, updated_at,
            queue_name, msg_id, enqueued_at, attempt, symbol, occurred_at)
        SELECT d.execution_id, 'trading_signal', d.version, coalesce(d.message, 'null'), d.output, d.outcome,
               d.error, round(f.took_ms), settled_at, claimed_at, f.at, f.at,
               'workflow_main_queue', d.msg_id, d.enqueued_at, d.attempt, d.symbol, d.occurred_at
          FROM decided d CROSS JOIN finished f
    ), parked AS (
        -- Exponential backoff with full jitter: any moment up to the ceiling.
        UPDATE pgmq.q_workflow_main_queue q
           SET vt = clock_timestamp() + make_interval(secs => random() * least(
                   retry_max_seconds, retry_base_seconds * power(2, least(d.attempt, 30) - 1))),
               headers = CASE WHEN jsonb_typeof(d.headers) = 'object' THEN d.headers ELSE '{}' END
                   || jsonb_build_object('nexus_attempts', d.attempt, 'nexus_settled_reads', d.read_ct)
          FROM decided d
         WHERE d.outcome = 'retrying' AND q.msg_id = d.msg_id
    ), published AS (
        INSERT INTO pgmq.q_workflow_results (vt, message)
        SELECT settled_at, jsonb_build_object(
                   'execution_id', d.execution_id,
                   'original_msg_id', d.msg_id,
                   'result', d.output,
                   'processing_time', f.took_ms,
                   'processed_at', f.at)
          FROM decided d CROSS JOIN finished f
         WHERE d.outcome = 'completed'
    ), dead AS (
        INSERT INTO pgmq.q_workflow_errors (vt, message)
        SELECT settled_at, jsonb_build_object(
                   'execution_id', d.execution_id,
                   'original_message', d.message,
                   'original_msg_id', d.msg_id,
                   'original_queue', 'workflow_main_queue',
                   'original_headers', d.headers,
                   'enqueued_at', d.enqueued_at,
                   'attempts', d.attempt,
                   'reads', d.read_ct,
                   'error_details', d.error,
                   'failed_at', settled_js)
          FROM decided d
         WHERE d.outcome = 'error'
    ), taken AS (
        DELETE FROM pgmq.q_workflow_main_queue q
         WHERE q.msg_id = ANY (ARRAY(SELECT d.msg_id FROM decided d WHERE d.outcome <> 'retrying'))
        RETURNING q.msg_id, q.read_ct, q.enqueued_at, q.last_read_at, q.vt, q.message, q.headers
    ), archived AS (
        INSERT INTO pgmq.a_workflow_main_queue (msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers)
        SELECT t.msg_id, t.read_ct, t.enqueued_at, t.last_read_at, t.vt, t.message, t.headers FROM taken t
    )
    SELECT count(*) FILTER (WHERE d.outcome = 'completed'),
           count(*) FILTER (WHERE d.outcome = 'retrying'),
           count(*) FILTER (WHERE d.outcome = 'error')
      INTO completed, retried, dead_lettered
      FROM decided d;
END $$;
