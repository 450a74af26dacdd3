-- name: depth(queue, up_to)
SELECT d.* FROM nexus.depth(:queue, :up_to) AS d;

-- name: ledger(queue, recount)
SELECT l.* FROM nexus.ledger(:queue, :recount) AS l;

-- name: read_committed()!
-- At the start of a transaction, whatever the default of the database or the role.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: seal_ledger(queue, min_messages, recount)$
SELECT nexus.seal_ledger(:queue, :min_messages, :recount);

-- name: served_queues()
SELECT q.queue_name FROM nexus.queues q ORDER BY q.queue_name;
