"""What runs by the clock: the hour that has just closed, and the checks of the pipeline."""

from datetime import UTC

import dagster as dg

from nexus_pipeline.analytics.hours import HOUR, hour_of
from nexus_pipeline.analytics.jobs import pipeline_checks_job
from nexus_pipeline.analytics.partitions import hour_key, hourly
from nexus_pipeline.analytics.sensors import AUTOMATIC_TAGS
from nexus_pipeline.analytics.stale import mark_closed_hours
from nexus_pipeline.analytics.tables import HOURLY_JOB
from nexus_pipeline.dagster_instance.resources import NexusDatabase


@dg.schedule(
    job_name=HOURLY_JOB.name,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Builds the hour that has just closed. stale_hours_sensor builds the hours that are missed while the "
    "daemon is down.",
)
def closed_hour_schedule(context: dg.ScheduleEvaluationContext, nexus: NexusDatabase) -> dg.RunRequest | dg.SkipReason:
    """The hour before the tick."""
    closed = hour_of(context.scheduled_execution_time.astimezone(UTC)) - HOUR
    key = hour_key(closed)
    if not hourly.has_partition_key(key):
        return dg.SkipReason(f"{key} is before the first partition (NEXUS_PARTITIONS_START)")
    # Marked before the run: if the sensor marked it after the run, the hour would be built twice.
    try:
        with nexus.connect() as connection:
            mark_closed_hours(connection)
    except dg.Failure as error:
        return dg.SkipReason(f"the database does not answer: {error}; stale_hours_sensor will build {key}")
    return dg.RunRequest(partition_key=key, tags=AUTOMATIC_TAGS)


pipeline_checks_schedule = dg.ScheduleDefinition(
    name="pipeline_checks_schedule",
    job=pipeline_checks_job,
    cron_schedule="7,22,37,52 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour.",
)
analytics_schedules = [closed_hour_schedule, pipeline_checks_schedule]
