-- The stale partitions of an asset from `since` (inclusive) to `before` (exclusive), oldest first. Jumps from one to the
-- next by index, however many marks each has. The parameters are used by number because `since` is also a column.
CREATE OR REPLACE FUNCTION nexus.stale_partitions(asset text, since timestamptz, before timestamptz) RETURNS SETOF timestamptz
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE found AS (
        (SELECT m.start FROM nexus.stale_marks m
          WHERE m.asset = $1 AND m.start >= $2 AND m.start < $3 ORDER BY m.start LIMIT 1)
        UNION ALL
        SELECT (SELECT m.start FROM nexus.stale_marks m
                 WHERE m.asset = $1 AND m.start > f.start AND m.start < $3 ORDER BY m.start LIMIT 1)
          FROM found f WHERE f.start IS NOT NULL
    )
    SELECT f.start FROM found f WHERE f.start IS NOT NULL
$$;
