-- name: claim(queue, quantity, lease_seconds)
SELECT :queue AS queue, c.* FROM nexus.claim(:queue, :quantity, :lease_seconds) AS c;

-- name: settle(queue, msg_ids, read_cts, claimed_at, needs_evaluation, max_attempts, base_seconds, max_seconds)
SELECT s.*
  FROM nexus.settle(
      :queue, :msg_ids::bigint[], :read_cts::integer[], :claimed_at,
      CASE WHEN :needs_evaluation THEN nexus.evaluate_lease(
          :queue, :msg_ids::bigint[], :read_cts::integer[], :max_attempts) END,
      :max_attempts, :base_seconds, :max_seconds) AS s;

-- name: release(queue, msg_ids, read_cts)$
SELECT nexus.release(:queue, :msg_ids::bigint[], :read_cts::integer[]);
