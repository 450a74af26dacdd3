-- One row for each attempt at a message: the request, the decision, how long it took, and for a failure the reason.
CREATE TABLE public.workflow_executions (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(), -- version 7: in the order of time
    workflow_type      varchar(50) NOT NULL,           -- trading_signal
    workflow_version   varchar(10) DEFAULT '1.0',      -- of the strategy
    input_data         jsonb NOT NULL,                 -- the request as it came
    output_data        jsonb,                          -- the decision; null where it failed
    status             varchar(20) NOT NULL DEFAULT 'pending', -- completed, retrying or error
    error_details      jsonb,                          -- class, SQLSTATE, text, attempt; null where it did not fail
    processing_time_ms integer,                        -- from claim to decision
    created_at         timestamptz DEFAULT now(),      -- when settling its batch began
    started_at         timestamptz,                    -- when it was claimed
    completed_at       timestamptz,                    -- when its batch was decided
    updated_at         timestamptz DEFAULT now(),      -- likewise
    -- The message. A recreated queue numbers from 1 again, so enqueued_at belongs to its identity.
    queue_name         text,
    msg_id             bigint,
    enqueued_at        timestamptz,
    -- 1 for the first attempt. Claims that ended in a crash are not attempts.
    attempt            integer,
    symbol             text,                           -- of the request, where it is valid
    -- When the event happened in the market; null where the request does not say.
    occurred_at        timestamptz,
    -- The time that the hourly tables go by.
    event_time         timestamptz GENERATED ALWAYS AS (coalesce(occurred_at, enqueued_at, created_at)) STORED,
    CONSTRAINT workflow_executions_status CHECK (status IN (
        'pending',    -- written by hand, not started
        'processing', -- written by hand, started
        'completed',  -- decided: final
        'retrying',   -- this attempt failed and another follows
        'error'       -- the last attempt failed and the message is a dead letter: final
    ))
);

-- One message has one final execution: the last line of defence of "nothing counts twice".
CREATE UNIQUE INDEX workflow_executions_one_outcome
    ON public.workflow_executions (msg_id, enqueued_at, queue_name) WHERE status IN ('completed', 'error');
-- The failed attempts at a message, for `nexus executions --msg-id` and the history of a dead letter. Few rows.
CREATE INDEX workflow_executions_retrying
    ON public.workflow_executions (msg_id, enqueued_at, queue_name) WHERE status = 'retrying';
-- Windows of hours: by event time for signals, by processing time for metrics and the newest executions.
CREATE INDEX workflow_executions_event_time ON public.workflow_executions (event_time);
CREATE INDEX workflow_executions_created ON public.workflow_executions (created_at);

-- The last 24 hours, by hour of processing in UTC.
CREATE VIEW public.trading_workflow_dashboard AS
SELECT date_trunc('hour', created_at, 'UTC')                     AS hour,
       count(*)                                                  AS total_executions,
       count(*) FILTER (WHERE status = 'completed')              AS successful,
       count(*) FILTER (WHERE status = 'error')                  AS failed,
       avg(processing_time_ms)                                   AS avg_processing_time,
       count(*) FILTER (WHERE output_data ->> 'signal' = 'BUY')  AS buy_signals,
       count(*) FILTER (WHERE output_data ->> 'signal' = 'SELL') AS sell_signals,
       count(*) FILTER (WHERE output_data ->> 'signal' = 'HOLD') AS hold_signals
  FROM public.workflow_executions
 WHERE workflow_type = 'trading_signal'
   AND created_at >= now() - interval '24 hours'
 GROUP BY 1
 ORDER BY 1 DESC;

-- Events that were sent: a request that names its event is queued once, however often it is sent.
CREATE TABLE nexus.idempotency_keys (
    queue_name text NOT NULL,
    source     text NOT NULL, -- '' for requests without one
    event_id   text NOT NULL,
    sent_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (queue_name, source, event_id)
);
