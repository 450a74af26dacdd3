"""The assets: the hourly tables and the daily report. windows.py and daily_report.py do the work."""

from typing import Any

import dagster as dg

from nexus_pipeline.analytics.daily_report import report_file, write_report
from nexus_pipeline.analytics.hours import DAY, Window
from nexus_pipeline.analytics.partitions import daily, day_key, hour_key, hourly, window_of_tags
from nexus_pipeline.analytics.previews import numbers_of, preview_of
from nexus_pipeline.analytics.tables import DAILY_REPORT, TABLES, HourlyTable
from nexus_pipeline.analytics.windows import replace_window, summarize
from nexus_pipeline.dagster_instance.metadata import add_partition_metadata
from nexus_pipeline.dagster_instance.resources import NexusDatabase, failures
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.settings import load_settings

# A server that restarts is back within seconds, and rebuilding a window twice changes nothing.
_RETRIES = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)
# Any range is one run: a month of hours costs there what one hour costs in a run of its own.
_BACKFILL = dg.BackfillPolicy.single_run()
_GROUP = "analytics"
_OWNERS = ["team:quant-data"]


def _hourly_asset(table: HourlyTable) -> dg.AssetsDefinition:
    @dg.asset(
        name=table.name,
        deps=[dg.AssetKey("workflow_executions")],
        partitions_def=hourly,
        kinds={"postgres", "table"},
        description=table.description,
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, type=kind, description=text) for name, kind, text in table.columns]
            ),
            "dagster/table_name": f"public.{table.name}",
        },
        backfill_policy=_BACKFILL,
        retry_policy=_RETRIES,
        group_name=_GROUP,
        owners=_OWNERS,
        code_version="1",
    )
    def rebuilt(context: dg.AssetExecutionContext, nexus: NexusDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
        window = window_of_run(context)
        with nexus.connect() as connection:
            done = replace_window(connection, table, window)
            metadata = metadata_of(connection, table, window)
        context.log.info(
            f"{table.name}: {len(window)} hours from {window.start.isoformat()}, "
            f"{done.rows_before} rows replaced by {done.rows}"
        )
        add_partition_metadata(context, metadata)
        return dg.MaterializeResult()

    return rebuilt


def window_of_run(context: dg.AssetExecutionContext) -> Window:
    """The hours that the run works on, one partition or a range.

    Raises:
        dagster.Failure: there is no such partition, or the range ends before it starts. Retries cannot help.
    """
    partitions = context.assets_def.partitions_def
    with failures():
        window = window_of_tags(context.run.tags)
    if window is None or partitions is None:
        raise dg.Failure("this asset needs a partition, such as 2026-01-31-09:00", allow_retries=False)
    for key in (context.partition_key_range.start, context.partition_key_range.end):
        if not partitions.has_partition_key(key):
            raise dg.Failure(
                f"there is no partition {key}: the first is {partitions.get_first_partition_key()}, the last, still "
                f"open, {partitions.get_last_partition_key()}",
                allow_retries=False,
            )
    return window


def metadata_of(connection: Connection, table: HourlyTable, window: Window) -> dict[str, dict[str, Any]]:
    """The metadata of each partition of the window, by partition key."""
    return {
        hour_key(hour["hour"]): {
            "dagster/partition_row_count": hour["rows"],
            **numbers_of(hour),
            "hour": dg.MetadataValue.timestamp(hour["hour"]),
            "preview": dg.MetadataValue.md(preview_of(hour)),
        }
        for hour in summarize(connection, table, window)
    }


hourly_assets = [_hourly_asset(table) for table in TABLES]


@dg.asset(
    name=DAILY_REPORT,
    deps=[dg.AssetKey(table.name) for table in TABLES if table.in_daily_report],
    partitions_def=daily,
    kinds={"markdown", "html"},
    description="The report of a day, from the hourly tables: markdown here, and an HTML file with charts in "
    "NEXUS_HOME/reports.",
    backfill_policy=_BACKFILL,
    retry_policy=_RETRIES,
    group_name=_GROUP,
    owners=_OWNERS,
    code_version="1",
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


analytics_assets = [*hourly_assets, daily_signal_report]
