"""Replacing the rows of a window of hours in one transaction: one hour or a year of them, for every hourly table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from nexus_pipeline.analytics.hours import Window
from nexus_pipeline.analytics.tables import DAILY_REPORT, HourlyTable
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as


@dataclass(frozen=True)
class Replaced:
    """The result of a replacement: rows of the window before and now."""

    rows_before: int
    rows: int


@contextmanager
def replacing(connection: Connection, asset: str) -> Iterator[Any]:
    """A transaction that is the only one to replace parts of the asset; yields the named statements of analytics.

    Others wait, so that two backfills of one range end in the right rows. Read committed, whatever the server's
    default: each statement must see what was committed before it, since the marks are taken in one and the executions
    are read in another.
    """
    named = queries("windows")
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # For the sorts of a year's window; and compiling costs more than a plan that runs for milliseconds.
        connection.execute("SET LOCAL work_mem = '64MB'")
        connection.execute("SET LOCAL jit = off")
        named.lock_rebuild(connection, asset=asset)
        yield named


def replace_window(connection: Connection, table: HourlyTable, window: Window) -> Replaced:
    """Rebuilds the table's rows of the window, hours of its basis, from the executions, in one transaction.

    Doing it twice changes nothing. Executions that commit meanwhile are included, or leave their hour marked stale.

    Raises:
        psycopg.Error: the server failed; the window is as it was.
    """
    bounds = asdict(window)
    with replacing(connection, table.name) as named:
        named.take_marks(connection, asset=table.name, **bounds)
        before = connection.execute(table.compose(named.delete_rows), bounds).rowcount
        rows = table.statements.insert(connection, **bounds)
        if table.in_daily_report:
            named.mark_days(connection, asset=DAILY_REPORT, **bounds)
    return Replaced(before, rows)


def summarize(connection: Connection, table: HourlyTable, window: Window) -> list[dict[str, Any]]:
    """Each hour of the window, oldest first: `hour`, `rows`, `preview` (rows, or None), `more`, and what is plotted."""
    return rows_as(dict, connection, table.statements.summarize, **asdict(window))
