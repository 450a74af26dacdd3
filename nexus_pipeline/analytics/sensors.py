"""The sensor that finds stale hours and requests the runs that rebuild exactly those."""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile, zip_longest

import dagster as dg

from nexus_pipeline.analytics.hours import DAY, HOUR, WindowError, first_hour, hour_of
from nexus_pipeline.analytics.jobs import daily_signal_report_job, rebuild_jobs
from nexus_pipeline.analytics.partitions import PARTITION_TAG, day_key, hour_key, tags_of, window_of_tags
from nexus_pipeline.analytics.stale import Range, day_of, mark_closed_hours, ranges_to_rebuild, stale_partitions
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.analytics.tables import DAILY_REPORT, JOBS, SIGNALS, TABLES, tables_of
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.settings import load_settings

AUTOMATIC_TAG = "nexus/automatic"
"""Marks the runs that the sensor and the schedule request."""
AUTOMATIC_TAGS = {AUTOMATIC_TAG: "rebuild", "dagster/max_runtime": "3600"}
# Automatic runs at the same time: the rest of the machine is for processing.
MAX_RUNS = 2
# The schedule requests a run for the hour that has just closed; the sensor looks at that hour when it should be done.
_SCHEDULE_TAKES = timedelta(seconds=90)
# After consecutive failed runs of a job, its next run waits, twice as long each time.
_FIRST_PAUSE = timedelta(seconds=30)
_MAX_PAUSE = timedelta(minutes=15)
_MAX_FAILURES_COUNTED = 6
# Observations are at least this far apart: Dagster never purges its event log.
_OBSERVATION_INTERVAL = timedelta(minutes=1)

_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_IN_FLIGHT = [status for status in dg.DagsterRunStatus if status not in _ENDED]
# The assets of each job, and how long their partitions are.
_JOBS = {
    **{job.name: ([table.name for table in tables_of(job)], HOUR) for job in JOBS},
    daily_signal_report_job.name: ([DAILY_REPORT], DAY),
}


@dg.sensor(
    jobs=[*rebuild_jobs, daily_signal_report_job],
    minimum_interval_seconds=20,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Finds closed hours whose executions changed after they were built, or that were missed, and rebuilds "
    f"them, newest first, in at most {MAX_RUNS} runs at a time. A day's report is rebuilt after its hours.",
)
def stale_hours_sensor(context: dg.SensorEvaluationContext, nexus: NexusDatabase) -> dg.SensorResult:
    """Requests runs for what is stale; an index probe for each table when nothing is."""
    now = datetime.now(UTC)
    try:
        with nexus.connect() as connection:
            mark_closed_hours(connection)
            stale = find_stale(connection, partitions_start(load_settings()), now)
    except dg.Failure as error:
        return dg.SensorResult(skip_reason=f"the database does not answer: {error}")
    hours = len({hour for table in TABLES for hour in stale[table.name]})
    observations, cursor = _observe(context.cursor, hours, now)
    requests, reason = _requests(context.instance, stale, now) if any(stale.values()) else ([], "no hour is stale")
    return dg.SensorResult(
        run_requests=requests, skip_reason=None if requests else reason, asset_events=observations, cursor=cursor
    )


def find_stale(connection: Connection, start: datetime, now: datetime) -> dict[str, list[datetime]]:
    """The closed partitions that are stale, by asset, without the hour that the schedule is about to build.

    A day's report waits until its day is over and none of its hours is stale. `start` is `partitions_start`.

    Raises:
        WindowError: the start is in the future.
    """
    first = first_hour(start, now)
    left_to_schedule = hour_of(now - _SCHEDULE_TAKES)
    stale = {
        table.name: stale_partitions(
            connection, table.name, first, left_to_schedule if table.job.scheduled else hour_of(now)
        )
        for table in TABLES
    }
    waiting = {day_of(hour) for table in TABLES if table.in_daily_report for hour in stale[table.name]}
    days = stale_partitions(connection, DAILY_REPORT, day_of(first), day_of(left_to_schedule))
    return {**stale, DAILY_REPORT: [day for day in days if day not in waiting]}


def _requests(
    instance: dg.DagsterInstance, stale: dict[str, list[datetime]], now: datetime
) -> tuple[list[dg.RunRequest], str]:
    """The runs to start now; when there are none, the reason."""
    in_flight = [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=_IN_FLIGHT))]
    automatic = sum(AUTOMATIC_TAG in run.tags for run in in_flight)
    summary = "stale: " + ", ".join(f"{len(found)} of {asset}" for asset, found in stale.items() if found)
    if automatic >= MAX_RUNS:
        return [], f"{summary}; {automatic} runs in flight, at most {MAX_RUNS}"
    requests: list[list[dg.RunRequest]] = []
    paused = []
    for job, (assets, length) in _JOBS.items():
        ranges = ranges_to_rebuild({asset: _not_in_work(stale[asset], in_flight) for asset in assets}, length)
        pause = _pause(instance, job, now) if ranges else timedelta(0)
        if pause > timedelta(0):
            paused.append(f"the last run of {job} failed, its next starts in {pause.total_seconds():.0f} s")
        else:
            requests.append([_request(job, found, len(assets)) for found in ranges])
    # The first of each job, then the second of each: no job waits for the end of another's backlog.
    fair = [request for turn in zip_longest(*requests) for request in turn if request is not None]
    return fair[: MAX_RUNS - automatic], "; ".join([summary, *(paused or ["runs in flight rebuild them"])])


def _request(job: str, found: Range, assets_of_job: int) -> dg.RunRequest:
    key = day_key if job == daily_signal_report_job.name else hour_key
    tags = {**AUTOMATIC_TAGS, **tags_of(key(found.first), key(found.last))}
    # No run_key: an hour that is stale again must be rebuilt again.
    return dg.RunRequest(
        job_name=job,
        partition_key=tags.pop(PARTITION_TAG, None),
        tags=tags,
        asset_selection=(
            [dg.AssetKey(asset) for asset in sorted(found.assets)] if len(found.assets) < assets_of_job else None
        ),
    )


def _not_in_work(partitions: Sequence[datetime], runs: Sequence[dg.DagsterRun]) -> list[datetime]:
    """Those that no run in flight rebuilds, automatic or a backfill; if it does not, the next tick finds them again."""
    windows = []
    for run in runs:
        with suppress(WindowError):  # the run is of partitions of another kind
            windows.append(window_of_tags(run.tags))
    return [each for each in partitions if not any(w and w.start <= each < w.before for w in windows)]


def _pause(instance: dg.DagsterInstance, job: str, now: datetime) -> timedelta:
    """How much longer the job waits after its last automatic runs failed; not positive when it need not wait."""
    records = instance.get_run_records(
        dg.RunsFilter(
            job_name=job,
            tags={AUTOMATIC_TAG: AUTOMATIC_TAGS[AUTOMATIC_TAG]},
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
        ),
        limit=_MAX_FAILURES_COUNTED,
    )
    failed = takewhile(lambda record: record.dagster_run.status == dg.DagsterRunStatus.FAILURE, records)
    failures = len(list(failed))
    if failures == 0 or records[0].end_time is None:
        return timedelta(0)
    pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _MAX_PAUSE)
    left: timedelta = datetime.fromtimestamp(records[0].end_time, UTC) + pause - now
    return left


def _observe(cursor: str | None, hours: int, now: datetime) -> tuple[list[dg.AssetObservation], str | None]:
    """An observation of the number of stale hours, if it changed and the last one is a minute old; the new cursor."""
    last = json.loads(cursor) if cursor else {"hours": 0, "at": 0.0}
    if hours == last["hours"] or now.timestamp() - last["at"] < _OBSERVATION_INTERVAL.total_seconds():
        return [], cursor
    observation = dg.AssetObservation(SIGNALS.name, metadata={"stale_hours": hours})
    return [observation], json.dumps({"hours": hours, "at": now.timestamp()})


analytics_sensors = [stale_hours_sensor]
