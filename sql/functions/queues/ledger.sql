-- The states of a queue's messages and whether they add up, in one snapshot.
--   sent           messages that are in the queue or its archive
--   waiting, leased, retrying     in the queue, each message in one of them
--   completed, dead_lettered      in the archive, with their one final execution
--   lost           in the archive without a final execution
--   doubled        with more than one final execution, or in the queue with one
--   unarchived     final executions whose message is neither in the queue nor in the archive (it was purged)
-- The counts add up where lost and doubled are 0 and
-- sent = waiting + leased + retrying + completed + dead_lettered.
--
-- What lies below the seal (nexus.seal_ledger) is not counted again: the cost depends on the messages since then and not
-- on the size of the archive. With `recount` everything is counted.
CREATE OR REPLACE FUNCTION nexus.ledger(queue text, recount boolean DEFAULT false)
RETURNS TABLE (
    sent bigint, waiting bigint, leased bigint, retrying bigint, completed bigint, dead_lettered bigint,
    lost bigint, doubled bigint, unarchived bigint, oldest_wait_s double precision
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    seal   nexus.ledger_seals := nexus.ledger_seal(queue, recount);
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH queued AS (
            SELECT q.vt,
                   CASE
                       WHEN q.vt <= $1 THEN 'waiting'
                       -- Sent with a delay. (A retry that the one call parked was never read either.)
                       WHEN q.read_ct = 0 AND nexus.header_count(q.headers, 'nexus_attempts') = 0 THEN 'waiting'
                       WHEN q.read_ct <> nexus.header_count(q.headers, 'nexus_settled_reads') THEN 'leased'
                       ELSE 'retrying'
                   END AS state
              FROM pgmq.%1$I q
        ), states AS (
            SELECT count(*) AS n,
                   count(*) FILTER (WHERE state = 'waiting') AS waiting,
                   count(*) FILTER (WHERE state = 'leased') AS leased,
                   count(*) FILTER (WHERE state = 'retrying') AS retrying,
                   extract(epoch FROM $1 - min(vt) FILTER (WHERE vt <= $1))::double precision AS oldest_wait_s
              FROM queued
        ), put_back AS (
            -- Below the seal, and not open when it was sealed: somebody put a finished message into the queue again.
            SELECT count(*) AS n
              FROM pgmq.%1$I q
             WHERE q.msg_id <= ($2).sealed_up_to
               AND NOT EXISTS (SELECT FROM unnest(($2).open_ids) AS o (msg_id) WHERE o.msg_id = q.msg_id)
        )
        SELECT s.n + ($2).archived + c.archived, s.waiting, s.leased, s.retrying,
               ($2).completed + c.completed, ($2).dead_lettered + c.dead_lettered,
               ($2).lost + c.lost, ($2).doubled + c.doubled + p.n, ($2).unarchived + c.unarchived, s.oldest_wait_s
          FROM states s, put_back p, nexus.count_unsealed(
              ($2).queue_name, ($2).sealed_up_to, ($2).open_ids, ($2).queue_since,
              -- Where there is a seal, executions of an earlier queue with higher ids are among its `unarchived`.
              CASE WHEN ($2).identity IS NULL THEN 9223372036854775807 ELSE nexus.newest_msg_id(($2).queue_name) END
          ) AS c
    $q$, 'q_' || queue) USING moment, seal;
END $$;
