-- name: enqueue(queue, requests, delay_seconds, validate)^
-- Send a batch, all or nothing; with faults, nothing was sent.
SELECT sent, duplicates, first_msg_id, last_msg_id, faults
  FROM nexus.enqueue(:queue, :requests::jsonb[], :delay_seconds, :validate);

-- name: request_faults(requests)
SELECT position, field, reason FROM nexus.request_faults(:requests::jsonb[]);

-- name: queue_state(queue)^
SELECT to_regclass('pgmq.q_' || :queue) IS NOT NULL AS found,
       EXISTS (SELECT FROM nexus.queues WHERE queue_name = :queue) AS served;
