"""`nexus backfill`: rebuild the hourly tables of a range."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from typer import Option

from nexus_pipeline.analytics.tables import HOURLY_JOB, JOBS, tables_of
from nexus_pipeline.cli.arguments import one_of
from nexus_pipeline.cli.output import console, counted, note, say, say_json
from nexus_pipeline.cli.root import app

_CHOICES = (*(job.choice for job in JOBS), "all")
_MEANING = ", ".join(f"{job.choice} for {' and '.join(table.name for table in tables_of(job))}" for job in JOBS)


@app.command(
    short_help="Rebuild the hourly tables of a range.",
    epilog="Example: nexus backfill --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z",
)
def backfill(
    start: Annotated[
        str,
        Option("--from", metavar="TIME", help="First hour, ISO 8601 with an offset, as in 2026-01-01T00:00:00Z."),
    ],
    end: Annotated[str, Option("--to", metavar="TIME", help="End of the last hour, in the same format.")],
    what: Annotated[
        str, Option(metavar=f"[{'|'.join(_CHOICES)}]", help=f"Which tables: {_MEANING}, or all.")
    ] = HOURLY_JOB.choice,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rebuild the hourly tables of a range from the executions, in runs that the Dagster UI shows."""
    from nexus_pipeline.analytics.backfill import run_backfill, tables_of_choice, window_of_arguments
    from nexus_pipeline.dagster_instance.home import dagster_home
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    one_of(what, _CHOICES, "--what")
    window = window_of_arguments(settings, start, end)
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance, _bar() as progress:
        done = run_backfill(instance, window, progress, tables_of_choice(what))
    if as_json:
        say_json(done)
    else:
        say(
            f"{counted(done.hours, 'hour')} of {' and '.join(done.assets)} rebuilt in "
            f"{counted(len(done.run_ids), 'run')}, {done.seconds:.1f} s"
        )


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Show how many hours are done: a bar on a terminal, else a line on stderr after each run."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda done, total: note(f"{done:,} of {total:,} hours")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("hours"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("hours", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
