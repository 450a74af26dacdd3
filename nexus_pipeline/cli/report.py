"""`nexus report`: the last hours at a glance."""

from typing import Annotated

from typer import Option

from nexus_pipeline.cli.output import console, counted, database, safe, say, say_json, table
from nexus_pipeline.cli.root import app

_MAX_HOURS = 24 * 366


@app.command(short_help="Show the last hours at a glance.", epilog="Example: nexus report --hours 48")
def report(
    hours: Annotated[
        int, Option(metavar="N", min=1, max=_MAX_HOURS, help="Number of hours, including the current one.")
    ] = 24,
    as_json: Annotated[bool, Option("--json", help="Print a JSON array with an object for each hour.")] = False,
) -> None:
    """Show the last hours of processing: for each figure a line with a bar for each hour."""
    from nexus_pipeline.analytics.report import hours_report, report_lines

    with database() as connection:
        found = hours_report(connection, hours)
    if as_json:
        say_json(found)
        return
    first, last = found[0]["hour"], found[-1]["hour"]
    say(f"{counted(hours, 'hour')} from {safe(first)} to {safe(last)} (not over yet)")
    console().print(table(("", "over time", "total or highest"), report_lines(found), numbers=("total or highest",)))
