"""The jobs: processing, and the purging of what processing leaves in Dagster's storage."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from nexus_pipeline.processing.ops import batch, plan, summary
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import load_settings

QUEUE_TAG = "nexus/queue"
# Seconds that a run may take beyond its budget before monitoring takes its process for dead.
GRACE_SECONDS = 60
_PURGED_AT_ONCE = 500


@dg.job(
    description="Drains workflow_main_queue within a budget of batches and seconds, and settles every message once.",
    # A step takes milliseconds: a process for each would take a thousand times as long.
    executor_def=dg.in_process_executor,
    tags={
        QUEUE_TAG: MAIN_QUEUE,
        # Nothing of a crashed run can be resumed: its results were in its memory, its messages are in the queue.
        "dagster/retry_strategy": "ALL_STEPS",
    },
)
def process_trading_workflow() -> None:
    """Plan the batches, work on each, add them up."""
    summary(plan().map(batch).collect())


@dg.op(description="Deletes ended processing runs from Dagster's storage, with their events and what they printed.")
def purge(context: dg.OpExecutionContext) -> int:
    """How many runs were deleted: those that ended more than NEXUS_KEEP_RUNS_HOURS ago."""
    ended_before = datetime.now(UTC) - timedelta(hours=load_settings().keep_runs_hours)
    ended = dg.RunsFilter(
        job_name="process_trading_workflow",
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        updated_before=ended_before,
    )
    purged = 0
    while records := context.instance.get_run_records(ended, limit=_PURGED_AT_ONCE, ascending=True):
        for record in records:
            run_id = record.dagster_run.run_id
            context.instance.compute_log_manager.delete_logs(prefix=[run_id])
            context.instance.delete_run(run_id)
        purged += len(records)
    context.add_output_metadata({"purged": purged, "ended_before": ended_before.isoformat()})
    return purged


@dg.job(
    description="Dagster keeps events for ever: this keeps the processing runs of the last NEXUS_KEEP_RUNS_HOURS only.",
    executor_def=dg.in_process_executor,
)
def purge_queue_runs() -> None:
    """Purge."""
    purge()
