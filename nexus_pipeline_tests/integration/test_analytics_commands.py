"""Backfills and partitions on the command line, as users and CI run them: exit codes, few runs, a kill."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from nexus_pipeline.analytics.backfill import run_backfill, window_of_arguments
from nexus_pipeline.analytics.hours import DAY, HOUR, Window, hour_of
from nexus_pipeline.analytics.partitions import hour_key
from nexus_pipeline.analytics.report import hours_report, report_lines
from nexus_pipeline.analytics.tables import HOURLY_METRICS, SIGNALS, TABLES
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.errors import FailedError, UserError
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.analytics import differences, execution
from nexus_pipeline_tests.support.commands import PROJECT
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, instance

__all__ = ["dagster_database", "dagster_template", "instance"]

DEFINITIONS = "nexus_pipeline.definitions"
YEAR = (PROJECT / "benchmarks" / "year_of_executions.sql").read_text()
MIDNIGHT = hour_of(datetime.now(UTC)).replace(hour=0)


def load(connection: Connection, total: int, start: datetime, hours: int) -> None:
    connection.execute(YEAR, {"start": start, "hours": hours, "total": total, "first": 0, "last": total - 1})


def dagster(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dagster", *arguments], env=env, cwd=PROJECT, capture_output=True, text=True, timeout=240
    )


def partition(hour: datetime) -> str:
    return f'{{"dagster/partition": "{hour_key(hour)}"}}'


def test_one_partition_by_job_execute_ends_with_0_and_a_failing_check_ends_with_1(
    nexus_env: dict[str, str], dagster_database: str, connection: Connection
) -> None:
    env = {**nexus_env, "NEXUS_DAGSTER_DATABASE_URL": dagster_database}
    hour = MIDNIGHT - DAY
    execution(connection, hour, symbol="A")
    command = ("job", "execute", "-m", DEFINITIONS, "-j", "hourly_aggregates_job", "--tags")
    done = dagster(env, *command, partition(hour))
    assert done.returncode == 0, done.stderr
    assert differences(connection, SIGNALS) == []
    connection.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.executions = 7; RETURN NEW; END';"
        "CREATE TRIGGER spoil BEFORE INSERT ON hourly_signal_aggregates FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    failed = dagster(env, *command, partition(hour))
    assert failed.returncode == 1
    assert "hourly_signal_aggregates_reconcile" in failed.stderr + failed.stdout
    missing = dagster(env, *command, partition(MIDNIGHT + 9 * DAY))
    assert missing.returncode == 1
    assert "there is no partition" in missing.stderr + missing.stdout


def test_a_range_by_asset_materialize_is_one_run(
    nexus_env: dict[str, str], instance: dg.DagsterInstance, dagster_database: str, connection: Connection
) -> None:
    env = {**nexus_env, "NEXUS_DAGSTER_DATABASE_URL": dagster_database}
    load(connection, 500, MIDNIGHT - 4 * DAY, 48)
    done = dagster(
        env, "asset", "materialize", "-m", DEFINITIONS, "--select", f"{SIGNALS.name},{HOURLY_METRICS.name}",
        "--partition-range", f"{hour_key(MIDNIGHT - 8 * DAY)}...{hour_key(MIDNIGHT - HOUR)}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert differences(connection, SIGNALS) == differences(connection, HOURLY_METRICS) == []
    assert instance.get_runs_count() == 1


def test_job_backfill_by_week_starts_a_run_a_week(
    nexus_env: dict[str, str], instance: dg.DagsterInstance, dagster_database: str, tmp_path: Path
) -> None:
    """Of Dagster's commands, only this one needs DAGSTER_HOME: a folder with the project's dagster.yaml."""
    home = str(tmp_path / "dagster")
    env = {**nexus_env, "NEXUS_DAGSTER_DATABASE_URL": dagster_database, "DAGSTER_HOME": home}
    sunday = MIDNIGHT - timedelta(days=MIDNIGHT.isoweekday() % 7)
    done = dagster(
        env, "job", "backfill", "-m", DEFINITIONS, "-j", "hourly_aggregates_by_week", "--noprompt",
        "--from", f"{sunday - 21 * DAY:%Y-%m-%d}", "--to", f"{sunday - 7 * DAY:%Y-%m-%d}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert instance.get_runs_count() == 3
    unknown = dagster(
        env, "job", "backfill", "-m", DEFINITIONS, "-j", "hourly_aggregates_by_week", "--noprompt",
        "--from", "2001-01-01",
    )  # fmt: skip
    assert unknown.returncode != 0
    assert instance.get_runs_count() == 3


def test_a_backfill_rebuilds_a_range_in_few_runs_and_reports_its_progress(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    load(connection, 2_000, MIDNIGHT - 40 * DAY, 30 * 24)
    window = Window(MIDNIGHT - 45 * DAY, MIDNIGHT)
    seen: list[tuple[int, int]] = []
    done = run_backfill(
        instance,
        window,
        lambda done, total: seen.append((done, total)),
        TABLES,
        DEFINITIONS,
    )
    assert seen == [(0, 1080), (744, 1080), (1080, 1080)]
    assert (done.hours, len(done.run_ids), instance.get_runs_count()) == (1080, 4, 4)
    for table in TABLES:
        assert differences(connection, table) == []
        assert len(instance.get_materialized_partitions(dg.AssetKey(table.name))) == 1080


def test_a_backfill_whose_run_fails_names_the_run_and_the_reason(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    connection.execute("ALTER TABLE hourly_signal_aggregates RENAME COLUMN volume TO gone")
    with pytest.raises(
        FailedError, match=r"run [0-9a-f-]{36} of the hours from .* failed in hourly_signal_aggregates: .*volume"
    ):
        run_backfill(instance, Window(MIDNIGHT - DAY, MIDNIGHT), lambda *_: None, definitions=DEFINITIONS)


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("2026-01-01", "2026-01-02T00:00:00Z", "--from: .* has no offset"),
        ("2026-01-02T00:00:00Z", "soon", "--to: 'soon' is not an ISO 8601 time"),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "before it starts"),
        ("2999-01-01T00:00:00Z", "2999-01-02T00:00:00Z", "in the future"),
        ("1999-01-01T00:00:00Z", "1999-01-02T00:00:00Z", "before the first partition"),
    ],
)
def test_a_range_that_cannot_be_backfilled_is_refused_in_one_line(
    settings: Settings, start: str, end: str, why: str
) -> None:
    with pytest.raises(UserError, match=why) as caught:
        window_of_arguments(settings, start, end)
    assert "\n" not in str(caught.value)


WORK = """
import dagster as dg, sys
from datetime import datetime
from nexus_pipeline.analytics.backfill import run_backfill
from nexus_pipeline.analytics.hours import Window
start, before = (datetime.fromisoformat(text) for text in sys.argv[2:4])
def progress(done, total):
    print(done, flush=True)
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    run_backfill(instance, Window(start, before), progress, definitions=sys.argv[4])
"""


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_killed_backfill_leaves_no_partial_hour_and_running_it_again_completes_it(
    nexus_env: dict[str, str],
    instance: dg.DagsterInstance,
    dagster_database: str,
    connection: Connection,
    tmp_path: Path,
    seconds: float,
) -> None:
    load(connection, 10_000, MIDNIGHT - 36 * DAY, 36 * 24)
    window = Window(MIDNIGHT - 40 * DAY, MIDNIGHT)
    env = {**nexus_env, "NEXUS_DAGSTER_DATABASE_URL": dagster_database}
    arguments = [str(tmp_path / "dagster"), window.start.isoformat(), window.before.isoformat(), DEFINITIONS]
    with subprocess.Popen(
        [sys.executable, "-c", WORK, *arguments],
        env=env,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["0\n", "744\n"]
        time.sleep(seconds)
        process.kill()
    expected = dict(connection.execute(FINAL_BY_EVENT_HOUR).fetchall())
    actual = dict(
        connection.execute("SELECT hour, sum(executions) FROM hourly_signal_aggregates GROUP BY 1").fetchall()
    )
    assert len(actual) >= 600
    assert {hour: expected[hour] for hour in actual} == actual
    run_backfill(instance, window, lambda *_: None, definitions=DEFINITIONS)
    assert differences(connection, SIGNALS) == differences(connection, HOURLY_METRICS) == []


FINAL_BY_EVENT_HOUR = """
SELECT nexus.hour_of(coalesce(occurred_at, enqueued_at)), count(*) FROM workflow_executions
 WHERE status IN ('completed', 'error') GROUP BY 1"""


def test_the_report_shows_the_last_hours_as_the_dashboard_does(connection: Connection) -> None:
    now = datetime.now(UTC)
    for number, rsi in ((0, 25), (3, 80), (3, 50), (30, 25)):
        execution(connection, hour_of(now) - number * HOUR + timedelta(seconds=1), rsi=rsi, took_ms=10 * (number + 1))
    execution(connection, hour_of(now) - 3 * HOUR + timedelta(seconds=1), status="error")
    report = hours_report(connection, 24)
    assert len(report) == 24
    assert report[-1]["hour"] == hour_of(now)
    lines = {name: (bars, total) for name, bars, total in report_lines(report)}
    assert (lines["executions"][1], lines["BUY"][1], lines["dead-lettered"][1]) == ("4", "1", "1")
    columns = ("hour", "total_executions", "successful", "failed", "buy_signals", "sell_signals", "hold_signals")
    dashboard = connection.execute(f"SELECT {', '.join(columns)} FROM trading_workflow_dashboard").fetchall()
    shown = [hour for hour in report if hour["total_executions"]]
    assert sorted(dashboard) == [tuple(hour[column] for column in columns) for hour in shown]
    assert lines["executions"] == (" " * 20 + "█" + "  " + "▃", "4")
    assert lines["p95, ms"][1] == "40.0"
    assert sum(hour["total_executions"] for hour in hours_report(connection, 48)) == 5
