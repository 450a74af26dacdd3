-- Leases up to `quantity` messages of workflow_main_queue for `lease_seconds`. nexus.serve_queue clones this function for
-- other queues, with the queue's name replaced: a statement that names its table keeps its plan (put together at each
-- call, planning cost 4 ms a batch).
--
-- Oldest visibility first, by pgmq's vt index: messages that are leased, parked or delayed are not walked, however many
-- they are. (pgmq.read compares with the volatile clock and walks the primary key.) A plan made while the queue was empty
-- must not sort or scan the full one, so those are ruled out. That makes plans look expensive before PostgreSQL 18, and
-- what looks expensive is compiled, a second for every call: jit is off.
--
-- The index keeps the entries of finished messages at its head until the next vacuum, and walking them costs more than the
-- rest of a claim (measured: 1 ms for 10,000). So the session remembers where it found the oldest message and starts there
-- next time; for one second, or until that finds too few, so that messages which appear below it (committed late,
-- released, made visible by hand) do not wait for long. It is only a hint: nothing else depends on it.
--
-- A suspect (claimed before and never settled, so in a crash) is leased alone, so that a crashed batch does not take the
-- other messages with it again; when other messages are first, they go without it.
-- Without lease_seconds the messages are locked instead, for a caller that settles them in the same transaction.
CREATE OR REPLACE FUNCTION nexus.claim_workflow_main_queue(
    quantity integer, lease_seconds integer,
    OUT msg_ids bigint[], OUT read_cts integer[], OUT suspect boolean, OUT claimed_at timestamptz
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    until  timestamptz := moment + make_interval(secs => lease_seconds);
    -- The hint: {from where, until when}, in microseconds: texts of times depend on settings of the session.
    hint   bigint[] := nullif(current_setting('nexus.oldest_in_workflow_main_queue', true), '')::bigint[];
    since  timestamptz := CASE WHEN hint[2] > nexus.microseconds(moment)
                               THEN 'epoch'::timestamptz + hint[1] * interval '1 microsecond' ELSE '-infinity' END;
    oldest timestamptz;
BEGIN
    claimed_at := moment;
    LOOP
        WITH head AS MATERIALIZED (
            SELECT q.msg_id, q.read_ct, q.vt,
                   q.read_ct > 0 AND q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads') AS suspect
              FROM pgmq.q_workflow_main_queue q
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
        ), leased AS (
            UPDATE pgmq.q_workflow_main_queue q
               SET read_ct = q.read_ct + 1, last_read_at = moment, vt = until
              FROM chosen c
             WHERE q.msg_id = c.msg_id AND until IS NOT NULL
            RETURNING q.msg_id, q.read_ct, c.suspect, c.oldest
        ), claimed AS (
            SELECT l.* FROM leased l
            UNION ALL
            SELECT c.msg_id, c.read_ct, c.suspect, c.oldest FROM chosen c WHERE until IS NULL
        )
        SELECT array_agg(c.msg_id), array_agg(c.read_ct), bool_or(c.suspect), min(c.oldest)
          INTO msg_ids, read_cts, suspect, oldest
          FROM claimed c;
        EXIT WHEN msg_ids IS NOT NULL OR since = '-infinity';
        since := '-infinity';
    END LOOP;
    hint := CASE WHEN cardinality(msg_ids) = quantity THEN ARRAY[
        nexus.microseconds(oldest),
        CASE WHEN since = '-infinity' THEN nexus.microseconds(moment + interval '1 second') ELSE hint[2] END] END;
    PERFORM set_config('nexus.oldest_in_workflow_main_queue', coalesce(hint::text, ''), false);
END $$;
