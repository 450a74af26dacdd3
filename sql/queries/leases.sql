-- name: claim(queue, quantity, lease_seconds)
SELECT :queue AS queue, c.* FROM nexus.claim(:queue, :quantity, :lease_seconds) AS c;

-- name: settle(queue, msg_ids, read_cts, claimed_at, max_attempts, base_seconds, max_seconds)
SELECT s.*
  FROM nexus.settle(
      :queue, :msg_ids::bigint[], :read_cts::integer[], :claimed_at, NULL,
      :max_attempts, :base_seconds, :max_seconds) AS s;

-- name: release(queue, msg_ids, read_cts)$
SELECT nexus.release(:queue, :msg_ids::bigint[], :read_cts::integer[]);
