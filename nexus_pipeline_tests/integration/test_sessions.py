"""Every session is set to what the product relies on, whatever server, database, role and environment say."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import psycopg2
import pytest
import sqlalchemy
from psycopg import sql

from nexus_pipeline.dagster_instance.engine import shared_engine, sqlalchemy_url
from nexus_pipeline.database.connection import Connection, connect, open_pool
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.dagster import forget_pools
from nexus_pipeline_tests.support.queues import balanced, drain, one, put, send
from nexus_pipeline_tests.support.servers import database_url

HOSTILE = {
    "TimeZone": "America/New_York",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "search_path": "",
    "lock_timeout": "1ms",
    "idle_session_timeout": "700ms",
    "idle_in_transaction_session_timeout": "500ms",
}
EXPECTED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "transaction_isolation": "read committed",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
Show = Callable[[str], str]


def set_for(connection: Connection, target: str, settings: dict[str, str] = HOSTILE) -> None:
    """Set defaults of the test's database, or of its role in that database."""
    database = sql.Identifier(connection.info.dbname)
    where = sql.SQL("DATABASE {}").format(database)
    if target == "role":
        where = sql.SQL("ROLE CURRENT_USER IN DATABASE {}").format(database)
    for name, value in settings.items():
        # With '' the search path is empty: set_config cannot write defaults.
        statement = sql.SQL("ALTER {} SET {} = {}").format(where, sql.Identifier(name.lower()), sql.Literal(value))
        connection.execute(statement)


def make_hostile(target: str, conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if target == "environment":
        monkeypatch.setenv("PGTZ", HOSTILE["TimeZone"])
        monkeypatch.setenv("PGDATESTYLE", HOSTILE["DateStyle"])
        monkeypatch.setenv("PGCLIENTENCODING", HOSTILE["client_encoding"])
        others = {
            name: value for name, value in HOSTILE.items() if name not in ("TimeZone", "DateStyle", "client_encoding")
        }
        monkeypatch.setenv(
            "PGOPTIONS", " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in others.items())
        )
    else:
        with psycopg.connect(conninfo, autocommit=True) as admin:
            set_for(admin, target)


@pytest.mark.parametrize("target", ["database", "role", "environment"])
@pytest.mark.parametrize("kind", ["connection", "pool", "Dagster's storage"])
def test_a_session_has_what_we_rely_on(kind: str, target: str, conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_hostile(target, conninfo, monkeypatch)
    found: dict[str, str] = {}
    if kind == "connection":
        with connect(conninfo) as connection:
            found = {name: one(connection, f"SHOW {name}") for name in (*EXPECTED, "search_path")}
            with connection.transaction():
                assert one(connection, "SHOW transaction_isolation") == "read committed"
    elif kind == "pool":
        with closing(open_pool(conninfo, 2)) as pool, pool.connection() as connection:
            found = {name: one(connection, f"SHOW {name}") for name in (*EXPECTED, "search_path")}
    else:
        forget_pools()
        with shared_engine(sqlalchemy_url(conninfo)).connect() as connection:
            found = {name: connection.scalar(sqlalchemy.text(f"SHOW {name}")) for name in (*EXPECTED, "search_path")}
        forget_pools()
    assert found.pop("search_path") == ("public" if kind == "Dagster's storage" else "public, pg_temp")
    assert found == EXPECTED


def test_dagsters_storage_keeps_the_schema_that_its_url_names(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA dagster")
    with closing(psycopg2.connect(conninfo)):
        url = sqlalchemy_url(f"{conninfo}{'&' if '?' in conninfo else '?'}options=-csearch_path%3Ddagster")
    with shared_engine(url).connect() as connection:
        assert connection.scalar(sqlalchemy.text("SHOW search_path")) == "dagster"
        assert connection.scalar(sqlalchemy.text("SHOW synchronous_commit")) == "off"
    forget_pools()


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    return nexus_in(nexus_env, capsys, monkeypatch)


READING = [
    ("executions",), ("executions", "--json"), ("executions", "--symbol", "日経225", "--json"),
    ("executions", "--since", "2026-01-01T00:00:00Z", "--json"),
    ("errors", "list"), ("errors", "list", "--json"), ("errors", "list", "--by-class", "--json"),
    ("errors", "show", "1"),
]  # fmt: skip


@pytest.mark.parametrize("target", ["database", "role", "environment"])
def test_commands_show_the_same_in_any_setting(
    target: str, nexus: Nexus, connection: Connection, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(connection, [{"rsi": 25, "symbol": "日経225"}, {"rsi": 50, "occurred_at": "2026-10-25T00:30:00Z"}])
    put(connection, '{"rsi": "Zürich"}')
    drain(connection)
    expected = [nexus(*arguments) for arguments in READING]
    assert all(ended.code == 0 for ended in expected)
    make_hostile(target, conninfo, monkeypatch)
    assert [nexus(*arguments) for arguments in READING] == expected


@pytest.mark.parametrize("target", ["database", "role", "environment"])
def test_requests_are_sent_and_decided_in_any_setting(
    target: str, nexus: Nexus, connection: Connection, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_hostile(target, conninfo, monkeypatch)
    assert nexus("send", "--rsi", "25", "--symbol", "日経225", "--count", "2500", "--json").json["sent"] == 2500
    with connect(conninfo) as worker:
        assert drain(worker).completed == 2500
        # A second claim of a session begins where the first found the oldest message.
        send(worker, [{"rsi": 25}] * 30)
        assert one(worker, "SELECT process_trading_workflow(10) ->> 'processed_count'") == "10"
        assert one(worker, "SELECT process_trading_workflow(10) ->> 'processed_count'") == "10"
        assert drain(worker).completed == 10
    assert nexus("status", "--json").json["completed"] == 2530
    balanced(connection)


def test_psql_with_another_date_style_processes_one_batch_after_the_other(
    connection: Connection, conninfo: str
) -> None:
    send(connection, [{"rsi": 25}] * 30)
    set_for(connection, "database", {"DateStyle": "SQL, DMY", "TimeZone": "Asia/Jakarta"})
    with psycopg.connect(conninfo, autocommit=True) as session:
        for _ in range(3):
            assert one(session, "SELECT process_trading_workflow(10) ->> 'processed_count'") == "10"
    balanced(connection)


def test_times_are_read_in_utc(conninfo: str, connection: Connection) -> None:
    set_for(connection, "database", {"TimeZone": "Europe/Berlin"})
    with connect(conninfo) as session:
        read = one(session, "SELECT '2026-10-25T00:30:00Z'::timestamptz")
    assert (read, read.utcoffset()) == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime.now(UTC).utcoffset())


def test_a_publication_for_all_tables_forbids_nothing_that_the_product_does(connection: Connection) -> None:
    without_identity = (
        "SELECT c.oid::regclass FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relreplident <> 'f'"
        " AND c.relnamespace IN ('public'::regnamespace, 'nexus'::regnamespace)"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
    )
    assert connection.execute(without_identity).fetchall() == []
    connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    send(connection, [{"rsi": 25}, {"rsi": 101}])
    drain(connection)
    connection.execute("SELECT nexus.mark_closed_hours()")
    connection.execute("DELETE FROM nexus.stale_marks")
    assert one(connection, "SELECT count(*) FROM nexus.stale_marks") == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [("database", "ALTER DATABASE \"{}\" RESET default_transaction_read_only"),
     ("role", "IN DATABASE \"{}\" RESET default_transaction_read_only")],
)  # fmt: skip
def test_a_read_only_database_is_refused_with_its_remedy_before_anything_is_made(
    setting: str, said: str, empty_database: str, nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as admin:
        set_for(admin, setting, {"default_transaction_read_only": "on"})
        name = admin.info.dbname
    with pytest.raises(UnavailableError) as caught:
        migrate(empty_database)
    assert said.format(name) in str(caught.value)
    monkeypatch.setenv("NEXUS_DATABASE_URL", empty_database)
    [finding] = [each for each in json.loads(nexus("doctor", "--json").out) if each["check"] == "writes"]
    assert (finding["state"], said.format(name) in finding["remedy"]) == ("fail", True)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused_by_name_before_anything_is_made(
    encoding: str, server_url: str, nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"nexus_{encoding.lower()}_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        try:
            url = database_url(server_url, name)
            monkeypatch.setenv("NEXUS_DATABASE_URL", url)
            for arguments in ("migrate",), ("send", "--rsi", "25"), ("status",):
                ended = nexus(*arguments)
                assert (ended.code, f"the encoding of {name} is {encoding}" in ended.line) == (1, True)
            findings = {each["check"]: each for each in json.loads(nexus("doctor", "--json").out)}
            assert findings["encoding"]["state"] == "fail"
            assert "ENCODING 'UTF8'" in findings["encoding"]["remedy"]
            with connect(url) as connection:
                made = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('nexus', 'pgmq')"
                assert one(connection, made) == 0
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
