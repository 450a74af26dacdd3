"""The whole product on one page: what Dagster loads. The only file that knows every part."""

import dagster as dg

from nexus_pipeline.analytics.assets import analytics_assets
from nexus_pipeline.analytics.checks import analytics_checks
from nexus_pipeline.analytics.jobs import analytics_jobs
from nexus_pipeline.analytics.schedules import analytics_schedules
from nexus_pipeline.analytics.sensors import analytics_sensors
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.processing.assets import queue_assets
from nexus_pipeline.processing.jobs import process_trading_workflow, purge_queue_runs
from nexus_pipeline.processing.ops import MEMORY
from nexus_pipeline.processing.schedules import purge_queue_runs_schedule
from nexus_pipeline.processing.sensors import workflow_main_queue_sensor

defs = dg.Definitions(
    assets=[*queue_assets, *analytics_assets],
    asset_checks=analytics_checks,
    jobs=[process_trading_workflow, purge_queue_runs, *analytics_jobs],
    schedules=[purge_queue_runs_schedule, *analytics_schedules],
    sensors=[workflow_main_queue_sensor, *analytics_sensors],
    resources={"nexus": NexusDatabase(), MEMORY: dg.mem_io_manager},
)
