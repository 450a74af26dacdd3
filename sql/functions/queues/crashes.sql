-- How often a message was claimed and not settled since: its worker died or lost the lease. Not counted are the present
-- claim and those up to the last clean failure. A header beyond read_ct was written by somebody else.
CREATE OR REPLACE FUNCTION nexus.crashes(read_ct integer, headers jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT read_ct - 1 - CASE WHEN nexus.header_count(headers, 'nexus_settled_reads') <= read_ct
                              THEN nexus.header_count(headers, 'nexus_settled_reads') ELSE 0 END
$$;
