"""`nexus backfill`: a range of hours made anew, in few runs that the UI shows like any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from nexus_pipeline.analytics.hours import HOUR, Window, parse_hour, window_in_partitions
from nexus_pipeline.analytics.windows import HOURLY_METRICS, METRICS, SIGNALS
from nexus_pipeline.errors import FailedError
from nexus_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, JobDefinition

DEFINITIONS = "nexus_pipeline.definitions"
# A year of hours is 12 runs: what one of them costs to begin is nothing against its hours, and a run that is killed
# leaves those before it done.
HOURS_PER_RUN = 31 * 24
# Of each job, however long the range.
MOST_RUNS = 60
# The jobs that make the assets, a step after the other in one process.
_JOBS = {"hourly_aggregates_job": (SIGNALS, HOURLY_METRICS), "workflow_metrics_job": (METRICS,)}
_QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}

Progress = Callable[[int, int], None]
"""Called with the hours done and the hours in all, at the beginning and after each run."""


class BackfillError(FailedError):
    """A run of the backfill failed; the text is one line that names it."""


@dataclass(frozen=True)
class Backfilled:
    """What a backfill came to."""

    start: datetime
    """First hour, UTC."""
    before: datetime
    """End of the last hour, UTC."""
    hours: int
    assets: list[str]
    run_ids: list[str]
    seconds: float


def window_of_arguments(settings: Settings, start: str, end: str) -> Window:
    """The window of `--from` (first hour) and `--to` (end of the last hour), ISO 8601 with offset.

    Raises:
        WindowError: with one line that says what is wrong with them.
    """
    return window_in_partitions(
        parse_hour(start, "--from"), parse_hour(end, "--to"), settings.partitions_start, datetime.now(UTC)
    )


def run_backfill(
    instance: DagsterInstance,
    window: Window,
    progress: Progress,
    assets: Sequence[str] = (SIGNALS, HOURLY_METRICS),
    definitions: str = DEFINITIONS,
) -> Backfilled:
    """Makes the hours of the window anew, oldest first, in runs of a month that this process executes.

    Stopped at any moment, each window is as it was or made whole; running it again ends in the right tables.

    Args:
        instance: Dagster's, where the runs are recorded.
        window: out of `window_of_arguments`.
        progress: is told how far it is.
        assets: hourly ones, by name.
        definitions: the module whose `defs` names the jobs.

    Raises:
        BackfillError: a run failed, or a check of it; those before it are done.
    """
    began = time.monotonic()
    run_ids: list[str] = []
    progress(0, len(window))
    for part in parts_of(window):
        for job, of_job in _JOBS.items():
            if chosen := [asset for asset in assets if asset in of_job]:
                run_ids.append(_execute(instance, part, job, chosen, definitions))
        progress(round((part.before - window.start) / HOUR), len(window))
    seconds = round(time.monotonic() - began, 3)
    return Backfilled(window.start, window.before, len(window), list(assets), run_ids, seconds)


def parts_of(window: Window) -> Iterator[Window]:
    """The window in parts, oldest first: one for each run, at most MOST_RUNS of them."""
    length = max(HOURS_PER_RUN, -(-len(window) // MOST_RUNS)) * HOUR
    start = window.start
    while start < window.before:
        part = Window(start, min(window.before, start + length))
        yield part
        start = part.before


def job_of(definitions: str, job: str) -> JobDefinition:
    """Return a job of the module's `defs`; Dagster calls this wherever it needs the job."""
    found: JobDefinition = import_module(definitions).defs.resolve_job_def(job)
    return found


def _execute(instance: DagsterInstance, window: Window, job: str, assets: Sequence[str], definitions: str) -> str:
    """A run of the job over the window, in this process; returns its id."""
    import dagster as dg

    from nexus_pipeline.analytics.partitions import hour_key, tags_of

    with dg.execute_job(
        dg.build_reconstructable_job(
            __name__, "job_of", reconstructable_kwargs={"definitions": definitions, "job": job}
        ),
        instance=instance,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        tags={**tags_of(hour_key(window.start), hour_key(window.before - HOUR)), "nexus/backfill": "true"},
        # How far it is, `progress` is told: on the console, only what goes wrong.
        run_config={"loggers": _QUIET},
    ) as result:
        if not result.success:
            steps = ", ".join(sorted(event.step_key or "" for event in result.get_step_failure_events()))
            raise BackfillError(
                f"run {result.run_id} of the hours from {window.start.isoformat()} failed in {steps or 'its start'}"
            )
        return result.run_id
