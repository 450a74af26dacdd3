"""The jobs over the assets. None takes any configuration: the partition, or the range, says it all."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nexus_pipeline.analytics.assets import daily_signal_report, metadata_of
from nexus_pipeline.analytics.checks import event_time_freshness, pipeline_checks
from nexus_pipeline.analytics.hours import HOUR, Window, first_hour, hour_of
from nexus_pipeline.analytics.partitions import weekly
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.analytics.tables import HOURLY_JOB, JOBS, HourlyTable, RebuildJob, tables_of
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.settings import load_settings

# The work is done in PostgreSQL: a process for each step would not make it faster.
_EXECUTOR = dg.in_process_executor


def _rebuild_job(job: RebuildJob) -> Any:
    names = [table.name for table in tables_of(job)]
    return dg.define_asset_job(
        job.name,
        # Freshness is not about the hours that a run rebuilds.
        selection=dg.AssetSelection.assets(*names) - dg.AssetSelection.checks(event_time_freshness),
        executor_def=_EXECUTOR,
        description=f"Rebuilds {' and '.join(names)} for one hour or a range, with their checks.",
    )


rebuild_jobs = [_rebuild_job(job) for job in JOBS]
daily_signal_report_job = dg.define_asset_job(
    "daily_signal_report_job",
    selection=dg.AssetSelection.assets(daily_signal_report),
    executor_def=_EXECUTOR,
    description="The pages of one day or of a range of days.",
)
pipeline_checks_job = dg.define_asset_job(
    "pipeline_checks_job",
    selection=dg.AssetSelection.checks(*pipeline_checks),
    executor_def=_EXECUTOR,
    description="The checks of the pipeline as it is now, not of an hour: queue age, dead letters, freshness.",
)


def _week_op(table: HourlyTable) -> dg.OpDefinition:
    @dg.op(name=f"week_of_{table.name}", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def week_op(context: dg.OpExecutionContext, nexus: NexusDatabase) -> Iterator[Any]:
        """Rebuilds a week of the table, and reports each hour as the asset's own run would."""
        week, now = context.partition_time_window, datetime.now(UTC)
        # The first and the last week are cut to the hours that have a partition.
        window = Window(
            max(week.start.astimezone(UTC), first_hour(partitions_start(load_settings()), now)),
            min(week.end.astimezone(UTC), hour_of(now) + HOUR),
        )
        with nexus.connect() as connection:
            done = replace_window(connection, table, window)
            metadata = metadata_of(connection, table, window)
        for key, values in metadata.items():
            yield dg.AssetMaterialization(table.name, partition=key, metadata=values)
        yield dg.Output(None, metadata={"hours": len(window), "rows": done.rows})

    return week_op


_week_ops = [_week_op(table) for table in tables_of(HOURLY_JOB)]


@dg.job(
    partitions_def=weekly,
    executor_def=_EXECUTOR,
    description=f"The same as {HOURLY_JOB.name} with a week in each run: for `dagster job backfill`, which starts a "
    "run for each partition. A year is 53 runs.",
)
def hourly_aggregates_by_week() -> None:
    """The tables one after the other."""
    after: Any = None
    for week_op in _week_ops:
        after = week_op() if after is None else week_op(after=after)


analytics_jobs: list[Any] = [*rebuild_jobs, daily_signal_report_job, pipeline_checks_job, hourly_aggregates_by_week]
