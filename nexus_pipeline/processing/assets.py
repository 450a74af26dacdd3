"""The queues and the executions as assets, so that lineage runs from a request to a report."""

import dagster as dg

from nexus_pipeline.queues.names import MAIN_QUEUE

_SPECS = (
    ("workflow_main_queue", "queue", "Signal requests that wait. Observed by the sensor: depth, and the age of the "
     "oldest."),
    ("workflow_executions", "table", "Every attempt at every request, with its input, decision and times. Materialised "
     "by each run of process_trading_workflow."),
    ("workflow_results", "queue", "Decisions, published for whoever acts on them."),
    ("workflow_errors", "queue", "Dead letters: messages whose last attempt failed, with all that is needed to "
     "understand and resend them (`nexus errors`)."),
)  # fmt: skip

queue_assets = [
    dg.AssetSpec(
        name,
        deps=[] if name == MAIN_QUEUE else [MAIN_QUEUE],
        description=description,
        group_name="processing",
        kinds={"postgres", kind},
    )
    for name, kind, description in _SPECS
]
