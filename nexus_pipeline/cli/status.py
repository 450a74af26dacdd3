"""`nexus status`: where every message is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from nexus_pipeline.cli.output import console, counted, database, safe, say_json, table
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import FailedError, UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nexus_pipeline.database.connection import Connection
    from nexus_pipeline.insights import QueueStatus, Recent, StalePartitions
    from nexus_pipeline.queues.ledger import Ledger


@app.command(
    short_help="Show where every message is, and whether the counts add up.",
    epilog="Example: nexus status --json, or to keep watching: nexus status --watch 2",
)
def status(
    queue: Annotated[str, Option(metavar="NAME", help="Queue to show.")] = "workflow_main_queue",
    watch: Annotated[float | None, Option(metavar="SECONDS", min=0.5, max=3600, help="Repeat until Ctrl-C.")] = None,
    recount: Annotated[
        bool,
        Option("--recount", help="Count the whole archive again, not only what was sent since the last count."),
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show where every message is, and whether the counts add up; end with 1 when they do not."""
    from nexus_pipeline.queues.names import checked_queue

    checked_queue(queue)
    if watch is not None and as_json:
        raise UserError("--watch is for people, --json for programs: use one of them")
    with database() as connection:
        found = _read(connection, queue, recount=recount)
        if watch is not None:
            from rich.live import Live

            with Live(_screen(found), console=console(), auto_refresh=False) as live:
                while True:
                    time.sleep(watch)
                    live.update(_screen(_read(connection, queue)), refresh=True)
    if as_json:
        say_json(_as_json(found))
    else:
        console().print(_screen(found))
    if not found.ledger.adds_up:
        raise FailedError(f"the counts of {queue} do not add up: {_difference(found.ledger)}")


def _read(connection: Connection, queue: str, *, recount: bool = False) -> QueueStatus:
    from nexus_pipeline.analytics.hours import first_hour
    from nexus_pipeline.analytics.start import partitions_start
    from nexus_pipeline.insights import queue_status
    from nexus_pipeline.settings import load_settings

    first = first_hour(partitions_start(load_settings()), datetime.now(UTC))
    return queue_status(connection, queue, first, recount=recount)


def _as_json(status: QueueStatus) -> dict[str, Any]:
    return {
        "queue": status.queue,
        **vars(status.ledger),
        "adds_up": status.ledger.adds_up,
        "results_waiting": status.results_waiting,
        "dead_letters_waiting": status.dead_letters_waiting,
        "dead_letters_by_class": {each.error_class: each.letters for each in status.dead_letters},
        "recent": status.recent,
        "stale": {each.asset: each for each in status.stale},
    }


def _screen(status: QueueStatus) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    ledger = status.ledger
    states = ("sent", "waiting", "leased", "retrying", "completed", "dead_lettered")
    heads = [name.replace("_", "-") for name in states]
    counts = table(heads, [[f"{getattr(ledger, name):,}" for name in states]], numbers=heads)
    wait = "none waits" if ledger.oldest_wait_s is None else f"{ledger.oldest_wait_s:,.1f} s"
    classes = ", ".join(f"{safe(each.error_class, 60)} {each.letters:,}" for each in status.dead_letters)
    lines = [
        f"oldest wait: {wait}",
        *_recent_lines(status.recent),
        f"results waiting: {status.results_waiting:,}",
        f"dead letters waiting: {status.dead_letters_waiting:,}" + (f" ({classes})" if classes else ""),
        *_stale_lines(status.stale),
    ]
    proof = ("yes", "green") if ledger.adds_up else (f"NO, {_difference(ledger)}", "bold red")
    body = (Text(line) for line in lines)
    return Group(Text(status.queue, style="bold"), counts, *body, Text("the counts add up: ").append(*proof))


def _recent_lines(recent: Recent) -> list[str]:
    """Throughput and latency, where there was any in the last hour."""
    if recent.wait_p50_ms is None or recent.processing_p50_ms is None:
        return []
    return [
        f"last {recent.window_s:,.0f} s: {recent.decisions_per_s:,.2f} decisions/s",
        f"wait p50, p95, p99: {recent.wait_p50_ms:,.0f}, {recent.wait_p95_ms:,.0f}, {recent.wait_p99_ms:,.0f} ms; "
        f"processing: {recent.processing_p50_ms:,.0f}, {recent.processing_p95_ms:,.0f}, "
        f"{recent.processing_p99_ms:,.0f} ms",
    ]


def _stale_lines(stale: list[StalePartitions]) -> list[str]:
    """A line for each table with closed hours (days, for the report) that are stale."""
    lines = []
    for found in stale:
        if found.oldest is not None:
            oldest = f"{found.oldest.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            lines.append(f"stale: {counted(found.partitions, 'partition')} of {found.asset}, the oldest {oldest}")
        if found.before_first:
            early = counted(found.before_first, "hour")
            lines.append(f"never built: {early} of {found.asset} before NEXUS_PARTITIONS_START")
    return lines or ["stale hours: none"]


def _difference(ledger: Ledger) -> str:
    """Why the counts of a ledger do not add up."""
    off = [f"{getattr(ledger, name):,} {name}" for name in ("lost", "doubled") if getattr(ledger, name)]
    if ledger.sent != ledger.accounted_for:
        off.append(f"{ledger.sent:,} sent but {ledger.accounted_for:,} accounted for")
    return ", ".join(off)
