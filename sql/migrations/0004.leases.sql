-- Why: how a message goes from waiting to its outcome: enqueue, claim, settle, release.
--
-- A message of a queue is in one of these states, and none of them is stored twice:
--   waiting    in q_*, vt reached (or never read and delayed)
--   leased     in q_*, vt ahead, read since it was last settled
--   retrying   in q_*, vt ahead, its last read settled as a failure that may pass
--   completed / dead-lettered   in a_*, with one final row in workflow_executions
-- Two headers carry what a row of q_* cannot say itself: `nexus_attempts` (attempts that failed cleanly) and
-- `nexus_settled_reads` (read_ct at the last clean failure). read_ct beyond it was a crash. It is never more than read_ct:
-- what is was put there by somebody else, and does not count.

-- A counter out of the headers, which anybody may have written: 0 for all that is no counter.
CREATE FUNCTION nexus.header_count(headers jsonb, key text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN headers ->> key ~ '^[0-9]{1,9}$' THEN (headers ->> key)::int ELSE 0 END
$$;

-- Sends requests, in their order; those that name an event (`event_id`, per `source`) already sent are counted as
-- duplicates instead. Events and messages are committed together.
CREATE FUNCTION nexus.enqueue(queue text, requests jsonb[], delay_seconds integer DEFAULT 0)
RETURNS TABLE (sent integer, duplicates integer, first_msg_id bigint, last_msg_id bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    fresh jsonb[];
BEGIN
    PERFORM nexus.checked_queue(queue);
    WITH incoming AS MATERIALIZED (
        SELECT r.request, r.position,
               coalesce(r.request ->> 'source', '') AS source,
               CASE WHEN jsonb_typeof(r.request) = 'object' AND length(r.request ->> 'event_id') BETWEEN 1 AND 200
                         AND length(coalesce(r.request ->> 'source', '')) <= 200
                    THEN r.request ->> 'event_id' END AS event_id
          FROM unnest(requests) WITH ORDINALITY AS r (request, position)
    ), first_seen AS (
        -- In one order for everybody: two senders of the same events must not deadlock.
        INSERT INTO nexus.events AS e (queue_name, source, event_id)
        SELECT DISTINCT queue, i.source, i.event_id FROM incoming i WHERE i.event_id IS NOT NULL
         ORDER BY i.source, i.event_id
        ON CONFLICT DO NOTHING
        RETURNING e.source, e.event_id
    ), chosen AS (
        SELECT i.request, i.position FROM incoming i WHERE i.event_id IS NULL
        UNION ALL
        (SELECT DISTINCT ON (i.source, i.event_id) i.request, i.position
           FROM incoming i JOIN first_seen f USING (source, event_id)
          ORDER BY i.source, i.event_id, i.position)
    )
    SELECT array_agg(c.request ORDER BY c.position) INTO fresh FROM chosen c;

    sent := coalesce(cardinality(fresh), 0);
    duplicates := coalesce(cardinality(requests), 0) - sent;
    IF sent > 0 THEN
        SELECT min(id), max(id) INTO first_msg_id, last_msg_id
          FROM pgmq.send_batch(queue, fresh, delay_seconds) AS id;
    END IF;
    RETURN NEXT;
END $$;

-- Queues that workers serve.
CREATE TABLE nexus.queues (
    queue_name text PRIMARY KEY,
    served_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Makes a queue one that workers can serve: creates it where it is missing, and the two functions that work on its table.
-- They are made for each queue because their statements name its table: as they stand still, PostgreSQL keeps their plans
-- (measured: 4 ms of planning a batch when they were put together at each call).
CREATE FUNCTION nexus.serve_queue(queue text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $serve$
DECLARE
    chosen text;
BEGIN
    PERFORM nexus.checked_queue(queue);
    PERFORM pgmq.create(queue);
    -- Payloads are the owner's: pgmq lets the monitoring role read them.
    EXECUTE format('REVOKE ALL ON pgmq.%I, pgmq.%I FROM pg_monitor', 'q_' || queue, 'a_' || queue);
    INSERT INTO nexus.queues (queue_name) VALUES (queue) ON CONFLICT DO NOTHING;

    -- Oldest visibility first, over pgmq's vt index: however many messages are leased, parked or delayed, none of them is
    -- walked. (pgmq.read compares with the volatile clock and walks the primary key.) A plan made while the queue was
    -- empty must not sort or scan the full one, so those are ruled out. That makes plans look dear before PostgreSQL 18,
    -- and what looks dear is compiled: a second for every call, where the server has its default jit = on.
    -- The index keeps the entries of finished messages at its head until the next vacuum, and walking them is dearer than
    -- the rest of a claim (measured: 1 ms for 10,000). So the session remembers where it found the oldest message and
    -- begins there the next time; for one second, or until that finds too few, so that messages which come in below it
    -- (committed late, released, made visible by hand) are not left for long. Only a hint: nothing else depends on it.
    -- A suspect is chosen alone; with innocents first, they go without it.
    -- Without lease_seconds the messages are locked instead, for whoever settles them in the same transaction.
    chosen := format($chosen$head AS MATERIALIZED (
                    SELECT q.msg_id, q.read_ct, q.vt,
                           q.read_ct > 0 AND q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads') AS suspect
                      FROM pgmq.%1$I q
                     WHERE q.vt >= since AND q.vt <= moment
                     ORDER BY q.vt
                     LIMIT quantity
                       FOR UPDATE SKIP LOCKED
                ), foremost AS (
                    SELECT h.msg_id, h.vt, h.suspect FROM head h ORDER BY h.vt LIMIT 1
                ), chosen AS (
                    SELECT h.msg_id, h.read_ct, h.suspect, f.vt AS oldest
                      FROM head h CROSS JOIN foremost f
                     WHERE CASE WHEN f.suspect THEN h.msg_id = f.msg_id ELSE NOT h.suspect END
                )$chosen$, 'q_' || queue);
    EXECUTE format($template$
        CREATE OR REPLACE FUNCTION nexus.%2$I(
            quantity integer, lease_seconds integer,
            OUT msg_ids bigint[], OUT read_cts integer[], OUT suspect boolean, OUT claimed_at timestamptz)
        LANGUAGE plpgsql VOLATILE
        SET plan_cache_mode = force_generic_plan SET jit = off
        SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $body$
        #variable_conflict use_column
        DECLARE
            moment timestamptz := clock_timestamp();
            until  timestamptz := moment + make_interval(secs => lease_seconds);
            -- The hint: {from where, until when}.
            hint   timestamptz[] := nullif(current_setting(%4$L, true), '')::timestamptz[];
            since  timestamptz := CASE WHEN hint[2] > moment THEN hint[1] ELSE '-infinity' END;
            oldest timestamptz;
        BEGIN
            claimed_at := moment;
            LOOP
                IF lease_seconds IS NULL THEN
                    WITH %3$s
                    SELECT array_agg(c.msg_id), array_agg(c.read_ct), bool_or(c.suspect), min(c.oldest)
                      INTO msg_ids, read_cts, suspect, oldest
                      FROM chosen c;
                ELSE
                    WITH %3$s, leased AS (
                        UPDATE pgmq.%1$I q
                           SET read_ct = q.read_ct + 1, last_read_at = moment, vt = until
                          FROM chosen c
                         WHERE q.msg_id = c.msg_id
                        RETURNING q.msg_id, q.read_ct, c.suspect, c.oldest
                    )
                    SELECT array_agg(l.msg_id), array_agg(l.read_ct), bool_or(l.suspect), min(l.oldest)
                      INTO msg_ids, read_cts, suspect, oldest
                      FROM leased l;
                END IF;
                EXIT WHEN msg_ids IS NOT NULL OR since = '-infinity';
                since := '-infinity';
            END LOOP;
            hint := CASE WHEN cardinality(msg_ids) = quantity THEN ARRAY[
                oldest, CASE WHEN since = '-infinity' THEN moment + interval '1 second' ELSE hint[2] END] END;
            PERFORM set_config(%4$L, coalesce(hint::text, ''), false);
        END $body$
    $template$, 'q_' || queue, 'claim_' || queue, chosen, 'nexus.oldest_in_' || queue);

    -- The settling of messages whose lease still holds: execution rows, results, archive, retries and dead letters.
    -- `given` is null to evaluate, else the failure that evaluating them one by one ended in.
    EXECUTE format($template$
        CREATE OR REPLACE FUNCTION nexus.%2$I(
            msg_ids bigint[], read_cts integer[], claimed_at timestamptz,
            max_attempts integer, retry_base_seconds double precision, retry_max_seconds double precision,
            given nexus.verdict, locked boolean,
            OUT completed integer, OUT retried integer, OUT dead_lettered integer)
        LANGUAGE plpgsql VOLATILE
        SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $body$
        #variable_conflict use_column
        DECLARE
            settled_at timestamptz := clock_timestamp();
            settled_js jsonb := to_jsonb(settled_at);
            settled_ep numeric := extract(epoch FROM settled_at);
            -- UUIDs version 7 (RFC 9562, 6.2 method 2): time, random bits for the batch, and a counter with a random
            -- start. In the order of time, so that the primary key grows at its end; one random draw for the batch.
            seed       text := replace(gen_random_uuid()::text, '-', '');
            prefix     text := lpad(to_hex(floor(settled_ep * 1000)::bigint), 12, '0') || '7' || substr(seed, 1, 3)
                               || '8' || substr(seed, 4, 3);
            counter    bigint := ('x' || substr(seed, 21, 11))::bit(44)::bigint;
        BEGIN
            WITH held AS MATERIALIZED (
                -- The fence: a message that was claimed again has another read_ct; one whose lease ran out is visible
                -- again, and anybody's; one that was settled as a failure waits for its retry. None of them is ours any
                -- more. Locked in the order of msg_id, as everybody does, so that two settlings cannot deadlock.
                SELECT q.msg_id, q.read_ct, q.enqueued_at, q.message, q.headers, c.position
                  FROM pgmq.%1$I q
                  JOIN unnest(msg_ids, read_cts) WITH ORDINALITY AS c (msg_id, read_ct, position)
                    ON c.msg_id = q.msg_id AND c.read_ct = q.read_ct
                 WHERE locked
                    OR q.vt > settled_at AND q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads')
                 ORDER BY q.msg_id
                   FOR UPDATE OF q
            ), decided AS MATERIALIZED (
                -- Kept once for all that follows. OFFSET 0 below has each step worked out once, and stores nothing.
                SELECT j.msg_id, j.read_ct, j.enqueued_at, j.message, j.headers, j.attempt, j.symbol, j.occurred_at,
                       (prefix || lpad(to_hex(counter + j.position), 12, '0'))::uuid AS execution_id,
                       coalesce(j.output, (j.verdict).output) AS output,
                       coalesce((j.verdict).version, '1.0') AS version,
                       CASE
                           WHEN (j.verdict).error_class IS NULL THEN 'completed'
                           WHEN (j.verdict).error_class IN ('invalid_input', 'unknown_strategy', 'crash') THEN 'error'
                           WHEN j.attempt >= max_attempts THEN 'error'
                           ELSE 'retrying'
                       END AS outcome,
                       CASE WHEN (j.verdict).error_class IS NOT NULL THEN jsonb_strip_nulls(jsonb_build_object(
                           'error_class', (j.verdict).error_class,
                           'error_code', (j.verdict).error_code,
                           'error_message', (j.verdict).error_message,
                           'field', CASE WHEN (j.verdict).error_class = 'invalid_input' THEN j.fault[1] END,
                           'error_timestamp', settled_js,
                           'attempt', j.attempt,
                           'max_attempts', max_attempts,
                           'crashes', greatest(j.crashes, 0))) END AS error
                  FROM (
                    SELECT p.*,
                           CASE WHEN p.sound AND p.strategy = 'enhanced_rsi' THEN nexus.enhanced_rsi(
                               p.rsi, p.price, p.volume, p.market_context, settled_ep) END AS output,
                           CASE
                               WHEN p.sound AND p.strategy = 'enhanced_rsi' THEN NULL
                               WHEN p.sound THEN nexus.run_strategy(p.strategy, p.message)
                               WHEN (given).error_class IS NOT NULL THEN given
                               WHEN p.crashes >= max_attempts THEN ROW(NULL, NULL, 'crash', '57P02', format(
                                   'the worker died or lost its lease %%s times while it held this message',
                                   p.crashes))::nexus.verdict
                               ELSE ROW(NULL, NULL, 'invalid_input', '22023',
                                   p.fault[1] || ': ' || p.fault[2])::nexus.verdict
                           END AS verdict
                      FROM (
                        SELECT h.*, r.*, h.attempts + 1 AS attempt,
                               r.fault IS NULL AND h.crashes < max_attempts AND (given).error_class IS NULL AS sound
                          FROM (
                            SELECT m.*,
                                   nexus.header_count(m.headers, 'nexus_attempts') AS attempts,
                                   m.read_ct - 1 - CASE
                                       WHEN nexus.header_count(m.headers, 'nexus_settled_reads') <= m.read_ct
                                       THEN nexus.header_count(m.headers, 'nexus_settled_reads') ELSE 0 END AS crashes
                              FROM held m
                            OFFSET 0
                          ) h
                         CROSS JOIN LATERAL nexus.parse_request(h.message) r
                        OFFSET 0
                      ) p
                    OFFSET 0
                  ) j
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
                       %3$L, d.msg_id, d.enqueued_at, d.attempt, d.symbol, d.occurred_at
                  FROM decided d CROSS JOIN finished f
            ), parked AS (
                -- Exponential backoff with full jitter: any moment up to the ceiling.
                UPDATE pgmq.%1$I q
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
                           'original_queue', %3$L,
                           'original_headers', d.headers,
                           'enqueued_at', d.enqueued_at,
                           'attempts', d.attempt,
                           'reads', d.read_ct,
                           'error_details', d.error,
                           'failed_at', settled_js)
                  FROM decided d
                 WHERE d.outcome = 'error'
            ), taken AS (
                DELETE FROM pgmq.%1$I q USING decided d
                 WHERE d.outcome <> 'retrying' AND q.msg_id = d.msg_id
                RETURNING q.msg_id, q.read_ct, q.enqueued_at, q.last_read_at, q.vt, q.message, q.headers
            ), archived AS (
                INSERT INTO pgmq.%4$I (msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers)
                SELECT t.msg_id, t.read_ct, t.enqueued_at, t.last_read_at, t.vt, t.message, t.headers FROM taken t
            )
            SELECT count(*) FILTER (WHERE d.outcome = 'completed'),
                   count(*) FILTER (WHERE d.outcome = 'retrying'),
                   count(*) FILTER (WHERE d.outcome = 'error')
              INTO completed, retried, dead_lettered
              FROM decided d;
        END $body$
    $template$, 'q_' || queue, 'settle_held_' || queue, queue, 'a_' || queue);
END $serve$;

DO $$ BEGIN PERFORM nexus.serve_queue('workflow_main_queue'); END $$;

-- Leases up to `quantity` messages for `lease_seconds`; no row where none waits. To be committed at once: only then does
-- read_ct survive a crash.
-- A suspect, read before and never settled since, was in a crash: where one is first it is leased alone, so that the
-- innocents of a crashed batch do not go down with the message that crashed it.
CREATE FUNCTION nexus.claim(queue text, quantity integer, lease_seconds integer)
RETURNS TABLE (msg_ids bigint[], read_cts integer[], suspect boolean, claimed_at timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT c.* FROM nexus.%I($1, $2) c WHERE c.msg_ids IS NOT NULL',
        'claim_' || nexus.checked_queue(queue)) USING quantity, lease_seconds;
END $$;

-- Settles a lease in one transaction, all or nothing. Messages whose lease ran out are counted as `fenced` and left
-- alone: they are anybody's now. `locked` says that the messages are not leased, but locked by this very transaction.
-- An exception while a batch is evaluated sends its messages through one by one, and the one that fails is recorded as a
-- failure. What concerns the server and not a message (connection, serialization, resources, shutdown, system: SQLSTATE
-- classes 08, 25, 40, 53, 55, 57, 58, XX) is raised: nothing is settled, and the lease brings the messages back.
CREATE FUNCTION nexus.settle(
    queue text, msg_ids bigint[], read_cts integer[], claimed_at timestamptz,
    max_attempts integer DEFAULT 5, retry_base_seconds double precision DEFAULT 1,
    retry_max_seconds double precision DEFAULT 300, locked boolean DEFAULT false,
    OUT completed integer, OUT retried integer, OUT dead_lettered integer, OUT fenced integer
)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    settled record;
    call    text := format('SELECT * FROM nexus.%I($1, $2, $3, $4, $5, $6, $7, $8)',
                           'settle_held_' || nexus.checked_queue(queue));
    nothing nexus.verdict;
BEGIN
    completed := 0; retried := 0; dead_lettered := 0;
    BEGIN
        EXECUTE call INTO settled
          USING msg_ids, read_cts, claimed_at, max_attempts, retry_base_seconds, retry_max_seconds, nothing, locked;
        completed := settled.completed; retried := settled.retried; dead_lettered := settled.dead_lettered;
    EXCEPTION WHEN OTHERS THEN
        IF left(SQLSTATE, 2) IN ('08', '25', '40', '53', '55', '57', '58', 'XX') THEN
            RAISE;
        END IF;
        FOR i IN 1 .. cardinality(msg_ids) LOOP
            BEGIN
                EXECUTE call INTO settled
                  USING msg_ids[i : i], read_cts[i : i], claimed_at,
                        max_attempts, retry_base_seconds, retry_max_seconds, nothing, locked;
            EXCEPTION WHEN OTHERS THEN
                IF left(SQLSTATE, 2) IN ('08', '25', '40', '53', '55', '57', '58', 'XX') THEN
                    RAISE;
                END IF;
                EXECUTE call INTO settled
                  USING msg_ids[i : i], read_cts[i : i], claimed_at,
                        max_attempts, retry_base_seconds, retry_max_seconds,
                        ROW(NULL, NULL, 'evaluation_error', SQLSTATE, left(SQLERRM, 2000))::nexus.verdict, locked;
            END;
            completed := completed + settled.completed;
            retried := retried + settled.retried;
            dead_lettered := dead_lettered + settled.dead_lettered;
        END LOOP;
    END;
    fenced := cardinality(msg_ids) - completed - retried - dead_lettered;
END $$;

-- Gives a lease back untouched: waiting again, as if never read. For a worker that stops before it began.
CREATE FUNCTION nexus.release(queue text, msg_ids bigint[], read_cts integer[]) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    released integer;
BEGIN
    PERFORM nexus.checked_queue(queue);
    EXECUTE format($q$
        WITH held AS MATERIALIZED (
            SELECT q.msg_id
              FROM pgmq.%1$I q
              JOIN unnest($1, $2) AS c (msg_id, read_ct) ON c.msg_id = q.msg_id AND c.read_ct = q.read_ct
             WHERE q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads')
             ORDER BY q.msg_id
               FOR UPDATE OF q
        )
        UPDATE pgmq.%1$I q SET read_ct = q.read_ct - 1, vt = clock_timestamp() FROM held h WHERE q.msg_id = h.msg_id
    $q$, 'q_' || queue) USING msg_ids, read_cts;
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;

-- Claim, evaluate and settle in one call, for psql and pg_cron. One transaction: faster than claim and settle apart, as
-- its messages are locked and need no lease (timeout_seconds is checked, and kept for those who call it with one). But a
-- crash of the server leaves no trace in read_ct, so a message that crashes the server comes back for ever here.
CREATE FUNCTION public.process_trading_workflow(batch_size integer DEFAULT 10, timeout_seconds integer DEFAULT 30)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    began   timestamptz := clock_timestamp();
    lease   record;
    settled record;
    good    integer := 0;
    bad     integer := 0;
BEGIN
    IF batch_size IS NULL OR batch_size NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'batch_size: must be from 1 to 10000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF timeout_seconds IS NULL OR timeout_seconds NOT BETWEEN 1 AND 43200 THEN
        RAISE EXCEPTION 'timeout_seconds: must be from 1 to 43200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The queue's own functions, by name: statements that stand still keep their plans.
    SELECT * INTO lease FROM nexus.claim_workflow_main_queue(batch_size, NULL);
    IF lease.msg_ids IS NOT NULL THEN
        BEGIN
            SELECT * INTO settled FROM nexus.settle_held_workflow_main_queue(
                lease.msg_ids, lease.read_cts, lease.claimed_at, 5, 1, 300, NULL, true);
        EXCEPTION WHEN OTHERS THEN
            -- One by one, or raised again.
            SELECT * INTO settled FROM nexus.settle(
                'workflow_main_queue', lease.msg_ids, lease.read_cts, lease.claimed_at, 5, 1, 300, locked => true);
        END;
        good := settled.completed;
        bad := settled.retried + settled.dead_lettered;
    END IF;
    RETURN jsonb_build_object(
        'processed_count', good,
        'error_count', bad,
        'success_rate', CASE WHEN good + bad = 0 THEN 0 ELSE good::numeric / (good + bad) END,
        'processing_time_ms', round(extract(epoch FROM clock_timestamp() - began) * 1000, 3),
        'batch_size', batch_size,
        'timestamp', clock_timestamp()
    );
END $$;
REVOKE EXECUTE ON FUNCTION public.process_trading_workflow(integer, integer) FROM PUBLIC;
