"""What the checks measure: whether the tables agree with the executions, and whether the pipeline keeps up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from nexus_pipeline.analytics.hours import DAY, HOUR, Window, hour_of
from nexus_pipeline.analytics.tables import HourlyTable
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as

MAX_ERROR_RATE = 0.01
"""Failed of all final executions."""
MAX_P95_MS = 50.0
MAX_QUEUE_AGE_S = 300.0
MAX_STALE_S = 600.0
"""How long a closed hour may be stale."""
# The window of a check that is run alone, without a partition: everything.
_ALL_HOURS = Window(datetime(1900, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Reconciled:
    """A table compared with the executions, group by group (hour, and symbol for signals)."""

    groups: int
    expected: int
    """Executions (for workflow_metrics: the metrics that they must have)."""
    actual: int
    """The same, as the table counts them."""
    different: int
    """Groups that differ."""
    stale_hours: int
    """Hours left out because executions changed after they were built."""
    examples: list[tuple[str, str, int | None, int | None]] | None
    """Groups that differ, at most ten: hour, symbol, expected, actual."""


def reconcile(connection: Connection, table: HourlyTable, window: Window | None) -> Reconciled:
    """Counts the executions of a window (default: all) independently, and compares the table with them."""
    window = window or _ALL_HOURS
    (found,) = rows_as(Reconciled, connection, table.statements.reconcile, start=window.start, before=window.before)
    return found


def count_duplicates(connection: Connection, table: HourlyTable, window: Window | None) -> int:
    """Keys that the table has more than once in a window (default: all)."""
    window = window or _ALL_HOURS
    return int(table.statements.count_duplicates(connection, start=window.start, before=window.before))


@dataclass(frozen=True)
class Outcomes:
    """How the executions of a window ended, and its slowest hour."""

    final: int
    failed: int
    worst_p95_ms: float | None
    worst_hour: datetime | None

    @property
    def error_rate(self) -> float:
        """failed / final, 0 without executions."""
        return self.failed / self.final if self.final else 0.0


def outcomes(connection: Connection, window: Window | None) -> Outcomes:
    """The outcomes in hourly_workflow_metrics; without a window, those of the last 24 hours and the open one."""
    open_hour = hour_of(datetime.now(UTC))
    window = window or Window(open_hour - DAY, open_hour + HOUR)
    (found,) = rows_as(Outcomes, connection, queries("quality").outcomes, start=window.start, before=window.before)
    return found


@dataclass(frozen=True)
class DeadLetterGrowth:
    """Dead letters that are waiting, and how the last hour changed their number."""

    waiting: int
    arrived: int
    handled: int

    @property
    def grows(self) -> bool:
        """Whether more arrived than were redriven or discarded."""
        return self.arrived > self.handled


def dead_letter_growth(connection: Connection) -> DeadLetterGrowth:
    """The dead letters now and in the last hour."""
    (found,) = rows_as(DeadLetterGrowth, connection, queries("quality").dead_letter_growth)
    return found


@dataclass(frozen=True)
class EventLag:
    """How far the aggregates lag behind the events."""

    newest_event: datetime | None
    """The newest event hour of a final execution."""
    newest_aggregated: datetime | None
    """The newest hour in the table."""
    stale_s: float
    """How long the oldest stale mark has been there, s; 0 without any."""

    @property
    def lag_hours(self) -> int:
        """From the newest aggregated hour to the newest event hour."""
        if self.newest_event is None:
            return 0
        if self.newest_aggregated is None:
            return 1
        return max(0, round((self.newest_event - self.newest_aggregated) / HOUR))


def event_lag(connection: Connection, window: Window) -> EventLag:
    """The lag by event time in a window, which rebuilding an old hour does not improve."""
    (found,) = rows_as(EventLag, connection, queries("quality").event_lag, start=window.start, before=window.before)
    return found
