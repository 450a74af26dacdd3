"""The time zone of a database, a role or a server changes nothing: neither which runs are alive, nor any hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from nexus_pipeline.analytics.daily_report import write_report
from nexus_pipeline.analytics.hours import HOUR, hour_of
from nexus_pipeline.analytics.partitions import hour_key, tags_of
from nexus_pipeline.analytics.tables import HOURLY_METRICS, METRICS, SIGNALS, TABLES
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.definitions import defs
from nexus_pipeline.processing.jobs import QUEUE_TAG
from nexus_pipeline.processing.sensors import workflow_main_queue_sensor
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline_tests.support.analytics import differences, execution
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, instance
from nexus_pipeline_tests.support.queues import send_signals

__all__ = ["dagster_database", "dagster_template", "instance"]

# The clocks of Berlin change in these nights; in the first one the hour 02:00 comes twice, in the second never.
NIGHTS = [datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)]


@pytest.fixture(params=["America/New_York", "Asia/Tokyo", "Europe/Berlin", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, conninfo: str, dagster_database: str) -> str:
    """The time zone of both databases."""
    for url in (conninfo, dagster_database):
        with psycopg.connect(url, autocommit=True) as admin:
            statement = sql.SQL("ALTER DATABASE {} SET timezone = {}")
            admin.execute(statement.format(sql.Identifier(admin.info.dbname), sql.Literal(request.param)))
    return str(request.param)


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    return nexus_in(nexus_env, capsys, monkeypatch)


def requested(instance: dg.DagsterInstance) -> int:
    """How many runs the sensor requests."""
    context = dg.build_sensor_context(instance=instance, resources={"nexus": NexusDatabase()})
    result = workflow_main_queue_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return len(result.run_requests or [])


def test_a_live_run_counts_and_one_without_news_for_an_hour_does_not(
    zone: str,
    instance: dg.DagsterInstance,
    connection: Connection,
    dagster_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NEXUS_MAX_RUNS", "2")
    send_signals(connection, 100_000)
    job = defs.resolve_job_def("process_trading_workflow")
    assert requested(instance) == 2
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={QUEUE_TAG: MAIN_QUEUE})
    assert requested(instance) == 1
    with connect(dagster_database) as storage:
        storage.execute("UPDATE runs SET update_timestamp = update_timestamp - interval '1 hour'")
    assert requested(instance) == 2


def test_purging_takes_runs_that_ended_before_the_limit_and_no_others(
    zone: str, instance: dg.DagsterInstance, dagster_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_KEEP_RUNS_HOURS", "2")
    job = defs.resolve_job_def("process_trading_workflow")
    young, old = (instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS).run_id for _ in range(2))
    with connect(dagster_database) as storage:
        # Dagster's columns have no time zone; ours are written in UTC.
        before = (datetime.now(UTC) - timedelta(hours=3)).replace(tzinfo=None)
        storage.execute("UPDATE runs SET update_timestamp = %s WHERE run_id = %s", (before, old))
    purge = defs.resolve_job_def("purge_queue_runs").execute_in_process(instance=instance)
    left = {record.dagster_run.run_id for record in instance.get_run_records()}
    assert left == {young, purge.run_id}


@pytest.mark.parametrize("night", NIGHTS, ids=["October", "March"])
def test_each_hour_of_a_night_has_its_own_numbers(
    zone: str, night: datetime, instance: dg.DagsterInstance, connection: Connection, tmp_path: Path
) -> None:
    hours = [night + number * HOUR for number in range(-3, 5)]
    for start in hours:
        execution(connection, start, symbol="EURUSD")
    result = defs.resolve_job_def("hourly_aggregates_job").execute_in_process(
        instance=instance, tags=tags_of(hour_key(hours[0]), hour_key(hours[-1]))
    )
    for table, column in ((SIGNALS, "executions"), (HOURLY_METRICS, "total_executions")):
        found = {
            str(event.materialization.partition): event.materialization.metadata[column].value
            for event in result.get_asset_materialization_events()
            if event.asset_key == dg.AssetKey(table.name)
        }
        assert found == {hour_key(start): 1 for start in hours}
        assert differences(connection, table) == []
    with connect(connection.info.dsn) as session:
        written = write_report(session, tmp_path, night)
    assert [f"<td>{number:02d}:00</td>" in written.html for number in range(6)] == [True] * 5 + [False]


def test_status_report_and_backfill_name_hours_in_utc(
    zone: str, nexus: Nexus, connection: Connection, instance: dg.DagsterInstance
) -> None:
    start = hour_of(datetime.now(UTC)) - 3 * HOUR
    for number in range(3):
        execution(connection, start + number * HOUR, symbol="EURUSD")
    assert f"the oldest {start:%Y-%m-%d %H:%M} UTC" in nexus("status").out
    arguments = ["--from", start.isoformat(), "--to", (start + 3 * HOUR).isoformat()]
    assert nexus("backfill", *arguments, "--json").json["hours"] == 3
    rows = nexus("report", "--hours", "4", "--json").json
    assert str(rows).count(start.strftime("%Y-%m-%dT%H:00:00")) >= 1
    for table in TABLES:
        if table is not METRICS:
            assert differences(connection, table) == []
