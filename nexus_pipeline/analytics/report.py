"""`nexus report`: the last hours at a glance, read from the executions."""

from collections.abc import Mapping, Sequence
from typing import Any

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as

_BARS = "▁▂▃▄▅▆▇█"
_MAX_BARS = 96
_COUNTS = {
    "total_executions": "executions",
    "successful": "successful",
    "failed": "dead-lettered",
    "retried": "retried",
    "buy_signals": "BUY",
    "sell_signals": "SELL",
    "hold_signals": "HOLD",
}
_TIMES = {"avg_processing_time": "average, ms", "p95_processing_time": "p95, ms"}


def hours_report(connection: Connection, hours: int) -> list[dict[str, Any]]:
    """The last `hours` hours of processing (UTC), the open one last, also those without executions. Times in ms."""
    return rows_as(dict, connection, queries("report").report_hours, hours=hours)


def report_lines(hours: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """For each figure its name, its bars, and its total (for times: the highest).

    A bar is one hour, or as many as it takes for at most 96 bars.
    """
    size = -(-len(hours) // _MAX_BARS)
    lines = []
    for column, name in {**_COUNTS, **_TIMES}.items():
        joined, form = (max, ",.1f") if column in _TIMES else (sum, ",")
        values = [hour[column] for hour in hours]
        groups = [values[place : place + size] for place in range(0, len(values), size)]
        known = [[value for value in group if value is not None] for group in groups]
        bars = [joined(group) if group else None for group in known]
        total = [bar for bar in bars if bar is not None]
        lines.append((name, sparkline(bars), f"{joined(total):{form}}" if total else "–"))
    return lines


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value, from 0 to the highest; a space for 0 and for None."""
    highest = max((value for value in values if value is not None), default=0)
    if highest <= 0:
        return " " * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, int(value / highest * len(_BARS)))] if value else " " for value in values)
