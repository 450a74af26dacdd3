"""The asset checks. In a run they look at its hours; run alone, at everything, or at the last day."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from nexus_pipeline.analytics.hours import HOUR, Window, first_hour, hour_of
from nexus_pipeline.analytics.partitions import window_of_tags
from nexus_pipeline.analytics.previews import markdown_table
from nexus_pipeline.analytics.quality import (
    MOST_BEHIND_S,
    MOST_ERRORS,
    MOST_P95_MS,
    MOST_QUEUE_AGE_S,
    dead_letter_growth,
    duplicate_keys,
    event_lag,
    outcomes,
    reconcile,
)
from nexus_pipeline.analytics.stale import stale_partitions
from nexus_pipeline.analytics.windows import HOURLY_METRICS, METRICS, SIGNALS
from nexus_pipeline.dagster_instance.resources import NexusDatabase, failures
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.settings import load_settings


def _window(context: dg.AssetCheckExecutionContext) -> Window | None:
    with failures():
        return window_of_tags(context.run.tags)


def _reconciled(connection: Connection, asset: str, window: Window | None) -> dg.AssetCheckResult:
    found = reconcile(connection, asset, window)
    return dg.AssetCheckResult(
        passed=found.different == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.different} of {found.groups} groups differ",
        metadata={
            "groups": found.groups,
            "executions": found.executions,
            "told": found.told,
            "different": found.different,
            "stale_hours": found.stale_hours,
            "examples": dg.MetadataValue.md(
                markdown_table(("hour", "symbol", "executions", "told"), found.examples) if found.examples else "–"
            ),
        },
    )


def _without_duplicates(connection: Connection, asset: str, window: Window | None) -> dg.AssetCheckResult:
    found = duplicate_keys(connection, asset, window)
    return dg.AssetCheckResult(
        passed=found == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found} keys twice or more",
        metadata={"duplicate_keys": found},
    )


def _error_rate(connection: Connection, asset: str, window: Window | None) -> dg.AssetCheckResult:
    found = outcomes(connection, window)
    return dg.AssetCheckResult(
        passed=found.final == 0 or found.error_rate < MOST_ERRORS,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.failed} of {found.final} failed",
        metadata={"error_rate": found.error_rate, "failed": found.failed, "final": found.final},
    )


def _p95_processing(connection: Connection, asset: str, window: Window | None) -> dg.AssetCheckResult:
    found = outcomes(connection, window)
    worst = found.worst_p95_ms
    return dg.AssetCheckResult(
        passed=worst is None or worst < MOST_P95_MS,
        severity=dg.AssetCheckSeverity.WARN,
        description="no executions"
        if worst is None
        else f"{worst:.1f} ms in the hour {found.worst_hour:%Y-%m-%d %H:%M}",
        metadata={} if worst is None else {"worst_p95_ms": worst},
    )


@dataclass(frozen=True)
class _HourCheck:
    """A check of the hours that a run made: what it promises, how it is found out, and whether the run stands on it."""

    description: str
    evaluate: Callable[[Connection, str, Window | None], dg.AssetCheckResult]
    blocking: bool = False


def _of_every_table(asset: str) -> dict[str, _HourCheck]:
    return {
        f"{asset}_reconcile": _HourCheck(
            "Says what the executions say, to the row: they are counted anew. Hours that executions changed since are "
            "left out: they are behind, and will be made anew.",
            _reconciled,
            blocking=True,
        ),
        f"{asset}_no_duplicates": _HourCheck("No key stands in the table twice.", _without_duplicates, blocking=True),
    }


def _hour_checks(asset: str, checks: dict[str, _HourCheck]) -> dg.AssetChecksDefinition:
    """The checks of an asset as one step, each of which can be run alone.

    For a run of a range, Dagster lists all partitions of the asset in each step that checks it (0.4 s for two years).
    """

    @dg.multi_asset_check(
        name=f"{asset}_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=asset, description=check.description, blocking=check.blocking)
            for name, check in checks.items()
        ],
        can_subset=True,
    )
    def evaluated(context: dg.AssetCheckExecutionContext, nexus: NexusDatabase) -> Iterator[dg.AssetCheckResult]:
        window = _window(context)
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
            with nexus.connect() as connection:
                found = checks[key.name].evaluate(connection, asset, window)
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=found.passed,
                severity=found.severity,
                description=found.description,
                metadata=found.metadata,
            )

    return evaluated


@dg.asset_check(
    asset=SIGNALS,
    description="By event time: the newest closed hour with events is aggregated, and no closed hour has been "
    f"behind for {MOST_BEHIND_S / 60:g} minutes. A backfill of an old hour does not make this pass.",
)
def event_time_freshness(nexus: NexusDatabase) -> dg.AssetCheckResult:
    """Warns of aggregates that fall behind their events."""
    now = datetime.now(UTC)
    closed = Window(min(first_hour(load_settings().partitions_start, now), hour_of(now) - HOUR), hour_of(now))
    with nexus.connect() as connection:
        found = event_lag(connection, closed)
        stale = stale_partitions(connection, SIGNALS, closed.start, closed.before)
    # An hour that has just closed may be behind; one whose marks are old may not.
    return dg.AssetCheckResult(
        passed=found.behind_s < MOST_BEHIND_S and (found.lag_hours == 0 or bool(stale)),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(stale)} closed hours stale, {found.lag_hours} hours behind the newest event",
        metadata={
            "stale_hours": len(stale),
            "behind_s": found.behind_s,
            "lag_hours": found.lag_hours,
            **({"newest_event_hour": dg.MetadataValue.timestamp(found.newest_event)} if found.newest_event else {}),
        },
    )


@dg.asset_check(
    asset="workflow_main_queue",
    description=f"No request has waited for {MOST_QUEUE_AGE_S:g} s since it could be claimed.",
)
def queue_age(nexus: NexusDatabase) -> dg.AssetCheckResult:
    """Warns of a queue that nobody drains."""
    with nexus.connect() as connection:
        waiting, oldest = connection.execute("SELECT * FROM nexus.depth('workflow_main_queue')").fetchone() or (0, None)
    return dg.AssetCheckResult(
        passed=oldest is None or oldest < MOST_QUEUE_AGE_S,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{waiting} wait, the oldest for {oldest or 0:.0f} s",
        metadata={"waiting": waiting, "oldest_wait_s": float(oldest or 0)},
    )


@dg.asset_check(
    asset="workflow_errors",
    description="In the last hour no more dead letters came than were redriven or discarded.",
)
def dead_letters_growing(nexus: NexusDatabase) -> dg.AssetCheckResult:
    """Warns of dead letters that nobody looks after."""
    with nexus.connect() as connection:
        found = dead_letter_growth(connection)
    return dg.AssetCheckResult(
        passed=not found.grows,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.waiting} wait; in the last hour {found.arrived} came, {found.handled} were handled",
        metadata={"waiting": found.waiting, "arrived": found.arrived, "handled": found.handled},
    )


hour_checks = [
    _hour_checks(SIGNALS, _of_every_table(SIGNALS)),
    _hour_checks(METRICS, _of_every_table(METRICS)),
    _hour_checks(
        HOURLY_METRICS,
        {
            **_of_every_table(HOURLY_METRICS),
            "error_rate": _HourCheck(f"Below {MOST_ERRORS:.0%} of the final executions are dead letters.", _error_rate),
            "p95_processing": _HourCheck(
                f"In every hour, 95 of 100 attempts take less than {MOST_P95_MS:g} ms from claim to settle.",
                _p95_processing,
            ),
        },
    ),
]
pipeline_checks = [event_time_freshness, queue_age, dead_letters_growing]
analytics_checks = [*hour_checks, *pipeline_checks]
