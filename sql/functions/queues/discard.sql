-- Discards dead letters: those of `ids`, or of an error class, or all; of these the oldest `max_rows`. They leave the queue
-- for its archive; the action is recorded once.
CREATE OR REPLACE FUNCTION nexus.discard(
    ids bigint[] DEFAULT NULL, class text DEFAULT NULL, max_rows integer DEFAULT NULL, reason text DEFAULT NULL
) RETURNS TABLE (dead_letter_id bigint, original_queue text, original_msg_id bigint, error_class text, new_msg_id bigint)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.* FROM nexus.end_dead_letters(
        'discard', nexus.lock_dead_letters(ids, class, max_rows, served => false), NULL, reason) AS e
$$;
