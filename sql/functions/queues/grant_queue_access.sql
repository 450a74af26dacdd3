-- Grants the roles of 0007.roles, where they exist, what they need of a served queue.
CREATE OR REPLACE FUNCTION nexus.grant_queue_access(queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    queued   text := format('pgmq.%I', 'q_' || nexus.checked_queue(queue));
    archived text := format('pgmq.%I', 'a_' || queue);
    ids      text := pg_get_serial_sequence(queued, 'msg_id');
BEGIN
    IF to_regrole('nexus_sender') IS NOT NULL THEN
        -- SELECT, because an insert returns the new ids.
        EXECUTE format('GRANT SELECT, INSERT ON %s TO nexus_sender', queued);
    END IF;
    IF to_regrole('nexus_reader') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON %s, %s TO nexus_reader', queued, archived);
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO nexus_reader', ids);
    END IF;
    IF to_regrole('nexus_operator') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s, %s TO nexus_operator', queued, archived);
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO nexus_operator', ids);
        EXECUTE format('GRANT EXECUTE ON FUNCTION nexus.%I, nexus.%I TO nexus_operator',
                       'claim_' || queue, 'settle_' || queue);
    END IF;
END $$;
