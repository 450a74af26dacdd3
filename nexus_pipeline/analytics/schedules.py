"""What runs by the clock: the hour that just closed, and the checks of the pipeline."""

from datetime import UTC

import dagster as dg

from nexus_pipeline.analytics.hours import HOUR, hour_of
from nexus_pipeline.analytics.jobs import hourly_aggregates_job, pipeline_checks_job
from nexus_pipeline.analytics.partitions import hour_key, hourly
from nexus_pipeline.analytics.sensors import KEEPING_UP_TAGS
from nexus_pipeline.analytics.stale import mark_closed_hours
from nexus_pipeline.dagster_instance.resources import NexusDatabase


@dg.schedule(
    job=hourly_aggregates_job,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Materialises the hour that just closed. What is missed while the daemon is down, stale_hours_sensor "
    "makes up.",
)
def closed_hour_schedule(context: dg.ScheduleEvaluationContext, nexus: NexusDatabase) -> dg.RunRequest | dg.SkipReason:
    """The hour before the tick."""
    closed = hour_of(context.scheduled_execution_time.astimezone(UTC)) - HOUR
    key = hour_key(closed)
    if not hourly.has_partition_key(key):
        return dg.SkipReason(f"{key} lies before the first partition (NEXUS_PARTITIONS_START)")
    # Before its run: marked after it by the sensor, the hour would be made twice.
    try:
        with nexus.connect() as connection:
            mark_closed_hours(connection)
    except dg.Failure as error:
        return dg.SkipReason(f"the database does not answer: {error}; stale_hours_sensor makes {key}")
    return dg.RunRequest(partition_key=key, tags=KEEPING_UP_TAGS)


pipeline_checks_schedule = dg.ScheduleDefinition(
    name="pipeline_checks_schedule",
    job=pipeline_checks_job,
    cron_schedule="7,22,37,52 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour.",
)
analytics_schedules = [closed_hour_schedule, pipeline_checks_schedule]
