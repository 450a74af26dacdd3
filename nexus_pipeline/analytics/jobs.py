"""The jobs over the assets. None takes any configuration: the partition, or the range, is all there is to say."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nexus_pipeline.analytics.assets import daily_signal_report, hourly_assets, metadata_of, workflow_metrics
from nexus_pipeline.analytics.checks import event_time_freshness, pipeline_checks
from nexus_pipeline.analytics.hours import Window, first_hour
from nexus_pipeline.analytics.partitions import open_end, weekly
from nexus_pipeline.analytics.windows import HOURLY_METRICS, SIGNALS, replace_window
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.settings import load_settings

# The work is done in PostgreSQL: a process for each step would wait for it no better.
_EXECUTOR = dg.in_process_executor

hourly_aggregates_job = dg.define_asset_job(
    "hourly_aggregates_job",
    # Freshness is not of the hours that a run makes.
    selection=dg.AssetSelection.assets(*hourly_assets) - dg.AssetSelection.checks(event_time_freshness),
    executor_def=_EXECUTOR,
    description="hourly_signal_aggregates and hourly_workflow_metrics of one hour, or of a range, with their checks.",
)
workflow_metrics_job = dg.define_asset_job(
    "workflow_metrics_job",
    selection=dg.AssetSelection.assets(workflow_metrics),
    executor_def=_EXECUTOR,
    description="workflow_metrics of one hour, or of a range, with its checks: four rows for each attempt.",
)
daily_signal_report_job = dg.define_asset_job(
    "daily_signal_report_job",
    selection=dg.AssetSelection.assets(daily_signal_report),
    executor_def=_EXECUTOR,
    description="The pages of one day, or of a range of days.",
)
pipeline_checks_job = dg.define_asset_job(
    "pipeline_checks_job",
    selection=dg.AssetSelection.checks(*pipeline_checks),
    executor_def=_EXECUTOR,
    description="What concerns the pipeline as it is now and no single hour: queue age, dead letters, freshness.",
)


def _week_op(asset: str) -> dg.OpDefinition:
    @dg.op(name=f"week_of_{asset}", ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def week_op(context: dg.OpExecutionContext, nexus: NexusDatabase) -> Iterator[Any]:
        """Replaces a week of the asset, and tells of each hour as the asset's own run would."""
        week, now = context.partition_time_window, datetime.now(UTC)
        # A week at the edge is cut to the hours that have a partition.
        window = Window(
            max(week.start.astimezone(UTC), first_hour(load_settings().partitions_start, now)),
            min(week.end.astimezone(UTC), open_end(now)),
        )
        with nexus.connect() as connection:
            done = replace_window(connection, asset, window)
            metadata = metadata_of(connection, asset, window)
        for key, values in metadata.items():
            yield dg.AssetMaterialization(asset, partition=key, metadata=values)
        yield dg.Output(None, metadata={"hours": len(window), "rows": done.rows})

    return week_op


_week_of_signals, _week_of_metrics = _week_op(SIGNALS), _week_op(HOURLY_METRICS)


@dg.job(
    partitions_def=weekly,
    executor_def=_EXECUTOR,
    description="The same as hourly_aggregates_job, a week in each run: for `dagster job backfill`, which starts a run "
    "for each partition that it names. A year is 53 runs.",
)
def hourly_aggregates_by_week() -> None:
    """One after the other."""
    _week_of_metrics(after=_week_of_signals())


analytics_jobs: list[Any] = [
    hourly_aggregates_job,
    workflow_metrics_job,
    daily_signal_report_job,
    pipeline_checks_job,
    hourly_aggregates_by_week,
]
