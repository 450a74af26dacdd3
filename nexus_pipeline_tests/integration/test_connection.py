"""Where the database is, how it is reached, and what is said where it is not."""

from __future__ import annotations

import psycopg
import psycopg_pool
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from nexus_pipeline.database.connection import Connection, connect, dagster_conninfo, open_pool, server_conninfo
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.errors import UnavailableError, UserError
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.queues import one, works
from nexus_pipeline_tests.support.roles import Role, owned_database, role

__all__ = ["owned_database", "role"]


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
    with open_pool(conninfo, 2) as pool:
        with pool.connection() as first, pool.connection() as second:
            assert first.autocommit
            pids = [borrowed.info.backend_pid for borrowed in (first, second)]
            with pytest.raises(psycopg_pool.PoolTimeout):
                pool.getconn(timeout=0.2)
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s, 60000)", (pid,))
        with pool.connection() as again:
            assert one(again, "SELECT 1") == 1
