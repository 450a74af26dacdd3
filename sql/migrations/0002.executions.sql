-- Why: one row for each attempt at a message: what came in, what was decided, how long it took, and for a failure why.
CREATE TABLE public.workflow_executions (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workflow_type      varchar(50) NOT NULL,
    workflow_version   varchar(10) DEFAULT '1.0',
    input_data         jsonb NOT NULL,
    output_data        jsonb,
    status             varchar(20) NOT NULL DEFAULT 'pending',
    error_details      jsonb,
    processing_time_ms integer,
    created_at         timestamptz DEFAULT now(),
    started_at         timestamptz,
    completed_at       timestamptz,
    updated_at         timestamptz DEFAULT now(),
    -- The message that led here. A recreated queue numbers from 1 again, so its time belongs to its identity.
    queue_name         text,
    msg_id             bigint,
    enqueued_at        timestamptz,
    -- 1 for the first attempt. Reads that ended in a crash are not attempts.
    attempt            integer,
    symbol             text,
    -- When the event happened in the market, as the request says; null where it does not say.
    occurred_at        timestamptz,
    CONSTRAINT workflow_executions_status CHECK (status IN (
        'pending',    -- made by hand, not begun
        'processing', -- made by hand, begun
        'completed',  -- a decision was made: final
        'retrying',   -- this attempt failed and another follows
        'error'       -- this attempt failed and was the last: the message is a dead letter
    ))
);

-- One message has one outcome, whatever happens above: the last line of defence of "nothing counts twice".
CREATE UNIQUE INDEX workflow_executions_one_outcome
    ON public.workflow_executions (msg_id, enqueued_at, queue_name) WHERE status IN ('completed', 'error');
-- The failed attempts of a message, for `nexus executions --msg-id` and the dead letters' history. Few rows.
CREATE INDEX workflow_executions_retrying
    ON public.workflow_executions (msg_id, enqueued_at, queue_name) WHERE status = 'retrying';
-- The last 24 hours of the dashboard and `nexus executions`. Rows come in this order, so BRIN costs the writer nothing.
CREATE INDEX workflow_executions_created
    ON public.workflow_executions USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE public.workflow_metrics (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    execution_id uuid REFERENCES public.workflow_executions (id),
    metric_type  varchar(50) NOT NULL,
    metric_value numeric NOT NULL,
    metric_unit  varchar(20),
    recorded_at  timestamptz DEFAULT now()
);

-- The document's 24 hours at a glance, by hour of processing.
CREATE VIEW public.trading_workflow_dashboard AS
SELECT date_trunc('hour', created_at)                            AS hour,
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
 GROUP BY date_trunc('hour', created_at)
 ORDER BY hour DESC;

-- Which events were already sent: a request that names its event is queued once, however often it is sent.
CREATE TABLE nexus.events (
    queue_name text NOT NULL,
    source     text NOT NULL,
    event_id   text NOT NULL,
    sent_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (queue_name, source, event_id)
);
