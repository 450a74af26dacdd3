-- Each statement that changes executions leaves a mark for every hour that it touched, in every table that goes by such
-- hours. `changed` are the rows as they were, or as they are now.
CREATE OR REPLACE FUNCTION nexus.mark_stale_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO nexus.stale_marks (asset, start)
    SELECT t.name, h.hour
      FROM (SELECT DISTINCT 'event' AS basis, nexus.hour_of(c.event_time) AS hour FROM changed c
             UNION ALL
            SELECT DISTINCT 'processing', nexus.hour_of(c.created_at) FROM changed c) h
      JOIN nexus.hourly_tables t ON t.basis = h.basis
     WHERE h.hour IS NOT NULL;
    RETURN NULL;
END $$;

-- An update has two triggers: the hours that its rows left are stale, and those that they came to.
CREATE OR REPLACE TRIGGER workflow_executions_inserted AFTER INSERT ON public.workflow_executions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE OR REPLACE TRIGGER workflow_executions_updated_from AFTER UPDATE ON public.workflow_executions
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE OR REPLACE TRIGGER workflow_executions_updated_to AFTER UPDATE ON public.workflow_executions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
CREATE OR REPLACE TRIGGER workflow_executions_deleted AFTER DELETE ON public.workflow_executions
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_stale_hours();
