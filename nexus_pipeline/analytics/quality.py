"""What the checks measure: do the tables say what the executions say, and is the pipeline well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nexus_pipeline.analytics.hours import Window, hour_of
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries

MOST_ERRORS = 0.01
"""Final executions that may fail, of all."""
MOST_P95_MS = 50.0
MOST_QUEUE_AGE_S = 300.0
MOST_BEHIND_S = 600.0
"""How long a closed hour may be stale."""
# Everything: what a check looks at that is run alone, without a partition.
_ALWAYS = Window(datetime(1900, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC))
LAST_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Reconciled:
    """A table against the executions, group by group (hour, and symbol for signals)."""

    groups: int
    executions: int
    """In the executions (for workflow_metrics: metrics that they must have)."""
    told: int
    """In the table."""
    different: int
    """Groups that differ."""
    stale_hours: int
    """Hours left out, since executions changed them after they were made: they are known to be behind."""
    examples: list[tuple[str, str, int | None, int | None]]
    """Of groups that differ: hour, symbol, executions, told; ten at most."""


def reconcile(connection: Connection, asset: str, window: Window | None) -> Reconciled:
    """Counts the executions of a window anew, and holds the asset's table to them; None is all there is."""
    window = window or _ALWAYS
    row = getattr(queries("analytics"), f"reconcile_{asset}")(connection, start=window.start, before=window.before)
    groups, executions, told, different, stale, examples = row
    return Reconciled(groups, executions, told, different, stale, [tuple(example) for example in examples or []])


def duplicate_keys(connection: Connection, asset: str, window: Window | None) -> int:
    """Keys of the asset's table that stand in it more than once."""
    window = window or _ALWAYS
    named = getattr(queries("analytics"), f"duplicates_{asset}")
    return int(named(connection, start=window.start, before=window.before))


@dataclass(frozen=True)
class Outcomes:
    """How the executions of a window ended, and its slowest hour."""

    final: int
    failed: int
    worst_p95_ms: float | None
    worst_hour: datetime | None

    @property
    def error_rate(self) -> float:
        """failed / final, 0 where there is none."""
        return self.failed / self.final if self.final else 0.0


def outcomes(connection: Connection, window: Window | None) -> Outcomes:
    """Out of hourly_workflow_metrics; without a window, of the last 24 hours and the open one."""
    open_hour = hour_of(datetime.now(UTC))
    window = window or Window(open_hour - LAST_DAY, open_hour + timedelta(hours=1))
    row = queries("analytics").outcomes(connection, start=window.start, before=window.before)
    final, failed, p95, hour = row
    return Outcomes(final, failed, p95, hour if p95 is not None else None)


@dataclass(frozen=True)
class DeadLetterGrowth:
    """Dead letters that wait, and how the last hour changed their number."""

    waiting: int
    arrived: int
    handled: int

    @property
    def grows(self) -> bool:
        """Whether more came than were redriven or discarded."""
        return self.arrived > self.handled


def dead_letter_growth(connection: Connection) -> DeadLetterGrowth:
    """The dead letters of now and of the last hour."""
    return DeadLetterGrowth(*queries("analytics").dead_letter_growth(connection))


@dataclass(frozen=True)
class EventLag:
    """How far the aggregates are behind the events, among the closed hours that have a partition."""

    newest_event: datetime | None
    """The newest event hour of a final execution."""
    newest_aggregated: datetime | None
    behind_s: float
    """For how long the hour that waits longest has been stale, s; 0 when none is."""

    @property
    def lag_hours(self) -> int:
        """From the newest aggregated hour to the newest event hour."""
        if self.newest_event is None:
            return 0
        if self.newest_aggregated is None:
            return 1
        return max(0, round((self.newest_event - self.newest_aggregated) / timedelta(hours=1)))


def event_lag(connection: Connection, window: Window) -> EventLag:
    """The lag by event time: what a materialisation of an old hour does not make look fresh."""
    event, aggregated, since, now = queries("analytics").event_lag(connection, start=window.start, before=window.before)
    return EventLag(event, aggregated, (now - since).total_seconds() if since else 0.0)
