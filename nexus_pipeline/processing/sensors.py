"""The sensor that requests runs for the backlog. It consumes nothing: runs claim messages."""

import json
import math
import time
import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg

from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.processing.jobs import GRACE_SECONDS, QUEUE_TAG, process_trading_workflow
from nexus_pipeline.queues.ledger import Depth, depth
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings, load_settings

# Dagster's event log keeps observations for ever, so there is at most one a minute.
_OBSERVATION_INTERVAL_SECONDS = 60
_IN_FLIGHT = [dg.DagsterRunStatus(status) for status in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED")]


def runs_to_request(waiting: int, in_flight: int, settings: Settings) -> int:
    """How many more runs the backlog needs, with at most `NEXUS_MAX_RUNS` in flight."""
    wanted = min(settings.max_runs, math.ceil(waiting / (settings.batch_size * settings.batches_per_run)))
    return max(0, wanted - in_flight)


@dg.sensor(
    name="workflow_main_queue_sensor",
    job=process_trading_workflow,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Watches workflow_main_queue and requests runs while fewer than NEXUS_MAX_RUNS are in flight.",
)
def workflow_main_queue_sensor(context: dg.SensorEvaluationContext, nexus: NexusDatabase) -> dg.SensorResult:
    """Request runs for the backlog, and observe its size and age."""
    settings = load_settings()
    try:
        with nexus.connect() as connection:
            seen = depth(connection, MAIN_QUEUE)
    except dg.Failure as error:
        return dg.SensorResult(skip_reason=f"the database does not answer: {error}")
    in_flight = _runs_in_flight(context.instance, settings)
    number = runs_to_request(seen.waiting, in_flight, settings)
    tags = {QUEUE_TAG: MAIN_QUEUE, "dagster/max_runtime": str(settings.seconds_per_run + GRACE_SECONDS)}
    observations, cursor = _observe(context.cursor, seen, in_flight)
    return dg.SensorResult(
        # A fresh key for each: a used key never runs again, even if its run failed.
        run_requests=[dg.RunRequest(uuid.uuid4().hex, tags=tags) for _ in range(number)],
        skip_reason=None if number else _why_none(seen, in_flight, settings),
        cursor=cursor,
        asset_events=observations,
    )


def _runs_in_flight(instance: dg.DagsterInstance, settings: Settings) -> int:
    """Runs of the queue that are queued or working.

    A run without news for longer than a run may take is dead; it does not count until run monitoring notices.
    """
    alive_since = datetime.now(UTC) - timedelta(seconds=settings.seconds_per_run + 2 * GRACE_SECONDS)
    return instance.get_runs_count(
        dg.RunsFilter(tags={QUEUE_TAG: MAIN_QUEUE}, statuses=_IN_FLIGHT, updated_after=alive_since)
    )


def _why_none(seen: Depth, in_flight: int, settings: Settings) -> str:
    if seen.waiting == 0:
        return f"nothing waits in {MAIN_QUEUE}; {in_flight} runs in flight"
    return (
        f"{seen.waiting} wait in {MAIN_QUEUE}, the oldest for {seen.oldest_wait_s or 0:.1f} s; "
        f"{in_flight} runs in flight, at most {settings.max_runs}"
    )


def _observe(cursor: str | None, seen: Depth, in_flight: int) -> tuple[list[dg.AssetObservation], str | None]:
    """An observation of the queue if the last is a minute old, and the cursor with the time of the last one."""
    last = float(json.loads(cursor)["observed_at"]) if cursor else 0.0
    now = time.time()
    if now - last < _OBSERVATION_INTERVAL_SECONDS:
        return [], cursor
    metadata = {
        "waiting": seen.waiting, "oldest_wait_s": float(seen.oldest_wait_s or 0.0), "runs_in_flight": in_flight
    }  # fmt: skip
    return [dg.AssetObservation(MAIN_QUEUE, metadata=metadata)], json.dumps({"observed_at": now})
