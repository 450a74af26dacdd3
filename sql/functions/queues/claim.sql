-- Leases up to `quantity` messages for `lease_seconds`; no row where none waits. Commit at once: only then does the count
-- of claims survive a crash of the worker.
CREATE OR REPLACE FUNCTION nexus.claim(queue text, quantity integer, lease_seconds integer)
RETURNS TABLE (
    msg_ids bigint[], read_cts integer[], suspect boolean, claimed_at timestamptz
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT c.* FROM nexus.%I($1, $2) AS c WHERE c.msg_ids IS NOT NULL',
        'claim_' || nexus.checked_queue(queue)) USING quantity, lease_seconds;
END $$;
