"""The whole product on one page: what Dagster loads. The only file that knows every part."""

from __future__ import annotations

import dagster as dg

from nexus_pipeline.database.resources import NexusDatabase
from nexus_pipeline.processing.assets import queue_assets
from nexus_pipeline.processing.jobs import process_trading_workflow, purge_queue_runs
from nexus_pipeline.processing.ops import MEMORY
from nexus_pipeline.processing.schedules import purge_queue_runs_schedule
from nexus_pipeline.processing.sensors import workflow_main_queue_sensor

defs = dg.Definitions(
    assets=queue_assets,
    jobs=[process_trading_workflow, purge_queue_runs],
    schedules=[purge_queue_runs_schedule],
    sensors=[workflow_main_queue_sensor],
    resources={"nexus": NexusDatabase(), MEMORY: dg.mem_io_manager},
)
