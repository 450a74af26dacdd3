"""pgmq: installed once, recorded, updated with its queues as they are, and left alone where it is not ours."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from pgmq.install import get_embedded_install_sql, get_embedded_sql_version
from pydantic import SecretStr

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import migrate, migration_names, update_pgmq
from nexus_pipeline.database.pgmq import Pgmq, ensure_pgmq
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.local.doctor import examine
from nexus_pipeline.queues.leases import RetryPolicy, settle
from nexus_pipeline.settings import Settings
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
        connection.execute("INSERT INTO nexus.pgmq_installs (version, method) VALUES ('1.5.0', 'sql')")
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
    assert update_pgmq(empty_database) == "of unknown version"
    with connect(empty_database) as connection:
        assert recorded(connection) == []
        assert one(connection, "SELECT pgmq.theirs()") == 1
        assert one(connection, "SELECT count(*) FROM pgmq.q_their_queue") == 1
        ids = send_signals(connection, 3)
        drain(connection)
        assert_each_has_one_outcome(connection, ids)


@pytest.fixture
def older(empty_database: str) -> Iterator[Connection]:
    """A database whose pgmq came as SQL, from us, in an older version."""
    with connect(empty_database) as connection:
        # By our own script, also on a server that offers the extension.
        connection.execute("CREATE SCHEMA nexus")
        connection.execute(get_embedded_install_sql())
        migrate(empty_database)
        connection.execute("INSERT INTO nexus.pgmq_installs (version, method) VALUES ('1.5.0', 'sql')")
        yield connection


DEPENDENTS = [
    "CREATE FUNCTION public.next_results() RETURNS SETOF pgmq.message_record LANGUAGE sql"
    " AS $$SELECT * FROM pgmq.read('workflow_results', 30, 1)$$",
    "CREATE VIEW public.all_results AS SELECT * FROM pgmq.metrics('workflow_results')",
    "CREATE TABLE public.inbox (m pgmq.message_record)",
    "CREATE TABLE public.waiting (n bigint DEFAULT (pgmq.metrics('workflow_results')).queue_length)",
    "CREATE TABLE public.notes (a int); CREATE TRIGGER notes AFTER INSERT ON public.notes FOR EACH ROW"
    " EXECUTE FUNCTION pgmq.notify_queue_listeners()",
]


@pytest.mark.parametrize("statement", DEPENDENTS)
def test_an_update_that_would_take_what_a_user_built_is_refused_with_its_name(
    older: Connection, empty_database: str, statement: str
) -> None:
    older.execute(statement)
    before = contents(older), functions(older), recorded(older)
    with pytest.raises(UnavailableError, match=r"(next_results|all_results|inbox|waiting|notes).*nothing was changed"):
        update_pgmq(empty_database)
    assert (contents(older), functions(older), recorded(older)) == before


def test_an_update_keeps_privileges_and_the_notifications_of_queues(older: Connection, empty_database: str) -> None:
    older.execute("SELECT pgmq.enable_notify_insert('workflow_results', 250)")
    older.execute("REVOKE EXECUTE ON FUNCTION pgmq.purge_queue(text) FROM PUBLIC")
    older.execute("GRANT EXECUTE ON FUNCTION pgmq.purge_queue(text) TO pg_monitor")
    older.execute("GRANT SELECT ON pgmq.q_workflow_errors TO pg_monitor")
    kept = (
        "SELECT array_agg(t::text ORDER BY t::text) FROM ("
        "SELECT p.proname::text, p.proacl::text AS acl FROM pg_proc p WHERE p.pronamespace = 'pgmq'::regnamespace"
        " UNION ALL SELECT c.relname, a::text FROM pg_class c, unnest(c.relacl) AS a"
        " WHERE c.relnamespace = 'pgmq'::regnamespace AND c.relkind = 'r'"
        " UNION ALL SELECT 'trigger', pg_get_triggerdef(t.oid) FROM pg_trigger t"
        " WHERE NOT t.tgisinternal) AS t"
    )
    before = one(older, kept)
    assert any("notify_queue_listeners" in line for line in before)
    assert update_pgmq(empty_database) == get_embedded_sql_version()
    assert one(older, kept) == before


def test_an_update_brings_older_queues_into_shape(older: Connection, empty_database: str) -> None:
    older.execute("SELECT pgmq.create('mine')")
    older.execute("""SELECT pgmq.send('mine', '{"a": 1}')""")
    for kind in "qa":
        older.execute(f"ALTER TABLE pgmq.{kind}_mine DROP COLUMN last_read_at, DROP COLUMN headers")
    update_pgmq(empty_database)
    assert one(older, "SELECT count(*) FROM pgmq.read('mine', 0, 10)") == 1
    assert one(older, "SELECT pgmq.send('mine', '{}', '{\"h\": 1}'::jsonb)") == 2
    assert one(older, "SELECT pgmq.archive('mine', 1)") is True
    assert one(older, "SELECT count(*) FROM pgmq.pop('mine')") == 1


def test_a_pgmq_that_is_too_old_is_refused_before_anything_is_made(empty_database: str, settings: Settings) -> None:
    script = get_embedded_install_sql()
    with connect(empty_database) as connection:
        connection.execute(re.sub(r"(?m)^.*last_read_at.*\n", "", script))
        with pytest.raises(UnavailableError, match=r"pgmq of unknown version is too old, 1\.10 or newer is needed"):
            migrate(empty_database)
        assert one(connection, "SELECT to_regnamespace('nexus')") is None
    theirs = settings.model_copy(update={"database_url": SecretStr(empty_database)})
    [finding] = [each for each in examine(theirs) if each.check == "pgmq"]
    assert (finding.state, "too old" in finding.detail) == ("fail", True)


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
