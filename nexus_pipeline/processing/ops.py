"""The op graph of a processing run: plan, one mapped step for each batch, summary."""

import math
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.processing.batch import BatchResult, process_batch
from nexus_pipeline.processing.summary import summarise
from nexus_pipeline.queues.leases import RetryPolicy
from nexus_pipeline.queues.ledger import depth
from nexus_pipeline.queues.names import MAIN_QUEUE, checked_queue
from nexus_pipeline.settings import load_settings

# Steps exchange a few figures, which need no files.
MEMORY = "memory"
# For a server that is away for a moment: three retries within about fifteen seconds.
STEP_RETRIES = dg.RetryPolicy(max_retries=3, delay=1, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)


class ProcessingConfig(dg.Config):
    """The configuration of a processing run; the NEXUS_* variables are the defaults."""

    queue: str = Field(default=MAIN_QUEUE, description="Queue to drain: a-z, 0-9 and _.")
    batch_size: int | None = Field(default=None, ge=1, le=10_000, description="Messages claimed together.")
    max_batches: int | None = Field(default=None, ge=1, le=500, description="Maximum number of batches, a step each.")
    max_seconds: int | None = Field(
        default=None, ge=1, le=3_600, description="Seconds after which no batch but the first is claimed."
    )


@dg.op(
    out=dg.DynamicOut(dict[str, Any], description="The limits of one batch.", io_manager_key=MEMORY),
    description="Reads the backlog and plans the batches of this run.",
    retry_policy=STEP_RETRIES,
)
def plan(
    context: dg.OpExecutionContext, config: ProcessingConfig, nexus: NexusDatabase
) -> Iterator[dg.DynamicOutput[dict[str, Any]]]:
    """One dynamic output for each batch of the backlog, within the limits of the run."""
    settings = load_settings()
    batch_size = config.batch_size or settings.batch_size
    max_batches = config.max_batches or settings.batches_per_run
    deadline = time.monotonic() + (config.max_seconds or settings.seconds_per_run)
    with nexus.connect(_nothing_is_lost(settings.lease_seconds)) as connection:
        queue = checked_queue(config.queue)
        seen = depth(connection, queue, up_to=batch_size * max_batches)
    batches = math.ceil(seen.waiting / batch_size)
    context.log.info(f"{seen.waiting} waiting (counted up to {batch_size * max_batches}): {batches} batches")
    for number in range(1, batches + 1):
        # On a loaded machine planning may use up all the seconds; the first batch makes every run progress.
        limits = {"queue": queue, "batch_size": batch_size, "deadline": deadline if number > 1 else math.inf}
        yield dg.DynamicOutput(limits, mapping_key=f"{number:03d}")


@dg.op(
    out=dg.Out(dict[str, Any], io_manager_key=MEMORY),
    description="Claims one batch, evaluates it and settles it in one transaction.",
    retry_policy=STEP_RETRIES,
)
def batch(context: dg.OpExecutionContext, planned: dict[str, Any], nexus: NexusDatabase) -> dict[str, Any]:
    """The result of a batch, which is also the metadata of the step."""
    settings = load_settings()
    policy = RetryPolicy(settings.max_attempts, settings.retry_base_seconds, settings.retry_max_seconds)
    result = BatchResult()
    # After the deadline without a connection: if the server is away, each remaining step would wait and be retried.
    if context.retry_number > 0 or time.monotonic() < planned["deadline"]:
        with nexus.connect(_nothing_is_lost(settings.lease_seconds)) as connection:
            result = process_batch(connection, **planned, lease_seconds=settings.lease_seconds, policy=policy)
    context.add_output_metadata({**vars(result), "ms": round(result.ms, 2)})
    return vars(result)


@dg.op(
    out=dg.Out(dict[str, Any], io_manager_key=MEMORY),
    description="Adds up the batches and materializes the asset workflow_executions.",
)
def summary(context: dg.OpExecutionContext, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals of the run."""
    total = summarise([BatchResult(**result) for result in results])
    context.log.info(
        f"{total['completed']} completed, {total['retried']} to be retried, {total['dead_lettered']} dead-lettered "
        f"in {total['batches']} batches"
    )
    context.log_event(dg.AssetMaterialization("workflow_executions", metadata=dict(total)))
    context.add_output_metadata(dict(total))
    return dict(total)


def _nothing_is_lost(lease_seconds: int) -> str:
    return f"Nothing is lost: what was not settled waits in the queue again when its lease ends ({lease_seconds} s)."
