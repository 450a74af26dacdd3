-- Records the decisions of a lease in one transaction, all or nothing: decisions[i] is that of msg_ids[i], as
-- nexus.evaluate_lease returns them. Without decisions the messages are evaluated in the same statement. Messages whose
-- lease ran out are counted as `fenced` and left alone: any worker may have them.
CREATE OR REPLACE FUNCTION nexus.settle(
    queue text, msg_ids bigint[], read_cts integer[], claimed_at timestamptz, decisions nexus.decision[] DEFAULT NULL,
    max_attempts integer DEFAULT 5, retry_base_seconds double precision DEFAULT 1,
    retry_max_seconds double precision DEFAULT 300,
    OUT completed integer, OUT retried integer, OUT dead_lettered integer, OUT fenced integer
)
LANGUAGE sql VOLATILE AS $$
    SELECT s.completed, s.retried, s.dead_lettered, s.fenced
      FROM nexus.settle_or_split(queue, msg_ids, read_cts, claimed_at, decisions,
                                 max_attempts, retry_base_seconds, retry_max_seconds, false) AS s
$$;
