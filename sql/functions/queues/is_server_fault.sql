-- Whether an error concerns the server and not a message: connection, transaction state, serialization and deadlock,
-- resources, object state, operator intervention, system, internal. Such an error settles nothing: the lease brings the
-- messages back.
CREATE OR REPLACE FUNCTION nexus.is_server_fault(error_code text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(error_code, 2) IN ('08', '25', '40', '53', '55', '57', '58', 'XX')
$$;
