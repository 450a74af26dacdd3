"""The one body of every hourly asset: a window of hours is replaced in one transaction, one hour or a year of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nexus_pipeline.analytics.hours import Window
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries

SIGNALS = "hourly_signal_aggregates"
HOURLY_METRICS = "hourly_workflow_metrics"
METRICS = "workflow_metrics"
DAILY_REPORT = "daily_signal_report"

_STATEMENTS = {
    SIGNALS: ("delete_signals", "insert_signals"),
    HOURLY_METRICS: ("delete_hourly_metrics", "insert_hourly_metrics"),
    METRICS: ("delete_metrics", "insert_metrics"),
}


@dataclass(frozen=True)
class Replaced:
    """What a replacing came to: rows of the window before and now, and marks of staleness that it took."""

    rows_before: int
    rows: int
    marks: int


@contextmanager
def replacing(connection: Connection, asset: str) -> Iterator[Any]:
    """A transaction that alone replaces parts of the asset; yields the named statements.

    Whoever replaces another part of it waits, so that two backfills of one range end in the right rows. Read committed,
    whatever the server's default: each statement must see what was committed before it, since the marks are taken in
    one and the executions are read in another.
    """
    named = queries("analytics")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # Sorts of a year's window; and no compiling of a plan that runs for milliseconds.
        connection.execute("SET LOCAL work_mem = '64MB'")
        connection.execute("SET LOCAL jit = off")
        named.begin_replacing(connection, asset=asset)
        yield named


def replace_window(connection: Connection, asset: str, window: Window) -> Replaced:
    """Makes the asset's rows of the window anew out of the executions, in one transaction.

    Doing it twice changes nothing. Executions that commit while it works are in, or leave their hour marked stale.

    Args:
        connection: autocommitting.
        asset: SIGNALS, HOURLY_METRICS or METRICS.
        window: event hours for SIGNALS, processing hours for the others.

    Raises:
        psycopg.Error: the server could not; the window is as it was.
    """
    delete, insert = _STATEMENTS[asset]
    bounds = {"start": window.start, "before": window.before}
    with replacing(connection, asset) as named:
        marks = named.take_marks(connection, asset=asset, **bounds)
        before = getattr(named, delete)(connection, **bounds)
        rows = getattr(named, insert)(connection, **bounds)
        if asset != METRICS:
            named.mark_days(connection, **bounds)
    return Replaced(before, rows, marks)


def hours_of(connection: Connection, asset: str, window: Window) -> dict[datetime, dict[str, Any]]:
    """What the asset's table holds, by hour: counts and figures for the plots, and `top` rows for the preview.

    Hours without rows are not in it.
    """
    rows = getattr(queries("analytics"), f"hours_of_{asset}")(connection, start=window.start, before=window.before)
    return dict(rows)
