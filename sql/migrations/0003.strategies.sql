-- Strategies: SQL functions (request jsonb, decided_at timestamptz) returns jsonb that turn a request into a decision.
-- A version is immutable and stays callable; a request that names no version is decided by the active one.
CREATE TABLE nexus.strategies (
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    version         varchar(10) NOT NULL CHECK (length(version) BETWEEN 1 AND 10),
    -- As names: pg_upgrade refuses columns of type regprocedure, and the text of a regprocedure depends on search_path.
    function_schema text NOT NULL,
    function_name   text NOT NULL,
    active          boolean NOT NULL DEFAULT false, -- decides requests that name no version
    registered_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX strategies_one_active_version ON nexus.strategies (name) WHERE active;
INSERT INTO nexus.strategies (name, version, function_schema, function_name, active)
VALUES ('enhanced_rsi', '1.0', 'nexus', 'enhanced_rsi', true);

-- What the evaluation of one request came to: an output, or an error with its class, SQLSTATE and text.
CREATE TYPE nexus.decision AS (
    output        jsonb,
    version       text,        -- of the strategy
    symbol        text,
    occurred_at   timestamptz,
    error_class   text,        -- invalid_input, unknown_strategy or strategy_error; null where there is an output
    error_code    text,        -- SQLSTATE
    error_message text,
    field         text         -- of the request, for invalid_input
);
