"""The asset checks. In a run they look at its hours; run alone, at everything, or at the last day."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nexus_pipeline.analytics.hours import HOUR, Window, first_hour, hour_of
from nexus_pipeline.analytics.partitions import window_of_tags
from nexus_pipeline.analytics.previews import markdown_table
from nexus_pipeline.analytics.quality import (
    MAX_ERROR_RATE,
    MAX_P95_MS,
    MAX_QUEUE_AGE_S,
    MAX_STALE_S,
    count_duplicates,
    dead_letter_growth,
    event_lag,
    outcomes,
    reconcile,
)
from nexus_pipeline.analytics.stale import stale_partitions
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.analytics.tables import HOURLY_METRICS, SIGNALS, TABLES, HourlyTable
from nexus_pipeline.dagster_instance.resources import NexusDatabase, failures
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.ledger import depth
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import load_settings


@dataclass(frozen=True)
class _Found:
    """What a check of hours found."""

    passed: bool
    description: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _HourCheck:
    """A check of the hours that a run rebuilt: what it promises, how it is evaluated, and how severe a failure is.

    A failed ERROR fails the run.
    """

    name: str
    description: str
    evaluate: Callable[[Connection, HourlyTable, Window | None], _Found]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def _window(context: dg.AssetCheckExecutionContext) -> Window | None:
    with failures():
        return window_of_tags(context.run.tags)


def _reconcile(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    found = reconcile(connection, table, window)
    examples = markdown_table(("hour", "symbol", "expected", "actual"), found.examples) if found.examples else "–"
    return _Found(
        found.different == 0,
        f"{found.different} of {found.groups} groups differ",
        {**asdict(found), "examples": dg.MetadataValue.md(examples)},
    )


def _no_duplicates(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    found = count_duplicates(connection, table, window)
    return _Found(found == 0, f"{found} duplicate keys", {"duplicate_keys": found})


def _error_rate(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    found = outcomes(connection, window)
    return _Found(
        found.final == 0 or found.error_rate < MAX_ERROR_RATE,
        f"{found.failed} of {found.final} failed",
        {"error_rate": found.error_rate, "failed": found.failed, "final": found.final},
    )


def _p95_processing(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    found = outcomes(connection, window)
    if found.worst_p95_ms is None:
        return _Found(True, "no executions", {})
    return _Found(
        found.worst_p95_ms < MAX_P95_MS,
        f"{found.worst_p95_ms:.1f} ms in the hour {found.worst_hour:%Y-%m-%d %H:%M}",
        {"worst_p95_ms": found.worst_p95_ms},
    )


# Checks of one table only, besides those of every table.
_EXTRA_CHECKS = {
    HOURLY_METRICS.name: (
        _HourCheck(
            "error_rate",
            f"Below {MAX_ERROR_RATE:.0%} of the final executions are dead letters.",
            _error_rate,
            dg.AssetCheckSeverity.WARN,
        ),
        _HourCheck(
            "p95_processing",
            f"In every hour, 95 of 100 attempts take less than {MAX_P95_MS:g} ms from claim to decision.",
            _p95_processing,
            dg.AssetCheckSeverity.WARN,
        ),
    )
}


def _checks_of(table: HourlyTable) -> dict[str, _HourCheck]:
    checks = (
        _HourCheck(
            f"{table.name}_reconcile",
            "The table agrees with the executions, which are counted independently. Hours whose executions changed "
            "after they were built are left out: they are stale and will be rebuilt.",
            _reconcile,
        ),
        _HourCheck(f"{table.name}_no_duplicates", "No key is in the table twice.", _no_duplicates),
        *_EXTRA_CHECKS.get(table.name, ()),
    )
    return {check.name: check for check in checks}


def _hour_checks(table: HourlyTable) -> dg.AssetChecksDefinition:
    """The checks of a table as one step, each of which can be run alone.

    For a run of a range, Dagster lists all partitions of the asset in each step that checks it (0.4 s for two years).
    """
    checks = _checks_of(table)

    @dg.multi_asset_check(
        name=f"{table.name}_checks",
        specs=[
            dg.AssetCheckSpec(
                name,
                asset=table.name,
                description=check.description,
                blocking=check.severity == dg.AssetCheckSeverity.ERROR,
            )
            for name, check in checks.items()
        ],
        can_subset=True,
    )
    def evaluated(context: dg.AssetCheckExecutionContext, nexus: NexusDatabase) -> Iterator[dg.AssetCheckResult]:
        window = _window(context)
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
            check = checks[key.name]
            with nexus.connect() as connection:
                found = check.evaluate(connection, table, window)
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=found.passed,
                severity=check.severity,
                description=found.description,
                metadata=found.metadata,
            )

    return evaluated


@dg.asset_check(
    asset=SIGNALS.name,
    description="By event time: the newest closed hour with events is aggregated, and no closed hour has been stale "
    f"for {MAX_STALE_S / 60:g} minutes. Rebuilding an old hour does not make this pass.",
)
def event_time_freshness(nexus: NexusDatabase) -> dg.AssetCheckResult:
    """Warns of aggregates that lag behind their events."""
    now = datetime.now(UTC)
    closed = Window(min(first_hour(partitions_start(load_settings()), now), hour_of(now) - HOUR), hour_of(now))
    with nexus.connect() as connection:
        found = event_lag(connection, closed)
        stale = stale_partitions(connection, SIGNALS.name, closed.start, closed.before)
    # An hour that has just closed may be stale, but not for long.
    return dg.AssetCheckResult(
        passed=found.stale_s < MAX_STALE_S and (found.lag_hours == 0 or bool(stale)),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(stale)} closed hours stale, {found.lag_hours} hours behind the newest event",
        metadata={
            "stale_hours": len(stale),
            "stale_s": found.stale_s,
            "lag_hours": found.lag_hours,
            **({"newest_event_hour": dg.MetadataValue.timestamp(found.newest_event)} if found.newest_event else {}),
        },
    )


@dg.asset_check(
    asset=MAIN_QUEUE,
    description=f"No request has been waiting for {MAX_QUEUE_AGE_S:g} s since it could be claimed.",
)
def queue_age(nexus: NexusDatabase) -> dg.AssetCheckResult:
    """Warns of a queue that is not consumed."""
    with nexus.connect() as connection:
        found = depth(connection, MAIN_QUEUE)
    oldest = found.oldest_wait_s or 0.0
    return dg.AssetCheckResult(
        passed=oldest < MAX_QUEUE_AGE_S,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.waiting} waiting, the oldest for {oldest:.0f} s",
        metadata={"waiting": found.waiting, "oldest_wait_s": float(oldest)},
    )


@dg.asset_check(
    asset="workflow_errors",
    description="In the last hour, no more dead letters arrived than were redriven or discarded.",
)
def dead_letters_growing(nexus: NexusDatabase) -> dg.AssetCheckResult:
    """Warns of dead letters that are not handled."""
    with nexus.connect() as connection:
        found = dead_letter_growth(connection)
    return dg.AssetCheckResult(
        passed=not found.grows,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.waiting} waiting; in the last hour {found.arrived} arrived, {found.handled} were handled",
        metadata={"waiting": found.waiting, "arrived": found.arrived, "handled": found.handled},
    )


hour_checks = [_hour_checks(table) for table in TABLES]
pipeline_checks = [event_time_freshness, queue_age, dead_letters_growing]
analytics_checks = [*hour_checks, *pipeline_checks]
