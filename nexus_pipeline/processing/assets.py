"""The queues and the executions as assets, so that lineage runs from a request to a report."""

from __future__ import annotations

import dagster as dg

workflow_main_queue = dg.AssetSpec(
    "workflow_main_queue",
    description="Signal requests that wait. Observed by the sensor: depth, and the age of the oldest.",
    group_name="processing",
    kinds={"postgres", "queue"},
)

workflow_executions = dg.AssetSpec(
    "workflow_executions",
    deps=[workflow_main_queue],
    description="Every attempt at every request, with its input, decision and times. Materialised by each run of "
    "process_trading_workflow.",
    group_name="processing",
    kinds={"postgres", "table"},
)

workflow_results = dg.AssetSpec(
    "workflow_results",
    deps=[workflow_main_queue],
    description="Decisions, published for whoever acts on them.",
    group_name="processing",
    kinds={"postgres", "queue"},
)

workflow_errors = dg.AssetSpec(
    "workflow_errors",
    deps=[workflow_main_queue],
    description="Dead letters: messages whose last attempt failed, with all that is needed to understand and resend "
    "them (`nexus errors`).",
    group_name="processing",
    kinds={"postgres", "queue"},
)

queue_assets = [workflow_main_queue, workflow_executions, workflow_results, workflow_errors]
