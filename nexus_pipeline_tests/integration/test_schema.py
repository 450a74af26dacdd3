"""The schema: made by one of many at once, taken back and made again, closed to all but its owner."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from nexus_pipeline.database.connection import (
    Connection,
    connect,
    dagster_conninfo,
    open_pool,
    server_conninfo,
)
from nexus_pipeline.database.migrations import Applied, migrate, migration_names, rollback, schema_state, update_pgmq
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.errors import NotFoundError, UnavailableError, UserError
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.queues import assert_each_has_one_outcome, balanced, drain, one, send_signals
from nexus_pipeline_tests.support.servers import role_url, temporary_database

GATE = 4711
TEN_THAT_MIGRATE_WHEN_THE_GATE_OPENS = """
import os, sys
import pgmq.install, psycopg, yoyo
from nexus_pipeline.database.migrations import migrate

def child():
    with psycopg.connect(sys.argv[1], autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock_shared(%s)", sys.argv[2:])
    os.write(1, f"{len(migrate(sys.argv[1]).migrations)} ".encode())

children = []
for _ in range(10):
    children.append(os.fork())
    if children[-1] == 0:
        try:
            child()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@dataclass(frozen=True)
class Role:
    """A role that may log in, and nothing else."""

    name: str
    password: str

    def at(self, url: str) -> str:
        return role_url(url, self.name, self.password)


@pytest.fixture
def role(server_url: str) -> Iterator[Role]:
    """Named before the databases that it has a part in: it is dropped after them."""
    made = Role(f"nexus_role_{uuid4().hex[:12]}", uuid4().hex)
    name = sql.Identifier(made.name)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(made.password)))
    yield made
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def owned_database(server_url: str, role: Role) -> Iterator[str]:
    """The URL of an empty database for its owner, who is no superuser."""
    with temporary_database(server_url, f"nexus_owned_{uuid4().hex[:12]}", owner=role.name) as url:
        yield role.at(url)


def works(url: str) -> None:
    """A message goes all the way."""
    with connect(url) as connection:
        ids = send_signals(connection, 3)
        assert drain(connection).completed == 3
        assert_each_has_one_outcome(connection, ids)
        balanced(connection)


def test_ten_processes_that_migrate_at_once_all_succeed_and_each_migration_is_applied_once(empty_database: str) -> None:
    command = [sys.executable, "-c", TEN_THAT_MIGRATE_WHEN_THE_GATE_OPENS, empty_database, str(GATE)]
    with psycopg.connect(empty_database, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if one(gate, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 10:
                break
            time.sleep(0.02)
    # The connection is closed, the gate is open.
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert sorted(map(int, out.split())) == [0] * 9 + [len(migration_names())]
    with connect(empty_database) as connection:
        assert schema_state(connection).applied == migration_names()
        assert one(connection, "SELECT count(*) FROM nexus.pgmq_installs") == 1
    works(empty_database)


def test_migrating_again_does_nothing(conninfo: str, connection: Connection) -> None:
    assert migrate(conninfo) == Applied([], [])
    state = schema_state(connection)
    assert (state.applied, state.pending, state.unknown) == (migration_names(), [], [])


def test_the_schema_goes_forward_and_back_and_forward_again(empty_database: str) -> None:
    names = migration_names()
    assert migrate(empty_database).migrations == names
    works(empty_database)
    assert rollback(empty_database, "nothing") == names[::-1]
    with connect(empty_database) as connection:
        assert schema_state(connection).applied == []
        left = connection.execute(
            "SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('public', 'nexus') AND c.relkind IN ('r', 'v')"
            "   AND c.relname NOT LIKE '%%yoyo%%' AND c.relname NOT IN ('pgmq_installs', 'function_files')"
            " UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p"
            " WHERE p.pronamespace IN ('public'::regnamespace, 'nexus'::regnamespace)"
            " UNION ALL SELECT queue_name FROM pgmq.meta"
        ).fetchall()
        assert left == []
    assert migrate(empty_database).migrations == names
    works(empty_database)


@pytest.mark.parametrize("down_to", migration_names())
def test_each_migration_can_be_taken_back_alone_and_applied_again(conninfo: str, down_to: str) -> None:
    later = [name for name in migration_names() if name > down_to]
    assert rollback(conninfo, down_to) == later[::-1]
    assert migrate(conninfo).migrations == later
    works(conninfo)


def test_taking_back_to_a_migration_that_does_not_exist_is_one_clear_line(conninfo: str) -> None:
    with pytest.raises(NotFoundError, match=r"^no migration is named 9999; there are: 0001.queues, 0002") as caught:
        rollback(conninfo, "9999")
    assert "\n" not in str(caught.value)


def test_a_database_that_is_newer_than_the_code_is_refused_with_one_clear_line(
    conninfo: str, connection: Connection
) -> None:
    connection.execute(
        "INSERT INTO nexus._yoyo_migration (migration_hash, migration_id, applied_at_utc)"
        " VALUES ('f00', '9999.from-the-future', now())"
    )
    with pytest.raises(UnavailableError) as caught:
        migrate(conninfo)
    assert str(caught.value) == (
        "the database is newer than this code: it has migration 9999.from-the-future; update nexus-pipeline"
    )
    assert schema_state(connection).unknown == ["9999.from-the-future"]


def test_a_database_that_lacks_the_last_migrations_is_brought_up_to_date_and_keeps_its_messages(
    conninfo: str, connection: Connection
) -> None:
    names = migration_names()
    rollback(conninfo, names[-2])
    ids = send_signals(connection, 5)
    assert migrate(conninfo).migrations == names[-1:]
    drain(connection)
    assert_each_has_one_outcome(connection, ids)


# Roles


def test_an_owner_who_is_no_superuser_can_set_up_and_use_the_database(owned_database: str) -> None:
    assert migrate(owned_database).migrations == migration_names()
    works(owned_database)
    assert update_pgmq(owned_database)
    assert rollback(owned_database, "nothing") == migration_names()[::-1]


def test_a_role_that_may_not_set_up_the_database_is_told_what_to_grant(role: Role, empty_database: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        migrate(role.at(empty_database))
    said = str(caught.value)
    assert said.startswith(f"the role {role.name} may not set up ")
    assert f"GRANT CREATE ON SCHEMA public TO {role.name}" in said
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
    "SELECT * FROM nexus.act_on_dead_letters('discard')",
    "SELECT * FROM nexus.ledger('workflow_main_queue')",
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


# Where the database is


def test_a_server_that_does_not_answer_is_one_line_without_secrets() -> None:
    with pytest.raises(UnavailableError) as caught:
        connect("postgresql://somebody:hidden-password@127.0.0.1:1/some_database")
    said = str(caught.value)
    assert said.startswith("no connection to PostgreSQL at 127.0.0.1:1/some_database: ")
    assert "hidden-password" not in said
    assert "\n" not in said


def test_a_url_that_is_none_is_refused_by_the_name_of_its_variable_and_never_repeated() -> None:
    broken = SecretStr("postgres hidden-password")
    for settings, name in (
        (Settings(database_url=broken), "NEXUS_DATABASE_URL"),
        (Settings(dagster_database_url=broken), "NEXUS_DAGSTER_DATABASE_URL"),
    ):
        with pytest.raises(UserError, match=f"^{name}: is no libpq URL") as caught:
            (server_conninfo if name == "NEXUS_DATABASE_URL" else dagster_conninfo)(settings)
        assert "hidden-password" not in str(caught.value)


def test_a_ready_database_is_migrated(empty_database: str) -> None:
    url = ready_database(Settings(database_url=SecretStr(empty_database)))
    works(url)


def test_dagsters_database_is_made_beside_ours_once(server_url: str, conninfo: str) -> None:
    settings = Settings(database_url=SecretStr(conninfo))
    name = str(conninfo_to_dict(conninfo)["dbname"]) + "_dagster"
    try:
        for _ in range(2):
            with connect(dagster_conninfo(settings)) as connection:
                assert connection.info.dbname == name
                assert one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_role_that_may_make_no_database_for_dagster_is_told_what_to_do(role: Role, owned_database: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        dagster_conninfo(Settings(database_url=SecretStr(owned_database)))
    said = str(caught.value)
    assert "run CREATE DATABASE" in said
    assert "or set NEXUS_DAGSTER_DATABASE_URL" in said
    assert role.password not in said
    assert "\n" not in said


def test_a_pool_lends_no_more_connections_than_its_size_and_none_that_are_dead(
    conninfo: str, connection: Connection
) -> None:
    import psycopg_pool

    with open_pool(conninfo, 2) as pool:
        with pool.connection() as first, pool.connection() as second:
            assert first.autocommit
            pids = [borrowed.info.backend_pid for borrowed in (first, second)]
            with pytest.raises(psycopg_pool.PoolTimeout):
                pool.getconn(timeout=0.2)
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        with pool.connection() as again:
            assert one(again, "SELECT 1") == 1
