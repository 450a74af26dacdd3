"""`nexus backfill`: rebuilding a range of hours, in a few runs that the UI shows like any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from nexus_pipeline.analytics.hours import HOUR, Window, parse_hour, require_partitions
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.analytics.tables import HOURLY_JOB, JOBS, HourlyTable, tables_of
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.errors import FailedError
from nexus_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance, JobDefinition

DEFINITIONS = "nexus_pipeline.definitions"
HOURS_PER_RUN = 31 * 24
"""A year of hours is 12 runs: starting them costs little beside their hours, and a killed run keeps the others."""
MAX_RUNS = 60
"""Of each job, however long the range: the runs of a longer one take more hours each."""

Progress = Callable[[int, int], None]
"""Called with the hours done and the total of hours, at the beginning and after each part."""


@dataclass(frozen=True)
class Backfilled:
    """The result of a backfill."""

    start: datetime
    """First hour, UTC."""
    before: datetime
    """End of the last hour, UTC."""
    hours: int
    assets: list[str]
    run_ids: list[str]
    seconds: float


def tables_of_choice(choice: str) -> list[HourlyTable]:
    """The tables of `nexus backfill --what`: `all`, or those of the job with that choice."""
    return [table for job in JOBS if choice in (job.choice, "all") for table in tables_of(job)]


def window_of_arguments(settings: Settings, start: str, end: str) -> Window:
    """The window of `--from` (first hour) and `--to` (end of the last hour), ISO 8601 with offset.

    Starts and migrates the database, which knows where the hours start.

    Raises:
        WindowError: they cannot be used; the text says why in one line.
        UnavailableError: the database cannot be used.
    """
    window = Window(parse_hour(start, "--from"), parse_hour(end, "--to"))
    ready_database(settings)
    require_partitions(window, partitions_start(settings), datetime.now(UTC))
    return window


def run_backfill(
    instance: DagsterInstance,
    window: Window,
    progress: Progress,
    tables: Sequence[HourlyTable] = tuple(tables_of(HOURLY_JOB)),
    definitions: str = DEFINITIONS,
) -> Backfilled:
    """Rebuilds the hours of the window, oldest first, in runs of a month that this process executes.

    Stopped at any moment, it leaves each window as it was or rebuilt as a whole; running it again completes it. The
    jobs are those of `defs` in the module `definitions`.

    Raises:
        FailedError: a run failed, or one of its checks; those before it are done.
    """
    began = time.monotonic()
    run_ids: list[str] = []
    progress(0, len(window))
    for part in parts_of(window):
        for job in JOBS:
            if chosen := [table for table in tables if table.job == job]:
                run_ids.append(_execute(instance, part, job.name, chosen, definitions))
        progress(round((part.before - window.start) / HOUR), len(window))
    seconds = round(time.monotonic() - began, 3)
    names = [table.name for table in tables]
    return Backfilled(window.start, window.before, len(window), names, run_ids, seconds)


def parts_of(window: Window) -> Iterator[Window]:
    """The window in parts, oldest first: one for each run, at most MAX_RUNS."""
    size = max(HOURS_PER_RUN, -(-len(window) // MAX_RUNS))
    for place in range(0, len(window), size):
        start = window.start + place * HOUR
        yield Window(start, min(window.before, start + size * HOUR))


def job_of(definitions: str, job: str) -> JobDefinition:
    """A job of the module's `defs`; Dagster calls this wherever it needs the job."""
    found: JobDefinition = import_module(definitions).defs.resolve_job_def(job)
    return found


def _execute(
    instance: DagsterInstance, window: Window, job: str, tables: Sequence[HourlyTable], definitions: str
) -> str:
    """Executes a run of the job over the window in this process; returns its id."""
    import dagster as dg

    from nexus_pipeline.analytics.partitions import hour_key, tags_of

    with dg.execute_job(
        dg.build_reconstructable_job(
            __name__, "job_of", reconstructable_kwargs={"definitions": definitions, "job": job}
        ),
        instance=instance,
        asset_selection=[dg.AssetKey(table.name) for table in tables],
        tags={**tags_of(hour_key(window.start), hour_key(window.before - HOUR)), "nexus/backfill": "true"},
        # The console shows the progress, and of the run only what goes wrong.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    ) as result:
        if not result.success:
            failures = sorted(f"{event.step_key}: {_reason(event)}" for event in result.get_step_failure_events())
            raise FailedError(
                f"run {result.run_id} of the hours from {window.start.isoformat()} failed in"
                f" {'; '.join(failures) or 'its start'}"
            )
        return result.run_id


def _reason(failure: DagsterEvent) -> str:
    """The first line of what went wrong in a step: the last cause, where one error led to another."""
    data = failure.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().splitlines()[0] if error is not None else "no error is recorded"
