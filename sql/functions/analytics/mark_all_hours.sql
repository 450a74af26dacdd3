-- TRUNCATE of the executions: every hour that has rows is stale.
CREATE OR REPLACE FUNCTION nexus.mark_all_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO nexus.stale_marks (asset, start)
    SELECT DISTINCT 'hourly_signal_aggregates', a.hour FROM public.hourly_signal_aggregates a
     UNION ALL
    SELECT 'hourly_workflow_metrics', m.hour FROM public.hourly_workflow_metrics m
     UNION ALL
    SELECT DISTINCT 'workflow_metrics', nexus.hour_of(w.recorded_at) FROM public.workflow_metrics w;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER workflow_executions_truncated AFTER TRUNCATE ON public.workflow_executions
    FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_all_hours();
