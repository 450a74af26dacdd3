-- Sends dead letters again: those of `ids`, or of an error class, or all; of these the oldest `max_rows`. Each is sent
-- once: a second call finds it gone and leaves the record of the first. The new message goes to the original queue; its
-- header nexus_redrive_of names the dead letter, the original message and its execution. Dead letters that name no queue
-- that workers serve stay.
CREATE OR REPLACE FUNCTION nexus.redrive(
    ids bigint[] DEFAULT NULL, class text DEFAULT NULL, max_rows integer DEFAULT NULL, reason text DEFAULT NULL
) RETURNS TABLE (dead_letter_id bigint, original_queue text, original_msg_id bigint, error_class text, new_msg_id bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked bigint[] := nexus.lock_dead_letters(ids, class, max_rows, served => true);
    sent   bigint[] := '{}';
    done   bigint[] := '{}';
    batch  record;
BEGIN
    FOR batch IN
        SELECT d.original_queue AS queue,
               array_agg(d.dead_letter_id ORDER BY d.dead_letter_id) AS ids,
               array_agg(coalesce(d.original_message, 'null') ORDER BY d.dead_letter_id) AS messages,
               array_agg(CASE WHEN jsonb_typeof(d.original_headers) = 'object'
                              THEN d.original_headers - 'nexus_attempts' - 'nexus_settled_reads' ELSE '{}' END
                         || jsonb_build_object('nexus_redrive_of', jsonb_build_object(
                                'dead_letter_id', d.dead_letter_id, 'original_msg_id', d.original_msg_id,
                                'execution_id', d.execution_id)) ORDER BY d.dead_letter_id) AS headers
          FROM nexus.dead_letters d
         WHERE d.dead_letter_id = ANY (locked)
         GROUP BY d.original_queue
    LOOP
        done := done || batch.ids;
        sent := sent || (SELECT array_agg(id ORDER BY id)
                           FROM pgmq.send_batch(batch.queue, batch.messages, batch.headers) AS id);
    END LOOP;
    RETURN QUERY SELECT e.* FROM nexus.end_dead_letters('redrive', done, sent, reason) AS e;
END $$;
