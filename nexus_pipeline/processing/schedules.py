"""The schedule of the upkeep."""

import dagster as dg

from nexus_pipeline.processing.jobs import purge_queue_runs

purge_queue_runs_schedule = dg.ScheduleDefinition(
    name="purge_queue_runs_schedule",
    job=purge_queue_runs,
    cron_schedule="17 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
