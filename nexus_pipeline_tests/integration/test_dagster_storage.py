"""Dagster's storage: where it is, how few connections it opens, and that it survives a restart of the server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg
import psycopg
import psycopg2
import pytest
import sqlalchemy
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from nexus_pipeline.analytics.hours import DAY, HOUR, hour_of
from nexus_pipeline.analytics.partitions import hour_key, tags_of
from nexus_pipeline.dagster_instance.engine import shared_engine, sqlalchemy_url
from nexus_pipeline.dagster_instance.storage import NexusStorage
from nexus_pipeline.database.connection import Connection, dagster_conninfo
from nexus_pipeline.definitions import defs
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.commands import wait_until
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, forget_pools, instance
from nexus_pipeline_tests.support.queues import one
from nexus_pipeline_tests.support.servers import database_url, embedded_server, role_url, temporary_database

__all__ = ["dagster_database", "dagster_template", "instance"]


def sessions(connection: Connection) -> set[int]:
    """The process ids of the other sessions in a database; a closed one may stay visible for a moment."""
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ).fetchall()
    return {row[0] for row in rows}


def test_a_process_with_many_threads_and_instances_opens_at_most_five_connections(
    instance: dg.DagsterInstance, dagster_database: str
) -> None:
    # Dagster's web server asks for pools of its own; its code server creates an instance each second.
    instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3_600, max_overflow=20)
    open_now: set[object] = set()
    most = [0]

    def opened(connection: object, _record: object) -> None:
        open_now.add(connection)
        most[0] = max(most[0], len(open_now))

    def closed(connection: object, _record: object) -> None:
        open_now.discard(connection)

    def work(_: int) -> None:
        with dg.DagsterInstance.from_ref(instance.get_ref()) as another:
            for each in (instance, another):
                each.get_runs_count()
                each.all_instigator_state()
                each.get_latest_materialization_event(dg.AssetKey("workflow_executions"))

    # Of all pools of this process: the server would show a session that was closed for a moment longer.
    sqlalchemy.event.listen(sqlalchemy.Pool, "connect", opened)
    sqlalchemy.event.listen(sqlalchemy.Pool, "close", closed)
    try:
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(work, range(60)))
    finally:
        sqlalchemy.event.remove(sqlalchemy.Pool, "connect", opened)
        sqlalchemy.event.remove(sqlalchemy.Pool, "close", closed)
    assert 1 <= most[0] <= 5
    # One is kept open.
    with psycopg.connect(dagster_database, autocommit=True) as own:
        wait_until(lambda: len(sessions(own)) <= 1, 30)


def test_planned_events_of_a_hundred_hours_take_few_statements(
    instance: dg.DagsterInstance, dagster_database: str
) -> None:
    noon = hour_of(datetime.now(UTC)) - 10 * DAY
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = shared_engine(sqlalchemy_url(dagster_database))
    job = defs.resolve_job_def("hourly_aggregates_job")
    sqlalchemy.event.listen(engine, "before_cursor_execute", count)
    run = instance.create_run_for_job(job, tags=tags_of(hour_key(noon), hour_key(noon + 99 * HOUR)))
    sqlalchemy.event.remove(engine, "before_cursor_execute", count)
    planned = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert len(planned) == 200
    # Stock: three statements for each of the 200 events.
    assert 0 < len(statements) < 60, statements


def test_a_restart_of_the_server_goes_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded_server(durable=True) as (info, home):
        monkeypatch.setenv("NEXUS_DAGSTER_DATABASE_URL", info.url)
        storage = NexusStorage()
        assert storage.run_storage.get_runs_count() == 0
        embedded.stop(home)
        embedded.start(home)
        assert storage.run_storage.get_runs_count() == 0

        embedded.stop(home)
        back = threading.Timer(3, embedded.start, [home])
        began = time.monotonic()
        back.start()
        assert NexusStorage().run_storage.get_runs_count() == 0
        assert time.monotonic() - began > 2.5
        back.join()
        forget_pools()


def test_an_unreachable_server_fails_at_once_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_DAGSTER_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/dagster")
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"^no connection to PostgreSQL at 127\.0\.0\.1:1/dagster: ") as error:
        NexusStorage()
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 9  # it waits ten seconds only for a server that has answered before


def test_a_missing_database_is_created_next_to_that_of_the_messages(server_url: str, conninfo: str) -> None:
    settings = Settings(database_url=SecretStr(conninfo))
    name = f"{conninfo_to_dict(conninfo)['dbname']}_dagster"
    try:
        found = [dagster_conninfo(settings) for _ in range(2)]
        assert [conninfo_to_dict(each)["dbname"] for each in found] == [name, name]
        with psycopg.connect(found[0]) as connection:
            assert one(connection, "SHOW server_encoding") == "UTF8"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_ten_threads_can_create_the_missing_database_at_once(server_url: str, conninfo: str) -> None:
    settings = Settings(database_url=SecretStr(conninfo))
    name = f"{conninfo_to_dict(conninfo)['dbname']}_dagster"
    try:
        with ThreadPoolExecutor(10) as threads:
            found = {str(each) for each in threads.map(lambda _: dagster_conninfo(settings), range(10))}
        assert len(found) == 1
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_role_that_may_not_create_the_database_is_told_which_statement_to_run(server_url: str) -> None:
    role = f"plain_{uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(role)))
        try:
            with temporary_database(server_url, f"work_{role}", owner=role) as url:
                settings = Settings(database_url=SecretStr(role_url(url, role, "p")))
                with pytest.raises(UnavailableError) as error:
                    dagster_conninfo(settings)
                said = str(error.value)
                assert f'CREATE DATABASE "work_{role}_dagster" OWNER "{role}"' in said
                assert "NEXUS_DAGSTER_DATABASE_URL" in said
                assert "\n" not in said
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_the_database_named_by_the_variable_is_used(
    instance: dg.DagsterInstance, conninfo: str, dagster_database: str
) -> None:
    run = instance.create_run_for_job(defs.resolve_job_def("purge_queue_runs"))
    with psycopg.connect(dagster_database) as connection:
        assert one(connection, "SELECT run_id FROM runs") == run.run_id
    with psycopg.connect(conninfo) as connection:
        assert one(connection, "SELECT to_regclass('public.runs') IS NULL")


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        (
            "postgresql://me:p%40s%2Fs%3Aw%25%20%26%3F%23'@db.example:5433/my%20base?sslmode=require",
            {
                "user": "me", "password": "p@s/s:w% &?#'", "host": "db.example", "port": "5433", "dbname": "my base",
                "sslmode": "require",
            },
        ),
        (
            "postgresql://me@/base?host=%2Frun%2Fmy%20sockets&port=5432",
            {"user": "me", "host": "/run/my sockets", "port": "5432", "dbname": "base"},
        ),
        (
            "host=a,b port=5432,5433 dbname=base user=me target_session_attrs=read-write connect_timeout=3",
            {
                "host": "a,b", "port": "5432,5433", "dbname": "base", "user": "me",
                "target_session_attrs": "read-write", "connect_timeout": "3",
            },
        ),
        (
            "postgresql://me@h/base?options=-c%20search_path%3Dx&application_name=my%20app",
            {"user": "me", "host": "h", "dbname": "base", "options": "-c search_path=x", "application_name": "my app"},
        ),
    ],
)  # fmt: skip
def test_every_part_of_a_url_reaches_libpq_as_it_is(conninfo: str, expected: dict[str, str]) -> None:
    url = sqlalchemy.make_url(sqlalchemy_url(conninfo))
    assert url.drivername == "postgresql+psycopg2"
    _, options = sqlalchemy.create_engine(url).dialect.create_connect_args(url)
    found = {name: str(value) for name, value in options.items()}
    found["dbname"] = found.pop("database", found.get("dbname", ""))
    assert found == {"connect_timeout": "10", "client_encoding": "utf8", **expected}


def test_the_url_reaches_a_real_server_over_its_socket_or_port(dagster_database: str) -> None:
    odd = make_conninfo(dagster_database, application_name="odd 'name' %20&")
    engine = sqlalchemy.create_engine(sqlalchemy_url(odd))
    with engine.connect() as connection:
        assert isinstance(connection.connection.dbapi_connection, psycopg2.extensions.connection)
        assert connection.execute(sqlalchemy.text("SHOW application_name")).scalar() == "odd 'name' %20&"
    engine.dispose()


def test_a_password_with_special_characters_opens_the_storage(server_url: str) -> None:
    role, password = f"odd_{uuid4().hex[:8]}", "p@s/s:w% &?#'\"é"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
        try:
            with temporary_database(server_url, f"dagster_{role}", owner=role):
                url = make_conninfo(database_url(server_url, f"dagster_{role}"), user=role, password=password)
                engine = sqlalchemy.create_engine(sqlalchemy_url(url))
                with engine.connect() as session:
                    assert session.execute(sqlalchemy.text("SELECT current_user")).scalar() == role
                engine.dispose()
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
