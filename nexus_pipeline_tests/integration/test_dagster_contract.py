"""The pipeline on stock Dagster: what a release that changes its internals leaves us with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from nexus_pipeline.analytics.hours import HOUR, hour_of
from nexus_pipeline.analytics.partitions import hour_key, tags_of
from nexus_pipeline.analytics.tables import HOURLY_METRICS, SIGNALS
from nexus_pipeline.dagster_instance import contract
from nexus_pipeline.dagster_instance.contract import CONTRACT, Feature, Name, usable
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.definitions import defs
from nexus_pipeline_tests.support.analytics import differences, execution
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, execute, instance
from nexus_pipeline_tests.support.queues import one, send

__all__ = ["dagster_database", "dagster_template", "instance"]

NOON = hour_of(datetime.now(UTC) - timedelta(days=3)).replace(hour=12)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Dagster as if each feature relied on a name that is not there; what is logged about it."""
    gone = Name("dagster_postgres:PostgresEventLogStorage.gone")
    for feature in Feature:
        monkeypatch.setitem(CONTRACT, feature, (*CONTRACT[feature], gone))  # type: ignore[arg-type]
    usable.cache_clear()
    with caplog.at_level(logging.WARNING, contract.__name__):
        yield caplog
    usable.cache_clear()


def test_without_our_storage_the_workflow_and_a_range_of_hours_work_and_one_line_says_why(
    stock: pytest.LogCaptureFixture, instance: dg.DagsterInstance, connection: Connection
) -> None:
    assert type(instance.event_log_storage) is PostgresEventLogStorage
    assert type(instance.run_storage) is PostgresRunStorage
    assert type(instance.schedule_storage) is PostgresScheduleStorage

    send(connection, [{"rsi": 20.0 + number} for number in range(30)])
    assert execute(instance).success
    assert one(connection, "SELECT count(*) FROM workflow_executions WHERE status = 'completed'") == 30

    for number in range(6):
        execution(connection, NOON + number * HOUR, rsi=10 + 15 * number)
    first, last = NOON - 24 * HOUR, NOON + 8 * HOUR
    result = defs.resolve_job_def("hourly_aggregates_job").execute_in_process(
        instance=instance, tags=tags_of(hour_key(first), hour_key(last))
    )
    assert result.success
    counts = {
        str(event.materialization.partition): event.materialization.metadata["executions"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(SIGNALS.name)
    }
    assert len(counts) == round((last - first) / HOUR) + 1
    assert [counts[hour_key(NOON + number * HOUR)] for number in range(-1, 7)] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert instance.get_materialized_partitions(dg.AssetKey(HOURLY_METRICS.name)) == set(counts)

    logged = [*stock.get_records("setup"), *stock.get_records("call")]
    lines = [record.getMessage() for record in logged if record.name == contract.__name__]
    assert len(lines) == len(Feature)
    assert all("PostgresEventLogStorage.gone is missing" in line for line in lines)
    assert sum("the stock PostgreSQL storage takes over" in line for line in lines) == 1


def test_without_our_storage_checks_are_recorded_and_the_tables_are_right(
    stock: pytest.LogCaptureFixture, instance: dg.DagsterInstance, connection: Connection
) -> None:
    execution(connection, NOON)
    tags = tags_of(hour_key(NOON), hour_key(NOON + HOUR))
    assert defs.resolve_job_def("hourly_aggregates_job").execute_in_process(instance=instance, tags=tags).success
    assert differences(connection, SIGNALS) == []
    record = instance.get_latest_asset_check_evaluation_record(
        dg.AssetCheckKey(dg.AssetKey(SIGNALS.name), f"{SIGNALS.name}_reconcile")
    )
    assert record is not None
    assert record.status.value == "SUCCEEDED"
