"""The demo's figures: what became of its requests, counted by the database."""

from __future__ import annotations

from typing import Any

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries

SOURCE = "demo"


def figures(connection: Connection, source: str = SOURCE) -> dict[str, Any]:
    """What became of all completed requests of a source, JSON values only.

    Returns:
        `signals` and `strong`: decisions by name. `by_day`: one entry for each day with an event, oldest first,
        with its decisions and the price of its last event (`close`). `by_hour`: 24 entries, by hour of the day.
        `latency_ms`: from sending to settling, p50, p95 and p99, None where nothing is completed. `first_event`
        and `last_event`: ISO 8601, None where there is none. All days and hours are UTC.
    """
    named = queries("demo")
    with connection.transaction():
        # One snapshot: runs that go on must not make the parts disagree.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        _, buy, sell, hold, strong_buy, strong_sell, first, last = named.signals(connection, source=source)
        days = list(named.by_day(connection, source=source))
        hours = list(named.by_hour(connection, source=source))
        p50, p95, p99 = named.latency(connection, source=source)
    return {
        "signals": {"BUY": buy, "SELL": sell, "HOLD": hold},
        "strong": {"STRONG_BUY": strong_buy, "STRONG_SELL": strong_sell},
        "by_day": [
            {
                "day": day.isoformat(), "BUY": buys, "SELL": sells, "HOLD": holds,
                "close": None if close is None else float(close),
            }
            for day, buys, sells, holds, close in days
        ],
        "by_hour": [{"hour": hour, "BUY": buys, "SELL": sells, "HOLD": holds} for hour, buys, sells, holds in hours],
        "latency_ms": {
            name: None if value is None else round(value, 3)
            for name, value in (("p50", p50), ("p95", p95), ("p99", p99))
        },
        "first_event": None if first is None else first.isoformat(),
        "last_event": None if last is None else last.isoformat(),
    }  # fmt: skip
