DROP FUNCTION nexus.mark_closed_hours();
DROP FUNCTION nexus.stale_partitions(text, timestamptz, timestamptz);
DROP TRIGGER workflow_executions_truncated ON public.workflow_executions;
DROP TRIGGER workflow_executions_deleted ON public.workflow_executions;
DROP TRIGGER workflow_executions_updated ON public.workflow_executions;
DROP TRIGGER workflow_executions_inserted ON public.workflow_executions;
DROP FUNCTION nexus.mark_all_hours();
DROP FUNCTION nexus.mark_stale_hours();
DROP TABLE nexus.daily_reports;
DROP TABLE nexus.followed_hours;
DROP TABLE nexus.stale_marks;
DROP INDEX public.workflow_metrics_of_execution;
DROP INDEX public.workflow_metrics_recorded;
-- Rows whose execution is gone would break the foreign key that comes back.
DELETE FROM public.workflow_metrics m
 WHERE NOT EXISTS (SELECT FROM public.workflow_executions e WHERE e.id = m.execution_id);
ALTER TABLE public.workflow_metrics ADD CONSTRAINT workflow_metrics_execution_id_fkey
    FOREIGN KEY (execution_id) REFERENCES public.workflow_executions (id);
DROP TABLE public.hourly_workflow_metrics;
DROP TABLE public.hourly_signal_aggregates;
DROP FUNCTION nexus.json_number(jsonb);
DROP FUNCTION nexus.hour_of(timestamptz);
DROP INDEX public.workflow_executions_created;
CREATE INDEX workflow_executions_created
    ON public.workflow_executions USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);
DROP INDEX public.workflow_executions_event_time;
