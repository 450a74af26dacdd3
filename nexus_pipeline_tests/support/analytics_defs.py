"""The definitions of the analytics tests: the analytics, the assets they depend on, and nothing else."""

from __future__ import annotations

import dagster as dg

from nexus_pipeline.analytics.assets import analytics_assets
from nexus_pipeline.analytics.checks import analytics_checks
from nexus_pipeline.analytics.jobs import analytics_jobs
from nexus_pipeline.analytics.schedules import analytics_schedules
from nexus_pipeline.analytics.sensors import analytics_sensors
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.processing.assets import queue_assets

defs = dg.Definitions(
    assets=[*queue_assets, *analytics_assets],
    asset_checks=analytics_checks,
    jobs=analytics_jobs,
    schedules=analytics_schedules,
    sensors=analytics_sensors,
    resources={"nexus": NexusDatabase()},
    executor=dg.in_process_executor,
)
