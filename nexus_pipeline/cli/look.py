"""`nexus status` and `nexus executions`: where the messages are, and what was decided."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from nexus_pipeline.cli.output import (
    Failure,
    Mistake,
    console,
    counted,
    database,
    safe,
    say,
    say_json,
    table,
    to_json,
    utf8,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nexus_pipeline.database.connection import Connection

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MOST_ROWS = 100_000
_LARGEST_ID = 2**63 - 1

executions_app = typer.Typer(
    help="List what was decided, newest first, or show one decision whole.",
    epilog="Example: nexus executions --signal BUY --since 1h, and then: nexus executions show ID",
)


def register(app: typer.Typer) -> None:
    """Adds the verbs of this file."""
    app.command(
        short_help="Where every message is, and whether it adds up.",
        epilog="Example: nexus status --json, or to look on: nexus status --watch 2",
    )(status)
    executions_app.callback(invoke_without_command=True)(executions)
    executions_app.command(
        "show",
        short_help="Show one decision whole.",
        epilog="Example: nexus executions show 019a3c1e-7b1f-7cc2-8d0a-5f6e7a8b9c0d",
    )(show_execution)
    app.add_typer(executions_app, name="executions", short_help="List what was decided, or show one decision.")


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
        raise Mistake("--watch is for people, --json for programs: give one of them")
    with database() as connection:
        found = _status(connection, queue)
        if watch is not None:
            _watch(connection, queue, watch, found)
    if as_json:
        say_json(found)
    else:
        console().print(_status_table(found))
    if not found["adds_up"]:
        raise Failure(f"the counts of {queue} do not add up: {_what_is_off(found)}")


def _status(connection: Connection, queue: str) -> dict[str, Any]:
    """The ledger of a queue, its results and dead letters, and what is stale of the aggregates, as JSON values."""
    from dataclasses import asdict

    import psycopg

    from nexus_pipeline.analytics.hours import WindowError
    from nexus_pipeline.analytics.stale import stale_summary
    from nexus_pipeline.queues.dead_letters import count_by_class
    from nexus_pipeline.queues.ledger import ledger
    from nexus_pipeline.queues.names import RESULTS_QUEUE
    from nexus_pipeline.settings import load_settings

    try:
        book = ledger(connection, queue)
        stale = stale_summary(connection, load_settings().partitions_start, datetime.now(UTC))
    except psycopg.errors.UndefinedTable:
        raise Mistake(f"there is no queue {queue}") from None
    except WindowError as error:
        raise Mistake(str(error)) from None
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


def executions(
    context: typer.Context,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="completed, retrying, error, pending or processing.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(metavar="TEXT", help="What is traded.", callback=utf8)] = None,
    signal: Annotated[
        str | None, typer.Option(metavar="SIGNAL", help="BUY, SELL or HOLD; strong ones belong to theirs.")
    ] = None,
    msg_id: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=_LARGEST_ID, help="The attempts at this message.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="As in 90s, 30m, 1h, 2d, 1w, or 2026-01-31T09:00:00Z.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=_MOST_ROWS, help="Rows at most.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List what was decided, newest first, or show one decision whole."""
    if context.invoked_subcommand is not None:
        given = [value for value in (status, symbol, signal, msg_id, since) if value is not None]
        if given or as_json or limit != 20:
            raise Mistake("options of the list do not go before `show`: nexus executions show ID [--json]")
        return
    from nexus_pipeline.executions import SIGNALS, STATUSES, list_executions

    status = _one_of(status.lower() if status else status, STATUSES, "--status")
    signal = _one_of(signal.upper() if signal else signal, SIGNALS, "--signal")
    moment = parse_since(since, datetime.now(UTC)) if since is not None else None
    with database() as connection:
        found = list_executions(
            connection, status=status, symbol=symbol, signal=signal, msg_id=msg_id, since=moment, at_most=limit
        )
    if as_json:
        say_json(found)
        return
    columns = ["id", "created", "status", "symbol", "signal", "rsi", "confidence", "risk", "attempt", "message", "ms"]
    rows = [
        [
            each.id, each.created_at, each.status, each.symbol, each.signal or each.error_class, each.rsi,
            None if each.confidence is None else f"{each.confidence:.2f}",
            each.risk_level, each.attempt, each.msg_id, each.processing_time_ms,
        ]
        for each in found
    ]  # fmt: skip
    if rows:
        made = table(columns, rows, numbers=("rsi", "confidence", "attempt", "message", "ms"))
        made.columns[0].no_wrap = made.columns[1].no_wrap = True
        made.columns[0].min_width, made.columns[1].min_width = 36, 20
        console().print(made)
    say(counted(len(rows), "execution") + (", and there may be more: --limit" if len(rows) == limit else ""))


def show_execution(
    execution_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the execution, a UUID.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show one execution whole: what came in, what was decided or why it failed."""
    from nexus_pipeline.executions import one_execution

    try:
        wanted = UUID(execution_id)
    except ValueError:
        raise Mistake(f"{safe(execution_id, 60)}: is no id of an execution, which is a UUID") from None
    with database() as connection:
        found = one_execution(connection, wanted)
    if found is None:
        raise Mistake(f"there is no execution {wanted}")
    if as_json:
        say_json(found)
    else:
        say(to_json(found, readable=True))


def parse_since(text: str, now: datetime) -> datetime:
    """The time that a duration before `now` (`90s`, `30m`, `1h`, `2d`, `1w`) or an ISO 8601 time with offset means.

    Raises:
        Mistake: it is neither, or before the year 1.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    try:
        if match is not None:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Mistake(
        f"--since: {safe(text, 60)!r} is no time as in 90s, 30m, 1h, 2d, 1w or 2026-01-31T09:00:00Z (with an offset)"
    )


def _one_of(value: str | None, choices: tuple[str, ...], name: str) -> str | None:
    if value is not None and value not in choices:
        raise Mistake(f"{name}: {safe(value, 60)!r} is none of {', '.join(choices)}")
    return value
