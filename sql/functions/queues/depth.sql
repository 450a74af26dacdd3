-- The backlog of a queue, cheaply: the sensor reads it every few seconds. Both figures come from the vt index alone.
--   waiting       messages a claim would get now, counted up to `up_to`
--   oldest_wait_s seconds since the oldest of them could be claimed; null where none waits
CREATE OR REPLACE FUNCTION nexus.depth(queue text, up_to integer DEFAULT 1000000)
RETURNS TABLE (waiting bigint, oldest_wait_s double precision)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY EXECUTE format($q$
        SELECT (SELECT count(*) FROM (SELECT FROM pgmq.%1$I q WHERE q.vt <= $1 LIMIT $2) w),
               (SELECT extract(epoch FROM $1 - min(q.vt))::double precision FROM pgmq.%1$I q WHERE q.vt <= $1)
    $q$, 'q_' || nexus.checked_queue(queue)) USING moment, up_to;
END $$;
