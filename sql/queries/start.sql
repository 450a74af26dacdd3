-- name: partitions_start()$
-- In seconds since 1970: readable whatever the DateStyle of the server.
SELECT extract(epoch FROM i.partitions_start)::float8 FROM nexus.installation i;
