"""Migrating: by one of many at once, back and forward again, and never by a version that does not know the schema."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import Applied, migrate, migration_names, rollback, schema_state
from nexus_pipeline.errors import NotFoundError, UnavailableError
from nexus_pipeline_tests.support.commands import PROJECT, wait_until
from nexus_pipeline_tests.support.queues import assert_each_has_one_outcome, drain, one, send_signals, works
from nexus_pipeline_tests.support.schema import catalog_of

GATE = 4711
TEN_THAT_MIGRATE_WHEN_THE_GATE_OPENS = """
import os, sys
import pgmq.install, psycopg
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


def test_ten_processes_that_migrate_at_once_all_succeed_and_each_file_is_applied_once(empty_database: str) -> None:
    command = [sys.executable, "-c", TEN_THAT_MIGRATE_WHEN_THE_GATE_OPENS, empty_database, str(GATE)]
    with psycopg.connect(empty_database, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        wait_until(lambda: one(gate, waiting) == 10 or process.poll() is not None, 60)
    # The connection is closed, the gate is open.
    out, err = process.communicate(timeout=400)
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


def test_taken_back_to_nothing_no_table_function_or_queue_of_ours_is_left(conninfo: str) -> None:
    assert rollback(conninfo, "nothing") == migration_names()[::-1]
    with connect(conninfo) as connection:
        assert schema_state(connection).applied == []
        left = connection.execute(
            "SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('public', 'nexus') AND c.relkind IN ('r', 'p', 'v')"
            "   AND c.relname NOT IN ('migrations', 'pgmq_installs', 'function_files')"
            " UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p"
            " WHERE p.pronamespace IN ('public'::regnamespace, 'nexus'::regnamespace)"
            " UNION ALL SELECT queue_name FROM pgmq.meta"
        ).fetchall()
        assert left == []


@pytest.mark.parametrize("down_to", [*migration_names(), "nothing"])
def test_taken_back_to_any_migration_and_applied_again_the_schema_is_the_same(conninfo: str, down_to: str) -> None:
    before = catalog_of(conninfo)
    later = [name for name in migration_names() if down_to == "nothing" or name > down_to]
    assert rollback(conninfo, down_to) == later[::-1]
    assert migrate(conninfo).migrations == later
    assert catalog_of(conninfo) == before
    works(conninfo)


def test_taking_back_to_a_migration_that_does_not_exist_is_one_clear_line(conninfo: str) -> None:
    with pytest.raises(NotFoundError, match=r"^no migration is named 9999; there are: 0001.queues, 0002") as caught:
        rollback(conninfo, "9999")
    assert "\n" not in str(caught.value)


def test_a_database_that_is_newer_than_the_code_is_refused_with_one_clear_line(
    conninfo: str, connection: Connection
) -> None:
    connection.execute("INSERT INTO nexus.migrations (name) VALUES ('9999.from-the-future')")
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
