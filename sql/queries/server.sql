-- name: server()
-- The server, role and database of the connection.
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
       current_database() AS database, current_user AS role, current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() AS in_recovery, current_setting('transaction_read_only') = 'on' AS read_only,
       CASE WHEN current_setting('transaction_read_only') = 'on'
            THEN (SELECT s.source FROM pg_settings s WHERE s.name = 'default_transaction_read_only') END AS read_only_source;
