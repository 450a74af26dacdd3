"""The figures of the demo, counted by the database."""

from datetime import datetime
from typing import Any

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as

SOURCE = "demo"


def figures(connection: Connection, source: str = SOURCE) -> dict[str, Any]:
    """What became of all completed requests of a source, JSON values only.

    Returns:
        `signals` and `strong`: decisions by name. `by_day`: one entry for each day with an event, oldest first,
        with its decisions and the price of its last event (`close`). `by_hour`: 24 entries, by hour of the day.
        `latency_ms`: from the send to the settlement, p50, p95 and p99, None without executions. `first_event`
        and `last_event`: ISO 8601, None without executions. All days and hours are UTC.
    """
    named = queries("demo")
    with connection.transaction():
        # One snapshot: runs in progress must not make the parts disagree.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        (totals,) = rows_as(dict, connection, named.totals, source=source)
        days = rows_as(dict, connection, named.by_day, source=source)
        hours = rows_as(dict, connection, named.by_hour, source=source)
    first, last = totals["first_event"], totals["last_event"]
    return {
        "signals": {name: totals[name] for name in ("BUY", "SELL", "HOLD")},
        "strong": {name: totals[name] for name in ("STRONG_BUY", "STRONG_SELL")},
        "by_day": days,
        "by_hour": hours,
        "latency_ms": {name: totals[name] for name in ("p50", "p95", "p99")},
        "first_event": first and first.isoformat(),
        "last_event": last and last.isoformat(),
    }


def weekly(connection: Connection, symbol: str, since: datetime, before: datetime) -> list[dict[str, Any]]:
    """Decisions of a symbol by week (UTC) out of `hourly_signal_aggregates`, JSON values only."""
    return rows_as(dict, connection, queries("demo").aggregates_by_week, symbol=symbol, since=since, before=before)
