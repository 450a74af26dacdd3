-- name: create_bookkeeping()#
-- The schema of everything that is not public, and the records of pgmq and of the function files that were applied.
CREATE SCHEMA IF NOT EXISTS nexus;
CREATE TABLE IF NOT EXISTS nexus.pgmq_installs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version      text NOT NULL,
    method       text NOT NULL CHECK (method IN ('extension', 'sql')),
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS nexus.function_files (
    file       text PRIMARY KEY,
    hash       text NOT NULL,
    functions  text[] NOT NULL,
    version    text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: applied_migrations()
-- In the order of their numbers. yoyo's record.
SELECT m.migration_id FROM nexus._yoyo_migration m ORDER BY m.migration_id;
