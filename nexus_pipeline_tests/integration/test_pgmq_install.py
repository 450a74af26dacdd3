"""pgmq: installed once, recorded, updated with its queues as they are, and left alone where it is not ours."""

from __future__ import annotations

from pgmq.install import get_embedded_install_sql, get_embedded_sql_version

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import migrate, migration_names, update_pgmq
from nexus_pipeline.database.pgmq import Pgmq, ensure_pgmq
from nexus_pipeline.queues.leases import RetryPolicy, settle
from nexus_pipeline_tests.support.queues import (
    assert_each_has_one_outcome,
    balanced,
    drain,
    must_claim,
    one,
    raising_strategy,
    send,
    send_signals,
)

TABLES = [
    f"pgmq.{kind}_{queue}" for queue in ("workflow_main_queue", "workflow_results", "workflow_errors") for kind in "qa"
]


def recorded(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute("SELECT version, method FROM nexus.pgmq_installs ORDER BY id").fetchall()
    return [(row[0], row[1]) for row in rows]


def contents(connection: Connection) -> dict[str, object]:
    """Every row of every queue and archive, and what pgmq knows of its queues."""
    tables = [*TABLES, "pgmq.meta"]
    return {
        table: connection.execute(f"SELECT to_jsonb(t) FROM {table} t ORDER BY to_jsonb(t)::text").fetchall()
        for table in tables
    }


def functions(connection: Connection) -> set[str]:
    rows = connection.execute(
        "SELECT p.oid::regprocedure::text || pg_get_function_result(p.oid) FROM pg_proc p"
        " WHERE p.pronamespace = 'pgmq'::regnamespace"
    )
    return {row[0] for row in rows}


def test_the_version_and_the_way_it_was_installed_are_recorded(connection: Connection) -> None:
    [(version, method)] = recorded(connection)
    if one(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'pgmq'"):
        assert method == "extension"
    else:
        assert (version, method) == (get_embedded_sql_version(), "sql")


def test_a_pgmq_that_is_current_is_left_as_it_is(conninfo: str, connection: Connection) -> None:
    before = (
        recorded(connection),
        one(connection, "SELECT 'pgmq.read(text, integer, integer, jsonb)'::regprocedure::oid"),
    )
    assert update_pgmq(conninfo) == before[0][0][0]
    after = (
        recorded(connection),
        one(connection, "SELECT 'pgmq.read(text, integer, integer, jsonb)'::regprocedure::oid"),
    )
    assert after == before


def test_an_update_keeps_every_message_in_every_state_and_the_workers_go_on(empty_database: str) -> None:
    with connect(empty_database) as connection:
        # By our own script, also on a server that offers the extension.
        connection.execute("CREATE SCHEMA nexus")
        connection.execute(get_embedded_install_sql())
    migrate(empty_database)
    with connect(empty_database) as connection:
        raising_strategy(connection)
        ids = send(connection, [{"rsi": 25}, {"rsi": 101}, {"rsi": 25, "strategy": "raising"}])
        slow = RetryPolicy(max_attempts=3, base_seconds=1000, max_seconds=1000)
        assert settle(connection, must_claim(connection), slow).retried == 1
        ids += send_signals(connection, 10)
        lease = must_claim(connection, 4)
        whole = functions(connection)

        # An older pgmq: it lacks a function and has one that is gone since.
        connection.execute("UPDATE nexus.pgmq_installs SET version = '1.5.0', method = 'sql'")
        connection.execute("DROP FUNCTION pgmq.metrics_all()")
        connection.execute("CREATE FUNCTION pgmq.long_gone() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        before = contents(connection)
        assert update_pgmq(empty_database) == get_embedded_sql_version()
        assert contents(connection) == before
        assert functions(connection) == whole
        assert recorded(connection) == [("1.5.0", "sql"), (get_embedded_sql_version(), "sql")]

        # The lease from before still holds, and everything else goes on.
        assert settle(connection, lease, slow).completed == 4
        drain(connection)
        assert_each_has_one_outcome(connection, ids)
        assert balanced(connection).sent == len(ids)


def test_an_update_that_fails_changes_nothing(conninfo: str, connection: Connection) -> None:
    send_signals(connection, 3)
    before = contents(connection), functions(connection)
    connection.execute("UPDATE nexus.pgmq_installs SET version = '1.5.0', method = 'sql'")
    connection.execute("BEGIN")
    ensure_pgmq(connection)
    connection.execute("ROLLBACK")
    assert (contents(connection), functions(connection)) == before
    assert recorded(connection) == [("1.5.0", "sql")]
    assert update_pgmq(conninfo)


def test_a_pgmq_that_somebody_else_installed_is_used_as_it_is_with_its_queues(empty_database: str) -> None:
    with connect(empty_database) as connection:
        connection.execute(get_embedded_install_sql())
        connection.execute("SELECT pgmq.create('their_queue')")
        connection.execute("CREATE FUNCTION pgmq.theirs() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        connection.execute("""SELECT pgmq.send('their_queue', '{"a": 1}')""")
    assert migrate(empty_database).migrations == migration_names()
    update_pgmq(empty_database)
    with connect(empty_database) as connection:
        assert one(connection, "SELECT pgmq.theirs()") == 1
        assert one(connection, "SELECT count(*) FROM pgmq.q_their_queue") == 1
        ids = send_signals(connection, 3)
        drain(connection)
        assert_each_has_one_outcome(connection, ids)


def test_ensuring_twice_in_one_transaction_installs_once(empty_database: str) -> None:
    with connect(empty_database) as connection:
        connection.execute(
            "CREATE SCHEMA nexus; CREATE TABLE nexus.pgmq_installs (id bigint GENERATED ALWAYS AS IDENTITY,"
            " version text, method text, installed_at timestamptz DEFAULT clock_timestamp())"
        )
        with connection.transaction():
            first = ensure_pgmq(connection)
            assert ensure_pgmq(connection) == first
        assert isinstance(first, Pgmq)
        assert recorded(connection) == [(first.version, first.method)]
