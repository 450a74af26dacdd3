-- Advances the seal of a queue's ledger: counts what is finished once, so that nexus.ledger counts only what came after.
-- Returns the msg_id up to which the queue is sealed now, or null where another session is just sealing it. Does nothing
-- where fewer than `min_messages` were sent since the seal; `recount` starts from the first message again.
--
-- A msg_id is drawn before its message is committed, and transactions commit in any order, so a message may appear below
-- one that was seen long ago. But whoever draws a msg_id has locked the queue's table for writing before, and keeps the
-- lock until its commit is visible. So the highest msg_id drawn by now is a candidate, and it is sealed once none of the
-- transactions that hold such a lock now holds it any more: at once where there is none, else at a later call. (The
-- counting then needs a snapshot from after that check: hence READ COMMITTED.)
--
-- Messages still in the queue do not hold up the seal: they are listed in open_ids and counted each time. With more than
-- 2,000 of them (a backlog), the seal ends before the next.
CREATE OR REPLACE FUNCTION nexus.seal_ledger(queue text, min_messages bigint DEFAULT 0, recount boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    max_open constant integer := 2000;
    seal    nexus.ledger_seals;
    newest  bigint;
    writers text[];
    up_to   bigint;
    open    bigint[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'nexus.seal_ledger needs the isolation level READ COMMITTED'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('nexus.seal_ledger'), hashtext(queue)) THEN
        RETURN NULL;
    END IF;
    seal := nexus.ledger_seal(queue, recount);
    newest := nexus.newest_msg_id(queue);
    IF newest - seal.sealed_up_to < min_messages THEN
        RETURN seal.sealed_up_to;
    END IF;
    SELECT coalesce(array_agg(l.virtualtransaction), '{}') INTO writers
      FROM pg_locks l
     WHERE l.locktype = 'relation' AND l.relation = format('pgmq.%I', 'q_' || queue)::regclass
       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       AND l.mode = 'RowExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid();

    IF seal.identity IS NULL THEN
        seal.identity := nexus.ledger_identity(queue);
        SELECT coalesce(min(m.created_at), '-infinity') INTO seal.queue_since FROM pgmq.meta m WHERE m.queue_name = queue;
        EXECUTE format($q$
            SELECT count(*)
              FROM public.workflow_executions e
             WHERE e.queue_name = $1 AND e.status IN ('completed', 'error') AND e.enqueued_at < $2
               AND NOT EXISTS (SELECT FROM pgmq.%I q WHERE q.msg_id = e.msg_id AND q.enqueued_at = e.enqueued_at)
               AND NOT EXISTS (SELECT FROM pgmq.%I a WHERE a.msg_id = e.msg_id AND a.enqueued_at = e.enqueued_at)
        $q$, 'q_' || queue, 'a_' || queue) INTO seal.unarchived USING queue, seal.queue_since;
    END IF;
    IF cardinality(writers) = 0 OR seal.candidate_id <= seal.sealed_up_to THEN
        seal.candidate_id := newest;
        seal.candidate_writers := writers;
    END IF;
    IF NOT seal.candidate_writers && writers THEN
        up_to := seal.candidate_id;
        seal.candidate_id := newest;
        seal.candidate_writers := writers;
        EXECUTE format($q$
            SELECT coalesce(array_agg(o.msg_id ORDER BY o.msg_id), '{}')
              FROM (SELECT q.msg_id FROM pgmq.%I q WHERE q.msg_id <= $1 ORDER BY q.msg_id LIMIT $2 + 1) o
        $q$, 'q_' || queue) INTO open USING up_to, max_open;
        IF cardinality(open) > max_open THEN
            up_to := greatest(open[max_open + 1] - 1, seal.sealed_up_to);
            open := open[1 : max_open];
        END IF;
        -- A message of `open` that was finished since that list was read stays open: it is counted by nexus.ledger.
        SELECT seal.archived + c.archived, seal.completed + c.completed, seal.dead_lettered + c.dead_lettered,
               seal.lost + c.lost, seal.doubled + c.doubled, seal.unarchived + c.unarchived
          INTO seal.archived, seal.completed, seal.dead_lettered, seal.lost, seal.doubled, seal.unarchived
          FROM nexus.count_unsealed(queue, seal.sealed_up_to, seal.open_ids, seal.queue_since, up_to, open) AS c;
        seal.sealed_up_to := up_to;
        seal.open_ids := open;
    END IF;
    seal.sealed_at := clock_timestamp();
    DELETE FROM nexus.ledger_seals s WHERE s.queue_name = queue;
    INSERT INTO nexus.ledger_seals SELECT seal.*;
    RETURN seal.sealed_up_to;
END $$;
