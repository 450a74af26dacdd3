-- Each statement that changes executions leaves a mark for every hour that it touched.
CREATE OR REPLACE FUNCTION nexus.mark_stale_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO nexus.stale_marks (asset, start)
        SELECT 'hourly_signal_aggregates', t.hour
          FROM (SELECT DISTINCT nexus.hour_of(n.event_time) AS hour
                  FROM after_rows n) t
         WHERE t.hour IS NOT NULL
         UNION ALL
        SELECT a.asset, t.hour
          FROM (SELECT DISTINCT nexus.hour_of(n.created_at) AS hour FROM after_rows n) t
         CROSS JOIN (VALUES ('hourly_workflow_metrics'), ('workflow_metrics')) a (asset)
         WHERE t.hour IS NOT NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO nexus.stale_marks (asset, start)
        SELECT 'hourly_signal_aggregates', t.hour
          FROM (SELECT DISTINCT nexus.hour_of(o.event_time) AS hour
                  FROM before_rows o) t
         WHERE t.hour IS NOT NULL
         UNION ALL
        SELECT a.asset, t.hour
          FROM (SELECT DISTINCT nexus.hour_of(o.created_at) AS hour FROM before_rows o) t
         CROSS JOIN (VALUES ('hourly_workflow_metrics'), ('workflow_metrics')) a (asset)
         WHERE t.hour IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER workflow_executions_inserted AFTER INSERT ON public.workflow_executions
    REFERENCING NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE OR REPLACE TRIGGER workflow_executions_updated AFTER UPDATE ON public.workflow_executions
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE OR REPLACE TRIGGER workflow_executions_deleted AFTER DELETE ON public.workflow_executions
    REFERENCING OLD TABLE AS before_rows FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
