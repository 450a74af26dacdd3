"""`nexus status`: where every message is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_pipeline.cli.output import console, counted, database, safe, say_json, table
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import FailedError, UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nexus_pipeline.database.connection import Connection


@app.command(
    short_help="Show where every message is, and whether the counts add up.",
    epilog="Example: nexus status --json, or to keep watching: nexus status --watch 2",
)
def status(
    queue: Annotated[str, typer.Option(metavar="NAME", help="Queue to look at.")] = "workflow_main_queue",
    watch: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.5, max=3600, help="Look again so often, until Ctrl-C.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say where every message is, and whether the counts add up; ends with 1 when they do not."""
    from nexus_pipeline.queues.names import checked_queue

    checked_queue(queue)
    if watch is not None and as_json:
        raise UserError("--watch is for people, --json for programs: give one of them")
    with database() as connection:
        found = _status(connection, queue)
        if watch is not None:
            _watch(connection, queue, watch, found)
    if as_json:
        say_json(found)
    else:
        console().print(_status_table(found))
    if not found["adds_up"]:
        raise FailedError(f"the counts of {queue} do not add up: {_what_is_off(found)}")


def _status(connection: Connection, queue: str) -> dict[str, Any]:
    """The ledger of a queue, its results and dead letters, and what is stale of the aggregates, as JSON values."""
    from dataclasses import asdict

    from nexus_pipeline.analytics.stale import stale_summary
    from nexus_pipeline.analytics.start import partitions_start
    from nexus_pipeline.queues.dead_letters import count_by_class
    from nexus_pipeline.queues.ledger import ledger
    from nexus_pipeline.queues.names import RESULTS_QUEUE
    from nexus_pipeline.settings import load_settings

    book = ledger(connection, queue)
    stale = stale_summary(connection, partitions_start(load_settings()), datetime.now(UTC))
    results = connection.execute("SELECT queue_length FROM pgmq.metrics(%s)", (RESULTS_QUEUE,)).fetchone()
    classes = count_by_class(connection)
    return {
        "queue": queue,
        **asdict(book),
        "adds_up": book.adds_up,
        "results_waiting": results[0] if results is not None else 0,
        "dead_letters_waiting": sum(each.letters for each in classes),
        "dead_letters_by_class": {each.error_class: each.letters for each in classes},
        "stale": {asset: asdict(behind) for asset, behind in stale.items()},
    }


def _status_table(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    names = ("sent", "waiting", "leased", "retrying", "completed", "dead_lettered")
    made = table([name.replace("_", "-") for name in names], [[f"{found[name]:,}" for name in names]])
    for column in made.columns:
        column.justify = "right"
    wait = found["oldest_wait_s"]
    lines = [
        f"oldest wait: {wait:,.1f} s" if wait is not None else "oldest wait: none waits",
        f"results waiting: {found['results_waiting']:,}",
        f"dead letters waiting: {found['dead_letters_waiting']:,}" + _classes(found["dead_letters_by_class"]),
    ]
    lines += _stale_lines(found["stale"])
    proof = Text("the counts add up: ").append(
        *(("yes", "green") if found["adds_up"] else (f"NO, {_what_is_off(found)}", "bold red"))
    )
    return Group(Text(found["queue"], style="bold"), made, *(Text(line) for line in lines), proof)


def _stale_lines(stale: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each table whose closed hours (days, for the report) are behind the executions."""
    lines = []
    for asset, behind in stale.items():
        if behind["partitions"]:
            oldest = f"{behind['oldest']:%Y-%m-%d %H:%M} UTC"
            lines.append(f"stale: {counted(behind['partitions'], 'partition')} of {asset}, the oldest {oldest}")
        if behind["before_first"]:
            early = counted(behind["before_first"], "hour")
            lines.append(f"never made: {early} of {asset} before NEXUS_PARTITIONS_START")
    return lines or ["stale hours: none"]


def _classes(by_class: dict[str, int]) -> str:
    return f" ({', '.join(f'{safe(name, 60)} {number:,}' for name, number in by_class.items())})" if by_class else ""


def _what_is_off(found: dict[str, Any]) -> str:
    states = sum(found[name] for name in ("waiting", "leased", "retrying", "completed", "dead_lettered"))
    off = [f"{found[name]:,} {name}" for name in ("lost", "doubled") if found[name]]
    if found["sent"] != states:
        off.append(f"{found['sent']:,} sent but {states:,} accounted for")
    return ", ".join(off)


def _watch(connection: Connection, queue: str, seconds: float, found: dict[str, Any]) -> None:
    """Shows the status again and again, until Ctrl-C."""
    from rich.live import Live

    with Live(_status_table(found), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(seconds)
            live.update(_status_table(_status(connection, queue)), refresh=True)
