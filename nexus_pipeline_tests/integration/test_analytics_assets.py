"""The assets as Dagster runs them: one hour and a range, their metadata, the report of a day, and clear errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nexus_pipeline.analytics.daily_report import write_report
from nexus_pipeline.analytics.hours import DAY, HOUR, hour_of
from nexus_pipeline.analytics.partitions import day_key, hour_key, tags_of
from nexus_pipeline.analytics.tables import DAILY_REPORT, HOURLY_METRICS, METRICS, SIGNALS, TABLES
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.definitions import defs
from nexus_pipeline_tests.support.analytics import ALL, differences, execution, hour, stale
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, failures, instance

__all__ = ["dagster_database", "dagster_template", "instance"]

DAY_BEFORE = hour_of(datetime.now(UTC)).replace(hour=0) - DAY
TEN = DAY_BEFORE + 10 * HOUR


def run(instance: dg.DagsterInstance, job: str, **tags: str) -> dg.ExecuteInProcessResult:
    given = {f"dagster/{name}": value for name, value in tags.items()}
    return defs.resolve_job_def(job).execute_in_process(instance=instance, tags=given, raise_on_error=False)


def run_range(instance: dg.DagsterInstance, job: str, first: datetime, last: datetime) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, tags=tags_of(hour_key(first), hour_key(last)), raise_on_error=False
    )


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dict[str, Any]]:
    """The metadata of each partition's materialisation."""
    return {
        str(event.materialization.partition): {
            name: getattr(value, "value", value) for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    }


@pytest.fixture
def executions(connection: Connection) -> Connection:
    for number in range(6):
        execution(connection, TEN + number * HOUR, rsi=10 + 15 * number, symbol="A|B", price=number)
    execution(connection, TEN, status="retrying", symbol="A|B")
    return connection


def test_one_hour_is_built_with_its_numbers_and_a_preview(instance: dg.DagsterInstance, executions: Connection) -> None:
    result = run(instance, "hourly_aggregates_job", partition=hour_key(TEN))
    assert result.success
    signals = metadata_of(result, SIGNALS.name)[hour_key(TEN)]
    assert (signals["dagster/partition_row_count"], signals["executions"], signals["buy_signals"]) == (1, 1, 1)
    assert signals["avg_rsi"] == 10
    assert "A\\|B" in signals["preview"]
    metrics = metadata_of(result, HOURLY_METRICS.name)[hour_key(TEN)]
    assert (metrics["total_executions"], metrics["retried"], metrics["success_rate"]) == (2, 1, 0.5)
    assert metrics["p95_processing_ms"] == pytest.approx(10)


def test_a_range_is_one_run_in_which_each_hour_has_its_own_numbers(
    instance: dg.DagsterInstance, executions: Connection
) -> None:
    last = TEN + 8 * HOUR
    first = TEN - 24 * HOUR
    result = run_range(instance, "hourly_aggregates_job", first, last)
    assert result.success
    signals = metadata_of(result, SIGNALS.name)
    hours = round((last - first) / HOUR) + 1
    assert len(signals) == len(metadata_of(result, HOURLY_METRICS.name)) == hours > 24
    assert [signals[hour_key(TEN + number * HOUR)]["executions"] for number in range(-1, 7)] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert signals[hour_key(first)]["preview"] == "No executions."
    assert differences(executions, SIGNALS) == differences(executions, HOURLY_METRICS) == []
    assert instance.get_runs_count() == 1
    assert instance.get_materialized_partitions(dg.AssetKey(SIGNALS.name)) == set(signals)


def test_the_open_hour_can_be_built(instance: dg.DagsterInstance, connection: Connection) -> None:
    now = datetime.now(UTC)
    execution(connection, now.replace(minute=max(1, now.minute)))
    assert run(instance, "hourly_aggregates_job", partition=hour_key(now)).success
    assert differences(connection, HOURLY_METRICS) == []


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"partition": "2001-01-01-00:00"}, "there is no partition 2001-01-01-00:00: the first is 2"),
        ({"partition": hour_key(DAY_BEFORE + 5 * DAY)}, "there is no partition"),
        ({"partition": "2026-01-01-00:30"}, "not a full hour"),
        ({}, "needs a partition"),
        (
            {
                "asset_partition_range_start": hour_key(TEN + HOUR),
                "asset_partition_range_end": hour_key(TEN),
            },
            "before it starts",
        ),
    ],
)
def test_a_partition_that_does_not_exist_or_a_reversed_range_fails_with_the_reason(
    instance: dg.DagsterInstance, executions: Connection, tags: dict[str, str], why: str
) -> None:
    result = run(instance, "hourly_aggregates_job", **tags)
    assert not result.success
    assert any(why in text for text in failures(result)), failures(result)
    assert executions.execute("SELECT count(*) FROM hourly_signal_aggregates").fetchone() == (0,)


def test_the_metrics_of_an_hour_are_built_by_their_own_job(
    instance: dg.DagsterInstance, executions: Connection
) -> None:
    result = run_range(instance, "workflow_metrics_job", TEN, TEN + 5 * HOUR)
    assert result.success
    assert metadata_of(result, METRICS.name)[hour_key(TEN)]["dagster/partition_row_count"] == 8
    assert metadata_of(result, METRICS.name)[hour_key(TEN)]["avg_queue_wait_ms"] == pytest.approx(100)
    assert differences(executions, METRICS) == []


def test_a_week_in_one_run_reports_every_hour_that_has_a_partition(
    instance: dg.DagsterInstance, executions: Connection
) -> None:
    sunday = DAY_BEFORE - timedelta(days=DAY_BEFORE.isoweekday() % 7)
    result = run(instance, "hourly_aggregates_by_week", partition=day_key(sunday))
    assert result.success
    hours = min(168, round((hour_of(datetime.now(UTC)) + HOUR - sunday) / HOUR))
    materialised = {
        str(event.materialization.partition): event.materialization
        for event in result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(SIGNALS.name)
    }
    assert len(materialised) == hours
    assert materialised[hour_key(TEN)].metadata["executions"].value == 1
    assert differences(executions, SIGNALS) == differences(executions, HOURLY_METRICS) == []
    assert hour_key(TEN) in instance.get_materialized_partitions(dg.AssetKey(SIGNALS.name))


def test_lineage_leads_from_the_queue_to_the_report_and_every_asset_is_documented() -> None:
    graph = defs.resolve_asset_graph()
    parents = {
        name: {parent.to_user_string() for parent in graph.get(dg.AssetKey(name)).parent_keys}
        for name in (DAILY_REPORT, *(table.name for table in TABLES), "workflow_executions")
    }
    assert parents == {
        DAILY_REPORT: {SIGNALS.name, HOURLY_METRICS.name},
        **{table.name: {"workflow_executions"} for table in TABLES},
        "workflow_executions": {"workflow_main_queue"},
    }
    for name in (*(table.name for table in TABLES), DAILY_REPORT):
        node = graph.get(dg.AssetKey(name))
        assert node.description
        assert node.owners == ["team:quant-data"]
        assert node.group_name == "analytics"
        assert node.kinds
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        if name != DAILY_REPORT:
            columns = node.metadata["dagster/column_schema"].columns
            assert all(column.description and column.type for column in columns)


def test_a_days_report_is_markdown_and_a_self_contained_file_with_charts(
    instance: dg.DagsterInstance, executions: Connection, tmp_path: Path
) -> None:
    execution(executions, TEN, symbol="<script>alert(1)</script>")
    assert run_range(instance, "hourly_aggregates_job", TEN, TEN + 6 * HOUR).success
    result = run(instance, "daily_signal_report_job", partition=day_key(DAY_BEFORE))
    assert result.success
    report = metadata_of(result, DAILY_REPORT)[day_key(DAY_BEFORE)]
    assert (report["executions"], report["processed"], report["retried"]) == (7, 8, 1)
    assert f"{DAY_BEFORE:%d %B %Y}" in report["report"]
    page = Path(report["file"])
    assert page == (tmp_path / "home" / "reports" / f"{DAY_BEFORE:%Y-%m-%d}.html").resolve()
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "src=" not in text
    assert "10:00" in text
    assert stale(executions, DAILY_REPORT) == set()


def test_the_same_day_gives_the_same_page_and_a_day_without_executions_says_so(
    connection: Connection, tmp_path: Path
) -> None:
    execution(connection, hour("2026-03-01T10"))
    replace_window(connection, SIGNALS, ALL)
    day = hour("2026-03-01T00")
    first, second = (write_report(connection, tmp_path, day) for _ in range(2))
    assert first.html == second.html
    assert "No executions" not in first.html
    empty = write_report(connection, tmp_path, day + DAY)
    assert "No executions." in empty.markdown
    assert "No executions." in (tmp_path / "reports" / "2026-03-02.html").read_text()


def test_several_days_are_one_run_with_a_page_each(instance: dg.DagsterInstance, executions: Connection) -> None:
    first = DAY_BEFORE - 2 * DAY
    result = defs.resolve_job_def("daily_signal_report_job").execute_in_process(
        instance=instance, tags=tags_of(day_key(first), day_key(DAY_BEFORE))
    )
    assert result.success
    pages = metadata_of(result, DAILY_REPORT)
    assert list(pages) == [day_key(first), day_key(first + DAY), day_key(DAY_BEFORE)]
    assert all(Path(page["file"]).is_file() for page in pages.values())
