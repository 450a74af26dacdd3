-- Sends dead letters again, or discards them (`action`): those of `ids`, or all that match `class` where ids is null, at
-- most `at_most`. Done for each dead letter once: a second call finds it gone and leaves the record of the first.
-- A redriven message goes to its own queue as a new message, whose header nexus_redrive_of names the dead letter, the
-- original message and its execution. Dead letters that no settle wrote (no original queue that is served) stay.
CREATE OR REPLACE FUNCTION nexus.act_on_dead_letters(
    action text, ids bigint[] DEFAULT NULL, class text DEFAULT NULL, at_most integer DEFAULT NULL, reason text DEFAULT NULL
) RETURNS TABLE (dead_letter_id bigint, original_queue text, original_msg_id bigint, error_class text, new_msg_id bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    batch record;
    sent  bigint[];
BEGIN
    FOR batch IN
        -- Locked in the order of msg_id: two operators at once must not deadlock, nor send a letter twice.
        WITH held AS MATERIALIZED (
            SELECT q.msg_id FROM pgmq.q_workflow_errors q
             WHERE (ids IS NULL OR q.msg_id = ANY (ids))
               AND (class IS NULL OR coalesce(q.message #>> '{error_details,error_class}', 'unknown') = class)
               AND (action = 'discard'
                    OR q.message ->> 'original_queue' IN (SELECT s.queue_name FROM nexus.queues s))
             ORDER BY q.msg_id
             LIMIT at_most
               FOR UPDATE
        )
        SELECT d.original_queue AS queue,
               array_agg(d.dead_letter_id ORDER BY d.dead_letter_id) AS letters,
               array_agg(coalesce(d.original_message, 'null') ORDER BY d.dead_letter_id) AS messages,
               array_agg(CASE WHEN jsonb_typeof(d.original_headers) = 'object'
                              THEN d.original_headers - 'nexus_attempts' - 'nexus_settled_reads' ELSE '{}' END
                         || jsonb_build_object('nexus_redrive_of', jsonb_build_object(
                                'dead_letter_id', d.dead_letter_id, 'original_msg_id', d.original_msg_id,
                                'execution_id', d.execution_id)) ORDER BY d.dead_letter_id) AS headers
          FROM nexus.dead_letters d JOIN held h ON h.msg_id = d.dead_letter_id
         GROUP BY d.original_queue
    LOOP
        sent := NULL;
        IF action = 'redrive' THEN
            SELECT array_agg(id ORDER BY id) INTO sent
              FROM pgmq.send_batch(batch.queue, batch.messages, batch.headers) AS id;
        END IF;
        RETURN QUERY
        INSERT INTO nexus.dead_letter_actions AS a (
            dead_letter_id, dead_lettered_at, action, error_class, original_queue, original_msg_id, execution_id,
            new_msg_id, reason)
        SELECT d.dead_letter_id, d.dead_lettered_at, action, d.error_class, d.original_queue, d.original_msg_id,
               d.execution_id, sent[array_position(batch.letters, d.dead_letter_id)], left(reason, 2000)
          FROM nexus.dead_letters d
         WHERE d.dead_letter_id = ANY (batch.letters)
         ORDER BY d.dead_letter_id
        RETURNING a.dead_letter_id, a.original_queue, a.original_msg_id, a.error_class, a.new_msg_id;
        PERFORM pgmq.archive('workflow_errors', batch.letters);
    END LOOP;
END $$;
