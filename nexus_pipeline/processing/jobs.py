"""The jobs: processing, and the upkeep of queues and runs."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.processing.ops import batch, plan, summary
from nexus_pipeline.queues.ledger import seal, served_queues
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import load_settings

QUEUE_TAG = "nexus/queue"
# Seconds that a run may exceed its budget before run monitoring ends it.
GRACE_SECONDS = 60
_RUNS_PER_PAGE = 500


@dg.job(
    description="Drains workflow_main_queue within a budget of batches and seconds, and settles every message once.",
    # A step takes milliseconds, starting a process for it a thousand times as long.
    executor_def=dg.in_process_executor,
    tags={
        QUEUE_TAG: MAIN_QUEUE,
        # A crashed run cannot be resumed: its results were in memory, and its messages are in the queue.
        "dagster/retry_strategy": "ALL_STEPS",
    },
)
def process_trading_workflow() -> None:
    """Plan the batches, process each, add them up."""
    summary(plan().map(batch).collect())


@dg.op(description="Deletes ended processing runs from Dagster's storage, with their events and what they printed.")
def purge(context: dg.OpExecutionContext) -> int:
    """Delete the runs that ended more than NEXUS_KEEP_RUNS_HOURS ago; returns how many."""
    ended_before = datetime.now(UTC) - timedelta(hours=load_settings().keep_runs_hours)
    ended = dg.RunsFilter(
        job_name="process_trading_workflow",
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        updated_before=ended_before,
    )
    purged = 0
    while records := context.instance.get_run_records(ended, limit=_RUNS_PER_PAGE, ascending=True):
        for record in records:
            run_id = record.dagster_run.run_id
            context.instance.compute_log_manager.delete_logs(prefix=[run_id])
            context.instance.delete_run(run_id)
        purged += len(records)
    context.add_output_metadata({"purged": purged, "ended_before": ended_before.isoformat()})
    return purged


@dg.op(description="Counts what is finished in each served queue, so that `nexus status` need not read the archive.")
def seal_ledgers(context: dg.OpExecutionContext, nexus: NexusDatabase) -> None:
    """Advance the seal of each ledger."""
    with nexus.connect() as connection:
        context.add_output_metadata({queue: seal(connection, queue) or 0 for queue in served_queues(connection)})


@dg.job(
    description="Deletes processing runs older than NEXUS_KEEP_RUNS_HOURS, since Dagster keeps events for ever, and "
    "seals the ledgers.",
    executor_def=dg.in_process_executor,
)
def purge_queue_runs() -> None:
    """Purge and seal."""
    purge()
    seal_ledgers()
