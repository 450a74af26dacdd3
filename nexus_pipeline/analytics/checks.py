"""The asset checks. In a run they look at its hours; run alone, at everything, or at the last day."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nexus_pipeline.analytics.hours import DAY, HOUR, Window, first_hour, hour_of
from nexus_pipeline.analytics.partitions import window_of_tags
from nexus_pipeline.analytics.previews import markdown_table
from nexus_pipeline.analytics.stale import stale_partitions
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.analytics.tables import HOURLY_METRICS, SIGNALS, TABLES, HourlyTable
from nexus_pipeline.dagster_instance.resources import NexusDatabase, failures
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.queues.ledger import depth
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import load_settings

MAX_ERROR_RATE = 0.01
MAX_P95_MS = 50.0
MAX_QUEUE_AGE_S = 300.0
MAX_STALE_S = 600.0
"""How long a closed hour may be stale."""
# The window of a check that is run alone, without a partition; `_last_day` where that is enough.
_ALL_HOURS = Window(datetime(1900, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC))
_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
_Found = tuple[bool, str, dict[str, Any]]
"""Whether a check passed, its description, and its metadata."""


@dataclass(frozen=True)
class _HourCheck:
    """A check of the hours that a run rebuilt. A failed ERROR fails the run."""

    description: str
    evaluate: Callable[[Connection, HourlyTable, Window | None], _Found]
    severity: dg.AssetCheckSeverity = _ERROR


def reconcile(connection: Connection, table: HourlyTable, window: Window | None) -> dict[str, Any]:
    """Compares the table with the executions of a window (default: all), which are counted independently.

    The row of the statement `reconcile`, which sql/queries/hourly_signal_aggregates.sql explains.
    """
    (found,) = rows_as(dict, connection, table.statements.reconcile, **asdict(window or _ALL_HOURS))
    return found


def _reconcile(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    found = reconcile(connection, table, window)
    rows = found["examples"]
    examples = dg.MetadataValue.md(markdown_table(("hour", "symbol", "expected", "actual"), rows) if rows else "–")
    text = f"{found['different']} of {found['groups']} groups differ"
    return found["different"] == 0, text, {**found, "examples": examples}


def _no_duplicates(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    statement = table.compose(queries("checks").count_duplicates)
    ((found,),) = connection.execute(statement, asdict(window or _ALL_HOURS))
    return found == 0, f"{found} duplicate keys", {"duplicate_keys": found}


def _error_rate(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    (found,) = rows_as(dict, connection, queries("checks").error_rate, **asdict(window or _last_day()))
    return found["error_rate"] < MAX_ERROR_RATE, f"{found['failed']} of {found['final']} failed", found


def _p95_processing(connection: Connection, table: HourlyTable, window: Window | None) -> _Found:
    for hour, p95 in queries("checks").slowest_hour(connection, **asdict(window or _last_day())):
        text = f"{p95:.1f} ms in the hour {hour.astimezone(UTC):%Y-%m-%d %H:%M}"
        return p95 < MAX_P95_MS, text, {"worst_p95_ms": p95}
    return True, "no executions", {}


def _last_day() -> Window:
    open_hour = hour_of(datetime.now(UTC))
    return Window(open_hour - DAY, open_hour + HOUR)


# Checks of one table only, besides those of every table.
_EXTRA_CHECKS = {
    HOURLY_METRICS.name: {
        "error_rate": _HourCheck(
            f"Below {MAX_ERROR_RATE:.0%} of the final executions are dead letters.", _error_rate, _WARN
        ),
        "p95_processing": _HourCheck(
            f"In every hour, 95 of 100 attempts take less than {MAX_P95_MS:g} ms from claim to decision.",
            _p95_processing,
            _WARN,
        ),
    }
}


def _hour_checks(table: HourlyTable) -> dg.AssetChecksDefinition:
    """The checks of a table as one step, each of which can be run alone.

    For a run of a range, Dagster lists all partitions of the asset in each step that checks it (0.4 s for two years).
    """
    checks = {
        f"{table.name}_reconcile": _HourCheck(
            "The table agrees with the executions, which are counted independently. Hours whose executions changed "
            "after they were built are left out: they are stale and will be rebuilt.",
            _reconcile,
        ),
        f"{table.name}_no_duplicates": _HourCheck("No key is in the table twice.", _no_duplicates),
        **_EXTRA_CHECKS.get(table.name, {}),
    }

    @dg.multi_asset_check(
        name=f"{table.name}_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=table.name, description=each.description, blocking=each.severity == _ERROR)
            for name, each in checks.items()
        ],
        can_subset=True,
    )
    def evaluated(context: dg.AssetCheckExecutionContext, nexus: NexusDatabase) -> Iterator[dg.AssetCheckResult]:
        with failures():
            window = window_of_tags(context.run.tags)
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
            check = checks[key.name]
            with nexus.connect() as connection:
                passed, description, metadata = check.evaluate(connection, table, window)
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=passed,
                severity=check.severity,
                description=description,
                metadata=metadata,
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
        (found,) = rows_as(dict, connection, queries("checks").event_lag, **asdict(closed))
        stale = stale_partitions(connection, SIGNALS.name, closed.start, closed.before)
    newest, aggregated = found["newest_event"], found["newest_aggregated"]
    lag_hours = max(0, round((newest - (aggregated or newest - HOUR)) / HOUR)) if newest else 0
    # An hour that has just closed may be stale, but not for long.
    return dg.AssetCheckResult(
        passed=found["stale_s"] < MAX_STALE_S and (lag_hours == 0 or bool(stale)),
        severity=_WARN,
        description=f"{len(stale)} closed hours stale, {lag_hours} hours behind the newest event",
        metadata={
            "stale_hours": len(stale),
            "stale_s": found["stale_s"],
            "lag_hours": lag_hours,
            **({"newest_event_hour": dg.MetadataValue.timestamp(newest)} if newest else {}),
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
        severity=_WARN,
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
        (found,) = rows_as(dict, connection, queries("checks").dead_letter_growth)
    waiting, arrived, handled = found["waiting"], found["arrived"], found["handled"]
    return dg.AssetCheckResult(
        passed=arrived <= handled,
        severity=_WARN,
        description=f"{waiting} waiting; in the last hour {arrived} arrived, {handled} were handled",
        metadata=found,
    )


hour_checks = [_hour_checks(table) for table in TABLES]
pipeline_checks = [event_time_freshness, queue_age, dead_letters_growing]
analytics_checks = [*hour_checks, *pipeline_checks]
