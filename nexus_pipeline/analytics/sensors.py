"""The sensor that finds hours behind their executions and has exactly those made anew."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from nexus_pipeline.analytics.hours import DAY, HOUR, WindowError, first_hour, hour_of
from nexus_pipeline.analytics.jobs import daily_signal_report_job, hourly_aggregates_job, workflow_metrics_job
from nexus_pipeline.analytics.partitions import day_key, hour_key, tags_of, window_of_tags
from nexus_pipeline.analytics.stale import Range, mark_closed_hours, ranges_to_make, stale_partitions
from nexus_pipeline.analytics.windows import DAILY_REPORT, HOURLY_METRICS, METRICS, SIGNALS
from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.settings import load_settings

KEEPING_UP_TAGS = {"nexus/keeps_up": "hours", "dagster/max_runtime": "3600"}
# Runs that make up hours, at once: processing has the rest of the machine.
MOST_RUNS = 2
# The schedule's run of the hour that just closed is on its way: the sensor looks at that hour when it should be done.
_SCHEDULE_TAKES = timedelta(seconds=90)
# After runs that failed one after the other the next waits, twice as long each time.
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=15)
_FAILURES_LOOKED_AT = 6
# An asset that changes its figure is observed, at most this often: the event log is never purged by itself.
_OBSERVED_EVERY = timedelta(minutes=1)

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_JOBS = {
    hourly_aggregates_job.name: ((SIGNALS, HOURLY_METRICS), HOUR),
    workflow_metrics_job.name: ((METRICS,), HOUR),
    daily_signal_report_job.name: ((DAILY_REPORT,), DAY),
}


@dg.sensor(
    jobs=[hourly_aggregates_job, workflow_metrics_job, daily_signal_report_job],
    minimum_interval_seconds=20,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Finds closed hours that executions changed after they were made, or that were missed, and has "
    f"them made anew, newest first, in at most {MOST_RUNS} runs at a time. A day's report follows its hours.",
)
def stale_hours_sensor(context: dg.SensorEvaluationContext, nexus: NexusDatabase) -> dg.SensorResult:
    """Requests runs for what is behind; three index probes when nothing is."""
    now = datetime.now(UTC)
    try:
        with nexus.connect() as connection:
            mark_closed_hours(connection)
            stale = find_stale(connection, load_settings().partitions_start, now)
    except dg.Failure as error:
        return dg.SensorResult(skip_reason=f"the database does not answer: {error}")
    hours = len({hour for asset in (SIGNALS, HOURLY_METRICS, METRICS) for hour in stale[asset]})
    observations, cursor = _observe(context.cursor, hours, now)
    requests: list[dg.RunRequest] = []
    reason = "no hour is behind"
    if any(stale.values()):
        requests, reason = _requests(context.instance, stale, now)
    return dg.SensorResult(
        run_requests=requests, skip_reason=None if requests else reason, asset_events=observations, cursor=cursor
    )


def find_stale(connection: Connection, partitions_start: datetime, now: datetime) -> dict[str, list[datetime]]:
    """The closed partitions that are behind, by asset; those that another run is just about to make are left out.

    A day's report waits until its day is over and none of its hours is behind.
    """
    first = first_hour(partitions_start, now)
    left_to_schedule = hour_of(now - _SCHEDULE_TAKES)
    stale = {
        asset: stale_partitions(connection, asset, first, before)
        for asset, before in ((SIGNALS, left_to_schedule), (HOURLY_METRICS, left_to_schedule), (METRICS, hour_of(now)))
    }
    behind = {hour.replace(hour=0) for asset in (SIGNALS, HOURLY_METRICS) for hour in stale[asset]}
    days = stale_partitions(connection, DAILY_REPORT, first.replace(hour=0), left_to_schedule.replace(hour=0))
    stale[DAILY_REPORT] = [day for day in days if day not in behind]
    return stale


def _requests(
    instance: dg.DagsterInstance, stale: dict[str, list[datetime]], now: datetime
) -> tuple[list[dg.RunRequest], str]:
    in_flight = [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=_IN_FLIGHT))]
    ours = sum(run.tags.get("nexus/keeps_up") == KEEPING_UP_TAGS["nexus/keeps_up"] for run in in_flight)
    behind = ", ".join(f"{len(found)} of {asset}" for asset, found in stale.items() if found)
    if ours >= MOST_RUNS:
        return [], f"behind: {behind}; {ours} runs in flight, {MOST_RUNS} at most"
    pause = _pause_after_failures(instance, now)
    if pause > timedelta(0):
        return [], f"behind: {behind}; the last run failed, the next in {pause.total_seconds():.0f} s"
    requests = []
    for job, (assets, length) in _JOBS.items():
        wanted = {asset: _not_in_work(stale[asset], in_flight) for asset in assets}
        requests += [_request(job, found, len(assets)) for found in ranges_to_make(wanted, length)]
    chosen = _fair(requests)[: MOST_RUNS - ours]
    return chosen, f"behind: {behind}; runs in flight make them"


def _fair(requests: Sequence[dg.RunRequest]) -> list[dg.RunRequest]:
    """The first of each job, then the second of each, and so on: no job waits for the end of another's backlog."""
    by_job: dict[str | None, list[dg.RunRequest]] = {}
    for request in requests:
        by_job.setdefault(request.job_name, []).append(request)
    longest = max((len(found) for found in by_job.values()), default=0)
    return [found[place] for place in range(longest) for found in by_job.values() if place < len(found)]


def _request(job: str, found: Range, assets_of_job: int) -> dg.RunRequest:
    key = day_key if job == daily_signal_report_job.name else hour_key
    tags = {**KEEPING_UP_TAGS, **tags_of(key(found.first), key(found.last))}
    # No run_key: an hour that is behind again must be made again.
    return dg.RunRequest(
        job_name=job,
        partition_key=tags.pop("dagster/partition", None),
        tags=tags,
        asset_selection=(
            [dg.AssetKey(asset) for asset in sorted(found.assets)] if len(found.assets) < assets_of_job else None
        ),
    )


def _not_in_work(partitions: Sequence[datetime], runs: Sequence[dg.DagsterRun]) -> list[datetime]:
    """Those that no run in flight works on, ours or a backfill's: it may clear them, and else they are found again."""
    windows = []
    for run in runs:
        try:
            window = window_of_tags(dict(run.tags))
        except WindowError:
            continue
        if window is not None:
            windows.append(window)
    return [partition for partition in partitions if not any(w.start <= partition < w.before for w in windows)]


def _pause_after_failures(instance: dg.DagsterInstance, now: datetime) -> timedelta:
    """How long to wait yet: after runs that failed one after the other, twice as long each time."""
    records = instance.get_run_records(
        dg.RunsFilter(
            tags={"nexus/keeps_up": KEEPING_UP_TAGS["nexus/keeps_up"]},
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
        ),
        limit=_FAILURES_LOOKED_AT,
    )
    failures = 0
    for record in records:
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
    if failures == 0 or records[0].end_time is None:
        return timedelta(0)
    pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
    left: timedelta = datetime.fromtimestamp(records[0].end_time, UTC) + pause - now
    return left


def _observe(cursor: str | None, hours: int, now: datetime) -> tuple[list[dg.AssetObservation], str | None]:
    """An observation of how many hours are stale, when that changed and the last is a minute old."""
    last = json.loads(cursor) if cursor else {"hours": 0, "at": 0.0}
    if hours == last["hours"] or now.timestamp() - last["at"] < _OBSERVED_EVERY.total_seconds():
        return [], cursor
    observation = dg.AssetObservation(SIGNALS, metadata={"stale_hours": hours})
    return [observation], json.dumps({"hours": hours, "at": now.timestamp()})


analytics_sensors = [stale_hours_sensor]
