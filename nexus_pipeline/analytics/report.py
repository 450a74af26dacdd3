"""`nexus report`: the last hours at a glance, read from the executions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class ReportHour:
    """An hour of processing (UTC): the columns of `trading_workflow_dashboard`, and p95. Times in ms."""

    hour: datetime
    total_executions: int
    successful: int
    failed: int
    """Dead letters."""
    retried: int
    avg_processing_time: float | None
    p95_processing_time: float | None
    buy_signals: int
    sell_signals: int
    hold_signals: int


@dataclass(frozen=True)
class HoursReport:
    """The last hours, the open one last."""

    hours: list[ReportHour]

    def total(self, column: str) -> int:
        """The sum of a count over all hours."""
        return sum(int(getattr(hour, column)) for hour in self.hours)

    def lines(self, max_bars: int = 96) -> list[tuple[str, str, str]]:
        """For each figure its name, its bars, and its total (for times: the highest).

        A bar is one hour, or as many as it takes for at most `max_bars` bars.
        """
        size = -(-len(self.hours) // max_bars)
        groups = [self.hours[place : place + size] for place in range(0, len(self.hours), size)]
        lines = []
        for column, name in _COUNTS:
            sums = [sum(int(getattr(hour, column)) for hour in group) for group in groups]
            lines.append((name, sparkline(sums), f"{sum(sums):,}"))
        for column, name in _TIMES:
            times = [getattr(hour, column) for hour in self.hours]
            known = [time for time in times if time is not None]
            highest = [
                max((time for hour in group if (time := getattr(hour, column)) is not None), default=None)
                for group in groups
            ]
            lines.append((name, sparkline(highest), f"{max(known):,.1f}" if known else "–"))
        return lines


_COUNTS = (
    ("total_executions", "executions"),
    ("successful", "successful"),
    ("failed", "dead-lettered"),
    ("retried", "retried"),
    ("buy_signals", "BUY"),
    ("sell_signals", "SELL"),
    ("hold_signals", "HOLD"),
)
_TIMES = (("avg_processing_time", "average, ms"), ("p95_processing_time", "p95, ms"))


def hours_report(connection: Connection, hours: int) -> HoursReport:
    """The last `hours` hours of processing, including the open one and hours without executions."""
    return HoursReport(rows_as(ReportHour, connection, queries("report").report_hours, hours=hours))


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value, from 0 to the highest; a space for 0 and for None."""
    highest = max((value for value in values if value is not None), default=0)
    if highest <= 0:
        return " " * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, int(value / highest * len(_BARS)))] if value else " " for value in values)
