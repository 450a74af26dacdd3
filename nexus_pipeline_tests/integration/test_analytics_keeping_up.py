"""The sensor and the schedule: exactly the stale hours, newest first, in few runs, and again after a failure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from nexus_pipeline.analytics.hours import DAY, HOUR, hour_of
from nexus_pipeline.analytics.partitions import RANGE_END_TAG, RANGE_START_TAG, day_key, hour_key, tags_of
from nexus_pipeline.analytics.schedules import closed_hour_schedule
from nexus_pipeline.analytics.sensors import AUTOMATIC_TAGS, MAX_RUNS, stale_hours_sensor
from nexus_pipeline.analytics.tables import HOURLY_METRICS, METRICS, SIGNALS, TABLES
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.definitions import defs
from nexus_pipeline_tests.support.analytics import ALL, differences, execution, rebuild_all, stale
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, instance

__all__ = ["dagster_database", "dagster_template", "instance"]

NOON = hour_of(datetime.now(UTC)).replace(hour=0) - 2 * DAY + 12 * HOUR


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """A tick of the sensor now."""
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=defs, resources={"nexus": NexusDatabase()}
    )
    result = stale_hours_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def requested(result: dg.SensorResult) -> list[tuple[str, str, str, set[str]]]:
    """Job, first and last partition, and assets (none: all of the job) of each request."""
    return [
        (
            str(request.job_name),
            str(request.partition_key or request.tags[RANGE_START_TAG]),
            str(request.partition_key or request.tags[RANGE_END_TAG]),
            {key.to_user_string() for key in request.asset_selection or []},
        )
        for request in result.run_requests or []
    ]


def execute(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Executes a requested run, as the daemon would."""
    tags = {**request.tags, **({"dagster/partition": request.partition_key} if request.partition_key else {})}
    return defs.resolve_job_def(str(request.job_name)).execute_in_process(
        instance=instance, tags=tags, asset_selection=request.asset_selection, raise_on_error=False
    )


@pytest.fixture
def quiet(instance: dg.DagsterInstance, connection: Connection) -> Connection:
    """A database in which nothing is stale."""
    # The hour may have closed since the template of the databases was created.
    connection.execute("UPDATE nexus.installation SET closed_until = nexus.hour_of(now())")
    assert tick(instance).run_requests == []
    return connection


def test_nothing_stale_requests_nothing(instance: dg.DagsterInstance, quiet: Connection) -> None:
    result = tick(instance)
    assert result.run_requests == []
    assert "no hour is stale" in str(result.skip_reason)


def test_late_executions_have_exactly_their_hours_rebuilt_automatically(
    instance: dg.DagsterInstance, quiet: Connection
) -> None:
    execution(quiet, NOON)
    rebuild_all(quiet)
    execution(quiet, NOON, occurred=NOON - 7 * HOUR)
    execution(quiet, NOON, occurred=NOON - 6 * HOUR)
    execution(quiet, NOON, occurred=NOON - 3 * HOUR)
    seen: list[tuple[str, str, str, set[str]]] = []
    for _ in range(5):
        result = tick(instance)
        seen += requested(result)
        assert len(result.run_requests or []) <= MAX_RUNS
        for request in result.run_requests or []:
            assert request.run_key is None
            assert execute(instance, request).success
    assert seen == [
        ("hourly_aggregates_job", hour_key(NOON), hour_key(NOON), {HOURLY_METRICS.name}),
        ("workflow_metrics_job", hour_key(NOON), hour_key(NOON), set()),
        ("hourly_aggregates_job", hour_key(NOON - 3 * HOUR), hour_key(NOON - 3 * HOUR), {SIGNALS.name}),
        ("hourly_aggregates_job", hour_key(NOON - 7 * HOUR), hour_key(NOON - 6 * HOUR), {SIGNALS.name}),
    ]
    for table in TABLES:
        assert differences(quiet, table) == []


def test_a_missed_weekend_is_rebuilt_in_one_run_of_each_job(instance: dg.DagsterInstance, quiet: Connection) -> None:
    quiet.execute("UPDATE nexus.installation SET closed_until = closed_until - interval '60 hours'")
    result = tick(instance)
    closed = hour_of(datetime.now(UTC)) - HOUR
    left_to_schedule = hour_of(datetime.now(UTC) - timedelta(seconds=90)) - HOUR
    first = closed - 59 * HOUR
    assert requested(result) == [
        ("hourly_aggregates_job", hour_key(first), hour_key(left_to_schedule), set()),
        ("workflow_metrics_job", hour_key(first), hour_key(closed), set()),
    ]


def test_hours_that_a_run_in_flight_rebuilds_are_not_requested_again(
    instance: dg.DagsterInstance, quiet: Connection
) -> None:
    execution(quiet, NOON)
    job = defs.resolve_job_def("hourly_aggregates_job")
    instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={RANGE_START_TAG: hour_key(NOON - HOUR), RANGE_END_TAG: hour_key(NOON + HOUR), "nexus/backfill": "true"},
    )
    assert requested(tick(instance)) == []
    assert "1 of hourly_signal_aggregates" in str(tick(instance).skip_reason)
    execution(quiet, NOON + 5 * HOUR)
    assert {first for _, first, _, _ in requested(tick(instance))} == {hour_key(NOON + 5 * HOUR)}


def test_at_most_max_runs_are_in_flight(instance: dg.DagsterInstance, quiet: Connection) -> None:
    for number in range(6):
        execution(quiet, NOON - 2 * number * HOUR)
    job = defs.resolve_job_def("hourly_aggregates_job")
    for in_flight in range(MAX_RUNS + 1):
        assert len(tick(instance).run_requests or []) == MAX_RUNS - in_flight
        instance.create_run_for_job(
            job,
            status=dg.DagsterRunStatus.STARTED,
            tags={**AUTOMATIC_TAGS, "dagster/partition": hour_key(NOON - 100 * HOUR)},
        )
        if in_flight == MAX_RUNS - 1:
            assert f"{MAX_RUNS} runs in flight" in str(tick(instance).skip_reason)
            break


def test_an_hour_whose_run_failed_is_requested_again_after_a_pause(
    instance: dg.DagsterInstance, quiet: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution(quiet, NOON)
    replace_window(quiet, METRICS, ALL)
    quiet.execute("ALTER TABLE hourly_signal_aggregates RENAME COLUMN volume TO gone")
    (request,) = tick(instance).run_requests or []
    assert not execute(instance, request).success
    assert "the last run of hourly_aggregates_job failed" in str(tick(instance).skip_reason)
    quiet.execute("ALTER TABLE hourly_signal_aggregates RENAME COLUMN gone TO volume")
    monkeypatch.setattr("nexus_pipeline.analytics.sensors._FIRST_PAUSE", timedelta(0))
    (again,) = tick(instance).run_requests or []
    assert again.partition_key == hour_key(NOON)
    assert execute(instance, again).success
    assert tick(instance).run_requests == []


def test_a_failing_job_pauses_itself_and_no_other_job(instance: dg.DagsterInstance, quiet: Connection) -> None:
    for number in range(3):
        execution(quiet, NOON - 2 * number * HOUR)
    quiet.execute("ALTER TABLE hourly_signal_aggregates RENAME COLUMN volume TO gone")
    for _ in range(3):
        for request in tick(instance).run_requests or []:
            done = execute(instance, request)
            assert done.success == (request.job_name == "workflow_metrics_job")
    result = tick(instance)
    assert result.run_requests == []
    assert "the last run of hourly_aggregates_job failed" in str(result.skip_reason)
    assert stale(quiet, METRICS.name) == set()
    assert stale(quiet, SIGNALS.name) == {NOON - 2 * number * HOUR for number in range(3)}


def test_how_many_hours_are_stale_is_observed_once_when_it_changes(
    instance: dg.DagsterInstance, quiet: Connection
) -> None:
    execution(quiet, NOON)
    first = tick(instance)
    (observation,) = first.asset_events
    assert isinstance(observation, dg.AssetObservation)
    assert observation.metadata["stale_hours"].value == 1
    assert tick(instance, first.cursor).asset_events == []


def test_without_a_database_the_sensor_skips_with_the_reason(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nexus_pipeline_tests.support.dagster import forget_pools

    forget_pools()
    monkeypatch.setenv("NEXUS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    result = tick(instance)
    assert result.run_requests == []
    assert "the database does not answer" in str(result.skip_reason)


def test_days_whose_hours_changed_have_their_report_rebuilt(instance: dg.DagsterInstance, quiet: Connection) -> None:
    day = NOON.replace(hour=0)
    quiet.execute("INSERT INTO nexus.daily_reports (day) VALUES (%s)", (day,))
    execution(quiet, NOON)
    seen: list[Any] = []
    for _ in range(6):
        result = tick(instance)
        seen += [found for found in requested(result) if found[0] == "daily_signal_report_job"]
        for request in result.run_requests or []:
            assert execute(instance, request).success
    assert seen == [("daily_signal_report_job", day_key(day), day_key(day), set())]


def test_the_schedule_builds_the_hour_that_just_closed_and_the_sensor_does_not_build_it_again(
    instance: dg.DagsterInstance, quiet: Connection
) -> None:
    at = hour_of(datetime.now(UTC))
    quiet.execute("UPDATE nexus.installation SET closed_until = closed_until - interval '1 hour'")
    resources = {"nexus": NexusDatabase()}
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, resources=resources)
    request = closed_hour_schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == hour_key(at - HOUR)
    assert request.run_key is None
    job = defs.resolve_job_def("hourly_aggregates_job")
    assert job.execute_in_process(instance=instance, tags={"dagster/partition": request.partition_key}).success
    assert {name for name, *_ in requested(tick(instance))} <= {"workflow_metrics_job"}
    long_ago = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at - 4000 * DAY, resources=resources
    )
    assert isinstance(closed_hour_schedule(long_ago), dg.SkipReason)


def test_what_is_planned_in_a_range_is_stored_for_each_partition_and_each_check_once(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    tags = tags_of(hour_key(NOON), hour_key(NOON + 9 * HOUR))
    result = defs.resolve_job_def("hourly_aggregates_job").execute_in_process(instance=instance, tags=tags)
    assert result.success
    planned = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert len(planned) == 20
    for table in (SIGNALS, HOURLY_METRICS):
        key = dg.AssetKey(table.name)
        assert len(instance.get_materialized_partitions(key)) == 10
        (record,) = instance.get_asset_records([key])
        assert record.asset_entry.last_run_id == result.run_id
        check = dg.AssetCheckKey(key, f"{table.name}_reconcile")
        history = instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
        assert [found.status.value for found in history] == ["SUCCEEDED"]
