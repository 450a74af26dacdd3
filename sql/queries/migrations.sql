-- name: create_bookkeeping()#
-- The schema of everything that is not public, and the records of what was applied.
CREATE SCHEMA IF NOT EXISTS nexus;
CREATE TABLE IF NOT EXISTS nexus.migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
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
-- In the order of their numbers.
SELECT m.name FROM nexus.migrations m ORDER BY m.name;

-- name: record_migration(name)!
INSERT INTO nexus.migrations (name) VALUES (:name);

-- name: forget_migration(name)!
DELETE FROM nexus.migrations m WHERE m.name = :name;
