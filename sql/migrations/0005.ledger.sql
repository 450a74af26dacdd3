-- The ledger is counted once up to the seal of a queue (nexus.seal_ledger); nexus.ledger adds what came after.
CREATE TABLE nexus.ledger_seals (
    queue_name        text PRIMARY KEY,
    -- nexus.ledger_identity when it was sealed: a seal of other tables covers nothing.
    identity          text NOT NULL,
    -- When the queue was created. Executions of messages from before belong to an earlier queue of this name.
    queue_since       timestamptz NOT NULL,
    -- Every message up to this msg_id is counted below, except those in open_ids, which were in the queue.
    sealed_up_to      bigint NOT NULL DEFAULT 0,
    open_ids          bigint[] NOT NULL DEFAULT '{}',
    archived          bigint NOT NULL DEFAULT 0,
    completed         bigint NOT NULL DEFAULT 0,
    dead_lettered     bigint NOT NULL DEFAULT 0,
    lost              bigint NOT NULL DEFAULT 0,
    doubled           bigint NOT NULL DEFAULT 0,
    unarchived        bigint NOT NULL DEFAULT 0,
    -- The next msg_id to seal up to, and the transactions (virtual ids) that may still add a message below it.
    candidate_id      bigint NOT NULL DEFAULT 0,
    candidate_writers text[] NOT NULL DEFAULT '{}',
    sealed_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
