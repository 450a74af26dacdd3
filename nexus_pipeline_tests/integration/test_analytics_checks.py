"""Each check, passing and failing, as Dagster runs it; and the runs that a blocking one fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from nexus_pipeline.analytics.checks import analytics_checks, reconcile
from nexus_pipeline.analytics.hours import HOUR, hour_of
from nexus_pipeline.analytics.partitions import hour_key, tags_of
from nexus_pipeline.analytics.tables import HOURLY_METRICS, METRICS, SIGNALS, TABLES, HourlyTable
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.definitions import defs
from nexus_pipeline.queues.dead_letters import discard
from nexus_pipeline_tests.support.analytics import execution, rebuild_all, window
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, forget_pools, instance
from nexus_pipeline_tests.support.queues import drain, put, send

__all__ = ["dagster_database", "dagster_template", "instance"]

NOW_HOUR = hour_of(datetime.now(UTC))
AN_HOUR = NOW_HOUR - 5 * HOUR
by_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


def evaluate(
    instance: dg.DagsterInstance, name: str, hour: datetime | None = None
) -> tuple[bool, dg.AssetCheckSeverity, dict[str, object]]:
    """Runs one check alone: whether it passed, how bad it is if not, and its metadata."""
    found = evaluation(name, hour)
    return found.passed, found.severity, {key: value.value for key, value in found.metadata.items()}


def evaluation(name: str, hour: datetime | None = None) -> dg.AssetCheckEvaluation:
    """Runs one check alone, of an hour or without a partition."""
    definition, key = next((each, key) for each in analytics_checks for key in each.check_keys if key.name == name)
    tags = tags_of(hour_key(hour), hour_key(hour)) if hour else {}
    only = dg.define_asset_job("only", selection=dg.AssetSelection.checks(key))
    with dg.DagsterInstance.ephemeral() as own:
        job = dg.Definitions(
            assets=[dg.AssetSpec(key.asset_key)], asset_checks=[definition], resources=defs.resources, jobs=[only]
        ).resolve_job_def("only")
        result = job.execute_in_process(instance=own, tags=tags, raise_on_error=False)
    (found,) = result.get_asset_check_evaluations()
    return found


@pytest.fixture
def aggregated(instance: dg.DagsterInstance, connection: Connection) -> Connection:
    """Five executions of an hour, aggregated."""
    for number in range(5):
        execution(connection, AN_HOUR, symbol=f"S{number % 2}", rsi=20 + number)
    rebuild_all(connection)
    return connection


@by_table
@pytest.mark.parametrize("hour", [AN_HOUR, None])
def test_reconcile_passes_when_the_table_agrees_with_the_executions(
    instance: dg.DagsterInstance, aggregated: Connection, table: HourlyTable, hour: datetime | None
) -> None:
    passed, _, metadata = evaluate(instance, f"{table.name}_reconcile", hour)
    assert passed
    assert metadata["expected"] == metadata["actual"] == (20 if table == METRICS else 5)


@pytest.mark.parametrize(
    ("table", "damage"),
    [
        (SIGNALS, "UPDATE hourly_signal_aggregates SET executions = executions + 1 WHERE symbol = 'S0'"),
        (SIGNALS, "UPDATE hourly_signal_aggregates SET sell_signals = 1 WHERE symbol = 'S0'"),
        (SIGNALS, "DELETE FROM hourly_signal_aggregates WHERE symbol = 'S0'"),
        (SIGNALS, "UPDATE hourly_signal_aggregates SET symbol = 'X' WHERE symbol = 'S0'"),
        (HOURLY_METRICS, "UPDATE hourly_workflow_metrics SET retried = 1"),
        (HOURLY_METRICS, "UPDATE hourly_workflow_metrics SET oldest_wait_ms = 1"),
        (HOURLY_METRICS, "DELETE FROM hourly_workflow_metrics"),
        (METRICS, "DELETE FROM workflow_metrics WHERE id = (SELECT id FROM workflow_metrics LIMIT 1)"),
        (
            METRICS,
            "INSERT INTO workflow_metrics (metric_type, metric_value, recorded_at)"
            " SELECT 'x', 1, recorded_at FROM workflow_metrics LIMIT 1",
        ),
    ],
)
def test_reconcile_fails_when_they_differ_and_shows_where(
    instance: dg.DagsterInstance, aggregated: Connection, table: HourlyTable, damage: str
) -> None:
    assert aggregated.execute(damage).rowcount > 0
    for hour in (AN_HOUR, None):
        passed, severity, metadata = evaluate(instance, f"{table.name}_reconcile", hour)
        assert (passed, severity) == (False, ERROR)
        assert metadata["different"] >= 1
        assert f"{AN_HOUR:%Y-%m-%dT%H}" in str(metadata["examples"])


def test_an_hour_whose_executions_changed_is_stale_and_not_wrong(
    instance: dg.DagsterInstance, aggregated: Connection
) -> None:
    execution(aggregated, NOW_HOUR - HOUR, occurred=AN_HOUR)
    passed, _, metadata = evaluate(instance, f"{SIGNALS.name}_reconcile")
    assert passed
    assert metadata["stale_hours"] == 1
    assert reconcile(aggregated, SIGNALS, window("2026-01-01T00"))["groups"] == 0


def test_a_run_whose_table_differs_from_the_executions_fails(
    instance: dg.DagsterInstance, aggregated: Connection
) -> None:
    """The rows are changed as they are written, as by a defect in the aggregation."""
    aggregated.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.buy_signals = NEW.buy_signals + 1; RETURN NEW; END';"
        "CREATE TRIGGER spoil BEFORE INSERT ON hourly_signal_aggregates FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    result = defs.resolve_job_def("hourly_aggregates_job").execute_in_process(
        instance=instance, tags=tags_of(hour_key(AN_HOUR), hour_key(AN_HOUR)), raise_on_error=False
    )
    assert not result.success
    aggregated.execute("DROP TRIGGER spoil ON hourly_signal_aggregates")
    result = defs.resolve_job_def("hourly_aggregates_job").execute_in_process(
        instance=instance, tags=tags_of(hour_key(AN_HOUR), hour_key(AN_HOUR)), raise_on_error=False
    )
    assert result.success


@by_table
def test_a_duplicate_key_fails(instance: dg.DagsterInstance, aggregated: Connection, table: HourlyTable) -> None:
    assert evaluate(instance, f"{table.name}_no_duplicates", AN_HOUR)[0]
    for (name,) in aggregated.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'", (table.name,)
    ).fetchall():
        aggregated.execute(f"ALTER TABLE {table.name} DROP CONSTRAINT {name}")
    aggregated.execute("DROP INDEX IF EXISTS workflow_metrics_of_execution")
    aggregated.execute(f"INSERT INTO {table.name} SELECT * FROM {table.name} ORDER BY {', '.join(table.key)} LIMIT 1")
    for hour in (AN_HOUR, None):
        passed, severity, metadata = evaluate(instance, f"{table.name}_no_duplicates", hour)
        assert (passed, severity, metadata["duplicate_keys"]) == (False, ERROR, 1)


@pytest.mark.parametrize(("good", "bad", "passes"), [(0, 0, True), (200, 1, True), (99, 1, False), (0, 1, False)])
def test_an_error_rate_of_one_percent_warns(
    instance: dg.DagsterInstance, connection: Connection, good: int, bad: int, passes: bool
) -> None:
    for status, count in (("completed", good), ("error", bad), ("retrying", bad * 50)):
        for _ in range(count):
            execution(connection, AN_HOUR, status=status)
    rebuild_all(connection)
    for hour in (AN_HOUR, None):
        passed, severity, metadata = evaluate(instance, "error_rate", hour)
        assert (passed, severity, metadata["failed"], metadata["final"]) == (passes, WARN, bad, good + bad)


@pytest.mark.parametrize(("slow_ms", "passes"), [(49, True), (51, False)])
def test_a_slow_hour_warns_and_is_named(
    instance: dg.DagsterInstance, aggregated: Connection, slow_ms: int, passes: bool
) -> None:
    for _ in range(3):
        execution(aggregated, AN_HOUR, took_ms=slow_ms)
    rebuild_all(aggregated)
    passed, severity, metadata = evaluate(instance, "p95_processing", AN_HOUR)
    assert (passed, severity) == (passes, WARN)
    assert metadata["worst_p95_ms"] == pytest.approx(slow_ms)
    assert evaluate(instance, "p95_processing", AN_HOUR - HOUR)[0]  # an hour without executions


def test_the_slow_hour_is_named_in_utc_whatever_the_time_zone_of_the_session(
    instance: dg.DagsterInstance, aggregated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    forget_pools()
    assert f"in the hour {AN_HOUR:%Y-%m-%d %H:%M}" in str(evaluation("p95_processing", AN_HOUR).description)
    forget_pools()


def test_freshness_is_by_event_time(instance: dg.DagsterInstance, aggregated: Connection) -> None:
    assert evaluate(instance, "event_time_freshness")[0]
    newest = NOW_HOUR - HOUR
    execution(aggregated, newest, symbol="new")
    passed, _, metadata = evaluate(instance, "event_time_freshness")
    assert (passed, metadata["stale_hours"], metadata["lag_hours"]) == (True, 1, 4)  # it has just become stale
    aggregated.execute("UPDATE nexus.stale_marks SET since = since - interval '11 minutes'")
    replace_window(aggregated, SIGNALS, window(f"{AN_HOUR:%Y-%m-%dT%H}"))  # rebuilding an old hour makes nothing fresh
    passed, severity, metadata = evaluate(instance, "event_time_freshness")
    assert (passed, severity, metadata["stale_hours"]) == (False, WARN, 1)
    assert float(str(metadata["stale_s"])) > 600
    rebuild_all(aggregated)
    assert evaluate(instance, "event_time_freshness")[0]
    aggregated.execute("DELETE FROM hourly_signal_aggregates WHERE symbol = 'new'")  # leaves no mark
    passed, _, metadata = evaluate(instance, "event_time_freshness")
    assert (passed, metadata["stale_hours"], metadata["lag_hours"]) == (False, 0, 4)


def test_without_any_execution_nothing_lags(instance: dg.DagsterInstance, connection: Connection) -> None:
    passed, _, metadata = evaluate(instance, "event_time_freshness")
    assert (passed, metadata) == (True, {"stale_hours": 0, "stale_s": 0, "lag_hours": 0})


def test_a_request_that_waits_too_long_warns(instance: dg.DagsterInstance, connection: Connection) -> None:
    assert evaluate(instance, "queue_age")[0]
    send(connection, [{"rsi": 25}])
    assert evaluate(instance, "queue_age")[0]
    connection.execute("UPDATE pgmq.q_workflow_main_queue SET vt = vt - %s", (timedelta(seconds=301),))
    passed, severity, metadata = evaluate(instance, "queue_age")
    assert (passed, severity, metadata["waiting"]) == (False, WARN, 1)


def test_dead_letters_that_are_not_handled_warn(instance: dg.DagsterInstance, connection: Connection) -> None:
    assert evaluate(instance, "dead_letters_growing")[0]
    put(connection, '{"no": "rsi"}')
    drain(connection)
    passed, severity, metadata = evaluate(instance, "dead_letters_growing")
    assert (passed, severity, metadata) == (False, WARN, {"waiting": 1, "arrived": 1, "handled": 0})
    discard(connection)
    passed, _, metadata = evaluate(instance, "dead_letters_growing")
    assert (passed, metadata) == (True, {"waiting": 0, "arrived": 1, "handled": 1})
