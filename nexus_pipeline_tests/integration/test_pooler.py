"""The product works through PgBouncer, in transaction and in session mode, with PgBouncer's defaults."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from nexus_pipeline.dagster_instance.engine import shared_engine, sqlalchemy_url
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import migrate, migration_names, schema_state
from nexus_pipeline.local.doctor import examine
from nexus_pipeline.queues.leases import RetryPolicy, claim, settle
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.commands import JOB
from nexus_pipeline_tests.support.dagster import forget_pools
from nexus_pipeline_tests.support.pooler import pgbouncer
from nexus_pipeline_tests.support.queues import balanced, one, works

Through = Callable[[str], str]


@pytest.fixture(scope="module", params=["transaction", "session"])
def through(server_url: str, request: pytest.FixtureRequest) -> Iterator[Through]:
    """The URL through PgBouncer for the URL of a database."""
    with pgbouncer(server_url, request.param) as url_of:
        yield lambda url: url_of(str(conninfo_to_dict(url)["dbname"]))


@pytest.fixture
def pooled_env(nexus_env: dict[str, str], through: Through) -> dict[str, str]:
    """The environment of a command whose databases are both behind PgBouncer."""
    names = ("NEXUS_DATABASE_URL", "NEXUS_DAGSTER_DATABASE_URL")
    return {**nexus_env, **{name: through(nexus_env[name]) for name in names}}


def test_five_that_migrate_at_once_all_succeed_and_leave_no_lock(empty_database: str, through: Through) -> None:
    with ThreadPoolExecutor(5) as threads:
        applied = list(threads.map(lambda _: migrate(through(empty_database)), range(5)))
    assert sorted(len(each.migrations) for each in applied) == [0] * 4 + [len(migration_names())]
    with psycopg.connect(empty_database, autocommit=True) as connection:
        assert schema_state(connection).applied == migration_names()
        locks = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert one(connection, locks) == 0
    works(through(empty_database))


def test_sessions_behind_a_pooler_are_in_utc_and_prepare_nothing(conninfo: str, through: Through) -> None:
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET timezone = 'America/New_York'")
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET datestyle = 'SQL, DMY'")
    opened = [connect(through(conninfo)) for _ in range(2)]
    for _ in range(10):
        for connection in opened:
            assert one(connection, "SELECT concat_ws(' ', current_setting('TimeZone'), now() IS NOT NULL)") == "UTC t"
            assert one(connection, "SHOW DateStyle") == "ISO, MDY"
            assert one(connection, "SELECT count(*) FROM pg_prepared_statements") == 0
    for connection in opened:
        connection.close()


def test_dagsters_storage_behind_a_pooler_is_in_utc_and_waits_for_the_disk(conninfo: str, through: Through) -> None:
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET timezone = 'America/New_York'")
    forget_pools()
    with shared_engine(sqlalchemy_url(through(conninfo))).connect() as connection:
        assert connection.scalar(sqlalchemy.text("SHOW TimeZone")) == "UTC"
        assert connection.scalar(sqlalchemy.text("SHOW synchronous_commit")) == "on"
    forget_pools()


def test_three_senders_and_two_workers_at_once_lose_and_double_nothing(
    pooled_env: dict[str, str], connection: Connection, through: Through, conninfo: str
) -> None:
    command = ["nexus", "send", "--rsi", "25", "--count", "5000", "--json"]
    senders = [subprocess.Popen(command, env=pooled_env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [sender.wait(240) for sender in senders] == [0, 0, 0]
    for sender in senders:
        assert sender.stdout is not None
        sender.stdout.close()

    def work(_: int) -> int:
        done = 0
        with connect(through(conninfo)) as worker:
            while (lease := claim(worker, MAIN_QUEUE, 500, 30)) is not None:
                done += settle(worker, lease, RetryPolicy()).completed
        return done

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(work, range(2))) == 15_000
    assert balanced(connection).completed == 15_000


def test_doctor_names_the_pooler_and_what_comes_through_it(conninfo: str, through: Through, tmp_path: Path) -> None:
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET default_transaction_isolation = 'serializable'")
    settings = Settings(database_url=SecretStr(through(conninfo)), home=tmp_path / "home")
    found = {each.check: each for each in examine(settings)}
    assert (found["pooler"].state, found["session"].state) == ("ok", "warn")
    assert "RESET default_transaction_isolation" in str(found["session"].remedy)


def test_commands_and_the_job_work_through_a_pooler(pooled_env: dict[str, str], connection: Connection) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, env=pooled_env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("nexus", "migrate")
    for _ in range(3):
        run("nexus", "send", "--rsi", "25", "--count", "1200")
    run(*JOB)
    assert balanced(connection).completed == 3_600
    for _ in range(3):
        assert "3,600" in run("nexus", "status")
    run("nexus", "executions", "--json")
    run("nexus", "doctor")
