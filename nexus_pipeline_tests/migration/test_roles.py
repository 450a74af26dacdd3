"""Who may migrate, and who may read or call what afterwards."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from pgmq.install import get_embedded_install_sql
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import migrate, migration_names, rollback, update_pgmq
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.executions import list_executions
from nexus_pipeline.ingress import sender
from nexus_pipeline.insights import queue_status
from nexus_pipeline.queues.dead_letters import redrive
from nexus_pipeline.queues.leases import Settlement
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import RejectedRequests
from nexus_pipeline_tests.support.queues import assert_each_has_one_outcome, drain, one, send, send_signals, works
from nexus_pipeline_tests.support.roles import Role, owned_database, role
from nexus_pipeline_tests.support.servers import database_url, embedded_server, role_url

__all__ = ["owned_database", "role"]


def test_an_owner_who_is_no_superuser_can_set_up_and_use_the_database(owned_database: str) -> None:
    assert migrate(owned_database).migrations == migration_names()
    works(owned_database)
    assert update_pgmq(owned_database)
    assert rollback(owned_database, "nothing") == migration_names()[::-1]


def test_a_role_that_may_create_no_roles_migrates_a_server_that_has_none_of_them() -> None:
    with embedded_server(durable=False) as (info, _):
        with connect(info.url) as admin:
            admin.execute("CREATE ROLE plain LOGIN NOCREATEROLE PASSWORD 'plain'")
            admin.execute("CREATE DATABASE work OWNER plain")
        url = database_url(info.url, "work")
        owner = role_url(url, "plain", "plain")
        assert migrate(owner).migrations == migration_names()
        works(owner)
        with connect(url) as admin:
            assert one(admin, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'nexus%%'") == 0


def test_a_role_that_may_not_set_up_the_database_is_told_what_to_grant(role: Role, empty_database: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        migrate(role.at(empty_database))
    said = str(caught.value)
    assert said.startswith(f"the role {role.name} may not set up ")
    assert f'GRANT CREATE ON SCHEMA public TO "{role.name}"' in said
    assert role.password not in said
    assert "\n" not in said
    # With one of the two grants it gets half-way; with both it goes on from there.
    database = conninfo_to_dict(empty_database)["dbname"]
    grants = [
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(str(database)), sql.Identifier(role.name)),
        sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role.name)),
    ]
    with connect(empty_database) as admin:
        admin.execute(grants[0])
    with pytest.raises(UnavailableError, match="may not set up"):
        migrate(role.at(empty_database))
    with connect(empty_database) as admin:
        admin.execute(grants[1])
    assert migrate(role.at(empty_database)).migrations[-1] == migration_names()[-1]
    works(role.at(empty_database))


DENIED = [
    "SELECT * FROM pgmq.q_workflow_main_queue",
    "SELECT * FROM pgmq.a_workflow_errors",
    "SELECT * FROM workflow_executions",
    "SELECT * FROM workflow_metrics",
    "SELECT * FROM trading_workflow_dashboard",
    "SELECT * FROM nexus.dead_letters",
    "SELECT * FROM nexus.idempotency_keys",
    "SELECT * FROM pgmq.read('workflow_main_queue', 1, 1)",
    "SELECT pgmq.send('workflow_main_queue', '{}')",
    "SELECT enhanced_trade_signal(25)",
    "SELECT process_trading_workflow()",
    "SELECT * FROM nexus.claim('workflow_main_queue', 1, 1)",
    """SELECT * FROM nexus.enqueue('workflow_main_queue', '{"{}"}')""",
    "SELECT * FROM nexus.redrive()",
    "SELECT * FROM nexus.discard()",
    "SELECT * FROM nexus.ledger('workflow_main_queue')",
    "SELECT nexus.seal_ledger('workflow_main_queue')",
]


@pytest.mark.parametrize("is_monitor", [False, True], ids=["plain", "monitoring"])
def test_a_role_without_grants_reads_no_payload_and_calls_nothing(
    role: Role, conninfo: str, connection: Connection, is_monitor: bool
) -> None:
    send_signals(connection, 3)
    connection.execute("SELECT nexus.serve_queue('mine')")
    if is_monitor:
        connection.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(role.name)))
    statements = [*DENIED, "SELECT * FROM pgmq.q_mine"]
    for _ in ("as migrated", "as updated"):
        with connect(role.at(conninfo)) as stranger:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    stranger.execute(statement)
            callable_ones = stranger.execute(
                "SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                " WHERE n.nspname IN ('public', 'nexus') AND has_schema_privilege(n.oid, 'USAGE')"
                "   AND has_function_privilege(p.oid, 'EXECUTE')"
            ).fetchall()
            assert callable_ones == []
        connection.execute("INSERT INTO nexus.pgmq_installs (version, method) VALUES ('1.0.0', 'sql')")
        update_pgmq(conninfo)


def denied(connection: Connection, *statements: str) -> None:
    for statement in statements:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


@pytest.mark.parametrize("queue", [MAIN_QUEUE, "mine"])
def test_a_sender_sends_to_served_queues_and_does_nothing_else(connection: Connection, queue: str) -> None:
    connection.execute("SELECT nexus.serve_queue('mine'), pgmq.create('strange')")
    connection.execute("SET ROLE nexus_sender")
    assert sender.send(connection, [{"rsi": 25, "event_id": "a"}], queue=queue).sent == 1
    with pytest.raises(RejectedRequests):
        sender.send(connection, [{"rsi": 250}], queue=queue)
    denied(
        connection,
        "SELECT * FROM workflow_executions",
        f"SELECT * FROM pgmq.a_{queue}",
        f"DELETE FROM pgmq.q_{queue}",
        "SELECT * FROM pgmq.q_strange",
        f"SELECT * FROM nexus.claim('{queue}', 1, 1)",
        "SELECT pgmq.send('workflow_results', '{}')",
        "SELECT pgmq.send('strange', '{}')",
    )


@pytest.mark.parametrize("queue", [MAIN_QUEUE, "mine"])
def test_a_reader_sees_what_is_going_on_and_changes_nothing(connection: Connection, queue: str) -> None:
    connection.execute("SELECT nexus.serve_queue('mine'), pgmq.create('strange')")
    send_signals(connection, 3, queue)
    drain(connection, queue=queue)
    connection.execute("SET ROLE nexus_reader")
    status = queue_status(connection, queue, datetime(2026, 1, 1, tzinfo=UTC), recount=True)
    assert (status.ledger.completed, status.ledger.adds_up, status.results_waiting) == (3, True, 3)
    assert len(list_executions(connection)) == 3
    denied(
        connection,
        "SELECT * FROM pgmq.q_strange",
        f"SELECT * FROM nexus.enqueue('{queue}', '{{}}')",
        "UPDATE workflow_executions SET status = 'error'",
        "SELECT nexus.discard()",
        "SELECT process_trading_workflow()",
    )


@pytest.mark.parametrize("queue", [MAIN_QUEUE, "mine"])
def test_an_operator_processes_and_redrives_but_changes_no_schema(connection: Connection, queue: str) -> None:
    connection.execute("SELECT nexus.serve_queue('mine'), pgmq.create('strange')")
    connection.execute("SET ROLE nexus_operator")
    ids = send(connection, [{"rsi": 25}, {"rsi": 250}], queue)
    assert drain(connection, queue=queue) == Settlement(1, 0, 1, 0)
    assert_each_has_one_outcome(connection, ids, queue)
    assert [each.original_queue for each in redrive(connection).done] == [queue]
    assert one(connection, "SELECT process_trading_workflow()")["error_count"] == (1 if queue == MAIN_QUEUE else 0)
    denied(
        connection,
        "SELECT * FROM pgmq.q_strange",
        "CREATE TABLE nexus.mine (id int)",
        "DROP TABLE workflow_executions",
        "SELECT nexus.serve_queue('another')",
    )


def test_a_pgmq_of_another_role_is_used_as_it_is(server_url: str, role: Role, owned_database: str) -> None:
    # As an extension that an administrator created: its schema and tables are not ours to grant.
    with psycopg.connect(
        database_url(server_url, conninfo_to_dict(owned_database)["dbname"]), autocommit=True
    ) as admin:
        admin.execute(get_embedded_install_sql())
        name = sql.Identifier(role.name)
        for grant in (
            "GRANT USAGE, CREATE ON SCHEMA pgmq TO {}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgmq TO {}",
        ):
            admin.execute(sql.SQL(grant).format(name))
    assert migrate(owned_database).migrations == migration_names()
    works(owned_database)
