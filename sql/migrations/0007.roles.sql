-- Roles for those who do one thing: send requests, read decisions, operate (retry, discard, rebuild, process), or decide as
-- a strategy. They cannot log in: GRANT nexus_sender TO somebody. Roles belong to the whole server, so they may be there
-- already; where this role may not make them (managed servers), everything works with the owner's role alone, and
-- `nexus doctor` prints the statements for an administrator.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['nexus_sender', 'nexus_reader', 'nexus_operator', 'nexus_strategy'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION
            -- The last is what two databases get that make it at the same moment.
            WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END $$;
