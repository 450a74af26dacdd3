"""`nexus backfill`, `nexus report`, `nexus checks`: hours made anew, the last hours at a glance, the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

from nexus_pipeline.cli.output import Failure, Mistake, console, counted, database, note, say, say_json, table

_MOST_HOURS = 24 * 366


def register(app: typer.Typer) -> None:
    """Adds the verbs of this file."""
    app.command(
        short_help="Make hourly aggregates anew.",
        epilog="Example: nexus backfill --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z",
    )(backfill)
    app.command(
        short_help="The last hours at a glance.",
        epilog="Example: nexus report --hours 48",
    )(report)
    app.command(
        short_help="What the asset checks said last.",
        epilog="Example: nexus checks --strict",
    )(checks)


def backfill(
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help="First hour, ISO 8601 with offset: 2026-01-01T00:00:00Z.")
    ],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Where the last hour ends, likewise.")],
    what: Annotated[
        Literal["hourly", "metrics", "all"],
        typer.Option(help="The hourly tables, the table of single metrics (four rows an execution), or both."),
    ] = "hourly",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the hourly tables of a range anew, out of the executions, in runs that the UI shows."""
    from nexus_pipeline.analytics.backfill import BackfillError, run_backfill, window_of_arguments
    from nexus_pipeline.analytics.hours import WindowError
    from nexus_pipeline.analytics.windows import HOURLY_METRICS, METRICS, SIGNALS
    from nexus_pipeline.dagster_instance.home import dagster_home
    from nexus_pipeline.database.ready import ready_database
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    try:
        window = window_of_arguments(settings, start, end)
    except WindowError as error:
        raise Mistake(str(error)) from None
    ready_database(settings)
    assets = {
        "hourly": (SIGNALS, HOURLY_METRICS),
        "metrics": (METRICS,),
        "all": (SIGNALS, HOURLY_METRICS, METRICS),
    }[what]
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance, _bar() as progress:
        try:
            done = run_backfill(instance, window, progress, assets)
        except BackfillError as error:
            raise Failure(str(error)) from None
    if as_json:
        say_json(done)
    else:
        say(
            f"{counted(done.hours, 'hour')} of {' and '.join(done.assets)} made anew in "
            f"{counted(len(done.run_ids), 'run')}, {done.seconds:.1f} s"
        )


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Shows how many hours are done: a bar on a terminal, else a line now and then on stderr."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda done, total: note(f"{done:,} of {total:,} hours")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("hours"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("hours", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def report(
    hours: Annotated[int, typer.Option(metavar="N", min=1, max=_MOST_HOURS, help="How many, with the open one.")] = 24,
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


def checks(
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Show the newest result of each asset check; ends with 1 when one failed, or when none has ever run."""
    from nexus_pipeline.analytics.check_results import latest_results
    from nexus_pipeline.dagster_instance.home import dagster_home
    from nexus_pipeline.database.ready import ready_database
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    ready_database(settings)
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance:
        found = latest_results(instance)
    if as_json:
        say_json(found)
    else:
        rows = [(each.status, each.asset, each.check, each.said, each.at) for each in found]
        console().print(table(("", "asset", "check", "said", "at"), rows))
    bad = {"failed", "warned"} if strict else {"failed"}
    names = [f"{each.check} ({each.status})" for each in found if each.status in bad]
    if names:
        raise Failure(f"{counted(len(names), 'check')}: {', '.join(names)}")
    if all(each.at is None for each in found):
        raise Failure("no check has ever run: nothing is known")
