-- TRUNCATE of the executions: every hour that has rows is stale.
CREATE OR REPLACE FUNCTION nexus.mark_all_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t nexus.hourly_tables;
BEGIN
    FOR t IN SELECT * FROM nexus.hourly_tables LOOP
        EXECUTE format('INSERT INTO nexus.stale_marks (asset, start) SELECT DISTINCT %L, nexus.hour_of(r.%I) FROM public.%I r',
                       t.name, t.hour_column, t.name);
    END LOOP;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER workflow_executions_truncated AFTER TRUNCATE ON public.workflow_executions
    FOR EACH STATEMENT EXECUTE FUNCTION nexus.mark_all_hours();
