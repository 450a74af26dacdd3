-- Names the tables that a seal of the ledger was counted in. It changes when the queue was dropped and created again, and
-- when its archive or the executions were truncated (or rewritten by VACUUM FULL: then they are counted once more).
CREATE OR REPLACE FUNCTION nexus.ledger_identity(queue text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws(' ', a.oid, pg_relation_filenode(a.oid), pg_relation_filenode('public.workflow_executions'))
      FROM (SELECT format('pgmq.%I', 'a_' || queue)::regclass::oid) AS a (oid)
$$;

-- The highest msg_id that the queue has given out, committed or not; 0 where it gave none.
CREATE OR REPLACE FUNCTION nexus.newest_msg_id(queue text) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(pg_sequence_last_value(format('pgmq.%I', 'q_' || queue || '_msg_id_seq')::regclass), 0)
$$;

-- The seal of a queue's ledger, as nexus.seal_ledger left it; without one that still holds, or with `recount`, one that
-- covers no message, and whose `identity` is null.
CREATE OR REPLACE FUNCTION nexus.ledger_seal(queue text, recount boolean) RETURNS nexus.ledger_seals
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seal nexus.ledger_seals;
BEGIN
    PERFORM nexus.checked_queue(queue);
    SELECT s.* INTO seal
      FROM nexus.ledger_seals s
     WHERE s.queue_name = queue AND NOT recount
       AND s.identity = nexus.ledger_identity(queue) AND s.sealed_up_to <= nexus.newest_msg_id(queue);
    IF NOT FOUND THEN
        seal := ROW(queue, NULL, '-infinity', 0, '{}', 0, 0, 0, 0, 0, 0, 0, '{}', NULL)::nexus.ledger_seals;
    END IF;
    RETURN seal;
END $$;
