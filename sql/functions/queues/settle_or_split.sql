-- Settles a batch. When its statement fails, the messages are settled one by one, and the one that fails again is
-- recorded as a failure: a poison message harms no other. A fault of the server is raised instead. OTHERS leaves out
-- assert_failure, which a trigger of a user may raise.
CREATE OR REPLACE FUNCTION nexus.settle_or_split(
    queue text, msg_ids bigint[], read_cts integer[], claimed_at timestamptz, decisions nexus.decision[],
    max_attempts integer, retry_base_seconds double precision, retry_max_seconds double precision, locked boolean,
    OUT completed integer, OUT retried integer, OUT dead_lettered integer, OUT fenced integer
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    call    text := format('SELECT * FROM nexus.%I($1, $2, $3, $4, $5, $6, $7, $8)',
                           'settle_' || nexus.checked_queue(queue));
    settled record;
    request record;
    failure nexus.decision;
BEGIN
    completed := 0; retried := 0; dead_lettered := 0;
    BEGIN
        EXECUTE call INTO settled
          USING msg_ids, read_cts, claimed_at, decisions, max_attempts, retry_base_seconds, retry_max_seconds, locked;
        completed := settled.completed; retried := settled.retried; dead_lettered := settled.dead_lettered;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
        IF nexus.is_server_fault(SQLSTATE) THEN
            RAISE;
        END IF;
        FOR i IN 1 .. cardinality(msg_ids) LOOP
            BEGIN
                EXECUTE call INTO settled
                  USING msg_ids[i : i], read_cts[i : i], claimed_at, decisions[i : i],
                        max_attempts, retry_base_seconds, retry_max_seconds, locked;
            EXCEPTION WHEN OTHERS OR assert_failure THEN
                IF nexus.is_server_fault(SQLSTATE) THEN
                    RAISE;
                END IF;
                EXECUTE format('SELECT p.symbol, p.occurred_at FROM pgmq.%I q, nexus.parse_request(q.message) p'
                               ' WHERE q.msg_id = $1', 'q_' || queue) INTO request USING msg_ids[i];
                failure := ROW(NULL, NULL, request.symbol, request.occurred_at,
                               'evaluation_error', SQLSTATE, left(SQLERRM, 2000), NULL);
                EXECUTE call INTO settled
                  USING msg_ids[i : i], read_cts[i : i], claimed_at, ARRAY[failure],
                        max_attempts, retry_base_seconds, retry_max_seconds, locked;
            END;
            completed := completed + settled.completed;
            retried := retried + settled.retried;
            dead_lettered := dead_lettered + settled.dead_lettered;
        END LOOP;
    END;
    fenced := cardinality(msg_ids) - completed - retried - dead_lettered;
END $$;
