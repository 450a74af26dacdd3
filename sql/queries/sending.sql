-- The statements of nexus_pipeline/queues/sending.py.

-- name: enqueue(queue, requests, delay_seconds, validate)^
-- Send a batch, all or nothing; with faults, nothing was sent.
SELECT sent, duplicates, first_msg_id, last_msg_id, faults
  FROM nexus.enqueue(:queue, :requests::jsonb[], :delay_seconds, :validate);

-- name: request_faults(requests)
-- The requests that break a rule, in their order.
SELECT position, field, reason FROM nexus.request_faults(:requests::jsonb[]);

-- name: queue_state(queue)^
-- Whether a queue exists, and whether workers serve it.
SELECT to_regclass('pgmq.q_' || :queue) IS NOT NULL AS found,
       EXISTS (SELECT FROM nexus.queues WHERE queue_name = :queue) AS served;
