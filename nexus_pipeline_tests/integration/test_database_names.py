"""Any name that CREATE DATABASE accepts works, in a percent-encoded URL and in a keyword conninfo."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from nexus_pipeline.dagster_instance.engine import shared_engine, sqlalchemy_url
from nexus_pipeline.database.connection import dagster_conninfo, quoted
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.dagster import forget_pools
from nexus_pipeline_tests.support.queues import works
from nexus_pipeline_tests.support.servers import temporary_database

NAMES = ["trading prod", "börse", "a%b", "a#b?c", "a&schema=public", "a=b c='d'", 'a"b\\c', "Trading", "a/b", "日" * 15]


@pytest.mark.parametrize("form", ["URL", "conninfo"])
@pytest.mark.parametrize("name", NAMES)
def test_a_database_of_any_name_is_migrated_and_works_and_dagsters_is_made_beside_it(
    name: str, form: str, server_url: str
) -> None:
    unique = f"{name}{uuid4().hex[:8]}"
    with temporary_database(server_url, unique) as url:
        named = url if form == "URL" else make_conninfo(**conninfo_to_dict(url))
        settings = Settings(database_url=SecretStr(named))
        works(ready_database(settings))
        beside = dagster_conninfo(settings)
        try:
            made = str(conninfo_to_dict(beside)["dbname"])
            assert made.endswith("_dagster")
            with shared_engine(sqlalchemy_url(beside)).connect() as connection:
                assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == made
        finally:
            forget_pools()
            with psycopg.connect(server_url, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(made)))


@pytest.mark.parametrize("name", [*NAMES, "nexus", "app-user", "select", "1st", "user@host"])
def test_a_name_in_a_remedy_can_be_pasted(name: str, connection: psycopg.Connection) -> None:
    connection.execute(f"CREATE TABLE {quoted(name)} ()")
    assert connection.execute("SELECT FROM pg_class WHERE relname = %s", (name,)).fetchone() is not None
