"""The assets: hourly aggregates and metrics, and the day's report. windows.py and daily_report.py do the work."""

from datetime import datetime
from typing import Any

import dagster as dg

from nexus_pipeline.analytics.columns import HOURLY_METRIC_COLUMNS, METRIC_COLUMNS, SIGNAL_COLUMNS
from nexus_pipeline.analytics.daily_report import report_file, write_report
from nexus_pipeline.analytics.hours import DAY, Window
from nexus_pipeline.analytics.partitions import (
    daily,
    day_key,
    hour_key,
    hourly,
    window_of_tags,
)
from nexus_pipeline.analytics.previews import numbers_of, preview_of
from nexus_pipeline.analytics.windows import DAILY_REPORT, HOURLY_METRICS, METRICS, SIGNALS, hours_of, replace_window
from nexus_pipeline.dagster_instance.metadata import add_partition_metadata
from nexus_pipeline.dagster_instance.resources import NexusDatabase, failures
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.settings import load_settings

GROUP = "analytics"
OWNERS = ["team:quant-data"]
# A server that restarts is there again within seconds; and making a window twice changes nothing.
_RETRIES = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)


def column_schema(columns: tuple[tuple[str, str, str], ...]) -> dg.TableSchema:
    """The columns as the UI shows them."""
    return dg.TableSchema([dg.TableColumn(name, type=kind, description=text) for name, kind, text in columns])


def _hourly_asset(name: str, columns: tuple[tuple[str, str, str], ...], description: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        deps=[dg.AssetKey("workflow_executions")],
        partitions_def=hourly,
        # Any range is one run: what an hour costs in a run of its own, a month costs in one of all.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=_RETRIES,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"postgres", "table"},
        code_version="1",
        description=description,
        metadata={
            "dagster/column_schema": column_schema(columns),
            "dagster/table_name": f"public.{name}",
        },
    )
    def replaced(context: dg.AssetExecutionContext, nexus: NexusDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
        window = window_of_run(context)
        with nexus.connect() as connection:
            done = replace_window(connection, name, window)
            metadata = metadata_of(connection, name, window)
        context.log.info(
            f"{name}: {len(window)} hours from {window.start.isoformat()}, "
            f"{done.rows_before} rows replaced by {done.rows}"
        )
        add_partition_metadata(context, metadata)
        return dg.MaterializeResult()

    return replaced


def window_of_run(context: dg.AssetExecutionContext) -> Window:
    """Return the hours that the run works on, one partition or a range.

    `context.partition_time_window` would answer a key that does not exist (01:30) with the next hour.

    Raises:
        dagster.Failure: there is no such partition, or the range ends before it starts. Retries cannot help.
    """
    partitions = context.assets_def.partitions_def
    with failures():
        window = window_of_tags(context.run.tags)
    if window is None or partitions is None:
        raise dg.Failure("this asset needs a partition, as in 2026-01-31-09:00", allow_retries=False)
    for key in (context.partition_key_range.start, context.partition_key_range.end):
        if not partitions.has_partition_key(key):
            raise dg.Failure(
                f"there is no partition {key}: the first is {partitions.get_first_partition_key()}, the last, still "
                f"open, {partitions.get_last_partition_key()}",
                allow_retries=False,
            )
    return window


def metadata_of(connection: Connection, asset: str, window: Window) -> dict[str, dict[str, Any]]:
    """The metadata of each partition of the window, by partition key."""
    hours = hours_of(connection, asset, window)
    return {hour_key(hour): _metadata(asset, hour, hours.get(hour, {})) for hour in window.hours()}


def _metadata(asset: str, start: datetime, hour: dict[str, Any]) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": int(hour.get("rows", 0)),
        **numbers_of(asset, hour),
        "hour": dg.MetadataValue.timestamp(start),
        "preview": dg.MetadataValue.md(preview_of(asset, hour)),
    }


hourly_signal_aggregates = _hourly_asset(
    SIGNALS,
    SIGNAL_COLUMNS,
    "Decisions by event hour, symbol and strategy: counts of each signal, RSI, confidence, strength, risk, price and "
    "volume. An hour without final executions has no row.",
)
hourly_workflow_metrics = _hourly_asset(
    HOURLY_METRICS,
    HOURLY_METRIC_COLUMNS,
    "How the work went, by processing hour: attempts, outcomes, throughput, and how long they took and waited. An hour "
    "without attempts has no row.",
)
workflow_metrics = _hourly_asset(
    METRICS,
    METRIC_COLUMNS,
    "For each attempt its time in the queue, its processing and end-to-end times, and its number, by processing hour.",
)


@dg.asset(
    name=DAILY_REPORT,
    deps=[hourly_signal_aggregates, hourly_workflow_metrics],
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=_RETRIES,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"markdown", "html"},
    code_version="1",
    description="A day on a page, out of the hourly tables: markdown here, and an HTML file with charts in "
    "NEXUS_HOME/reports.",
)
def daily_signal_report(context: dg.AssetExecutionContext, nexus: NexusDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Writes the page of each day of the run."""
    window, home = window_of_run(context), load_settings().home
    days = [window.start + number * DAY for number in range(round((window.before - window.start) / DAY))]
    metadata = {}
    for day in days:
        with nexus.connect() as connection:
            report = write_report(connection, home, day)
        metadata[day_key(day)] = {
            **report.numbers,
            "report": dg.MetadataValue.md(report.markdown),
            "file": dg.MetadataValue.path(report_file(home, day).resolve()),
        }
    add_partition_metadata(context, metadata)
    return dg.MaterializeResult()


hourly_assets = [hourly_signal_aggregates, hourly_workflow_metrics]
analytics_assets = [*hourly_assets, workflow_metrics, daily_signal_report]
