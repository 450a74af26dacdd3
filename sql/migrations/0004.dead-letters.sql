-- Dead letters: messages whose last attempt failed. A redrive is a new send that points back, a discard ends a message.

-- Every redrive and discard. The dead letter itself moves to pgmq.a_workflow_errors.
CREATE TABLE nexus.dead_letter_actions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dead_letter_id   bigint NOT NULL, -- msg_id in workflow_errors
    -- Part of the identity: a recreated queue numbers from 1 again.
    dead_lettered_at timestamptz NOT NULL,
    action           text NOT NULL CHECK (action IN ('redrive', 'discard')),
    error_class      text,
    original_queue   text,
    original_msg_id  bigint, -- of the message that failed
    execution_id     text,
    -- The message that a redrive sent.
    new_msg_id       bigint,
    actor            text NOT NULL DEFAULT session_user, -- the role
    reason           text,
    acted_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (dead_letter_id, dead_lettered_at)
);

-- The dead letters that wait for an action. Settling writes them, but any role with INSERT may send to the queue: no cast
-- here can fail.
CREATE VIEW nexus.dead_letters AS
SELECT q.msg_id                                                         AS dead_letter_id,
       q.enqueued_at                                                    AS dead_lettered_at,
       q.message #>> '{error_details,error_class}'                      AS error_class,
       q.message #>> '{error_details,error_code}'                       AS error_code,
       q.message #>> '{error_details,error_message}'                    AS error_message,
       CASE WHEN q.message ->> 'attempts' ~ '^[0-9]{1,9}$'
            THEN (q.message ->> 'attempts')::int ELSE 0 END             AS attempts,
       q.message ->> 'original_queue'                                   AS original_queue,
       CASE WHEN q.message ->> 'original_msg_id' ~ '^[0-9]{1,18}$'
            THEN (q.message ->> 'original_msg_id')::bigint END          AS original_msg_id,
       q.message ->> 'execution_id'                                     AS execution_id,
       q.message -> 'original_message'                                  AS original_message,
       q.message -> 'original_headers'                                  AS original_headers,
       q.message                                                        AS message
  FROM pgmq.q_workflow_errors q;
