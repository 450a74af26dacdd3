"""`nexus report`: the last hours at a glance."""

from __future__ import annotations

from typing import Annotated

import typer

from nexus_pipeline.cli.output import console, counted, database, say, say_json, table
from nexus_pipeline.cli.root import app

_MAX_HOURS = 24 * 366


@app.command(short_help="Show the last hours at a glance.", epilog="Example: nexus report --hours 48")
def report(
    hours: Annotated[int, typer.Option(metavar="N", min=1, max=_MAX_HOURS, help="How many, with the open one.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, an object an hour.")] = False,
) -> None:
    """Show the last hours of processing, out of the executions: a line of bars for each figure, an hour each."""
    from nexus_pipeline.analytics.report import hours_report

    with database() as connection:
        found = hours_report(connection, hours)
    if as_json:
        say_json(found.hours)
        return
    first, last = found.hours[0].hour, found.hours[-1].hour
    say(f"{counted(hours, 'hour')} from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC (still open)")
    rows = [(name, bars, total) for name, bars, total in found.lines()]
    console().print(table(("", "over time", "total or highest"), rows, numbers=("total or highest",)))
