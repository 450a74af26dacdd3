-- name: try_lock_rebuild(asset)$
-- As lock_rebuild, without waiting: whether the lock was free.
SELECT pg_try_advisory_xact_lock(hashtext('nexus.rebuild'), hashtext(:asset));

-- name: compact_marks(asset)!
-- One mark is enough for a partition that is not rebuilt yet: the open hour, hours to come, hours before the first. Needs
-- the lock of lock_rebuild: without it, the mark that is kept could be one that a rebuild is just taking.
DELETE FROM nexus.stale_marks m
 USING (SELECT k.start, min(k.ctid) AS kept
          FROM nexus.stale_marks k
         WHERE k.asset = :asset GROUP BY k.start HAVING count(*) > 1) d
 WHERE m.asset = :asset AND m.start = d.start AND m.ctid <> d.kept;

-- name: stale_partitions(asset, since, before)
SELECT p AS start FROM nexus.stale_partitions(:asset, :since, :before) p;

-- name: mark_closed_hours()$
SELECT nexus.mark_closed_hours() AS hours;
