"""`nexus executions`: list decisions, or show one."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from typer import Argument, Option

from nexus_pipeline.cli.arguments import MAX_ID, MAX_ROWS, one_of, parse_since, utf8
from nexus_pipeline.cli.output import database, safe, say_json, say_list, table
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import UserError

executions_app = typer.Typer()
app.add_typer(executions_app, name="executions", short_help="List decisions, or show one.")


@executions_app.callback(
    invoke_without_command=True,
    epilog="Example: nexus executions --signal BUY --since 1h, and then: nexus executions show ID",
)
def executions(
    context: typer.Context,
    status: Annotated[
        str | None, Option(metavar="STATUS", help="completed, retrying, error, pending or processing.")
    ] = None,
    symbol: Annotated[str | None, Option(metavar="TEXT", help="Only this symbol.", callback=utf8)] = None,
    signal: Annotated[str | None, Option(metavar="SIGNAL", help="BUY, SELL or HOLD, strong signals included.")] = None,
    msg_id: Annotated[int | None, Option(metavar="N", min=0, max=MAX_ID, help="Only attempts at this message.")] = None,
    since: Annotated[
        str | None,
        Option(metavar="WHEN", help="Since then, as in 90s, 30m, 1h, 2d, 1w, or 2026-01-31T09:00:00Z."),
    ] = None,
    limit: Annotated[int, Option(metavar="N", min=1, max=MAX_ROWS, help="Maximum number of rows.")] = 20,
    as_json: Annotated[bool, Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List decisions, newest first, or show one in full."""
    if context.invoked_subcommand is not None:
        if any(value is not None for value in (status, symbol, signal, msg_id, since)) or as_json or limit != 20:
            raise UserError("`show` takes no options of the list: nexus executions show ID [--json]")
        return
    from nexus_pipeline.executions import SIGNALS, STATUSES, list_executions

    status = one_of(status.lower() if status else status, STATUSES, "--status")
    signal = one_of(signal.upper() if signal else signal, SIGNALS, "--signal")
    moment = parse_since(since, datetime.now(UTC)) if since is not None else None
    with database() as connection:
        found = list_executions(
            connection, status=status, symbol=symbol, signal=signal, msg_id=msg_id, since=moment, max_rows=limit
        )
    if as_json:
        say_json(found)
        return
    columns = ["id", "created", "status", "symbol", "signal", "rsi", "confidence", "risk", "attempt", "message", "ms"]
    rows = [
        (each.id, each.created_at, each.status, each.symbol, each.signal or each.error_class, each.rsi,
         None if each.confidence is None else f"{each.confidence:.2f}", each.risk_level, each.attempt, each.msg_id,
         each.processing_time_ms) for each in found
    ]  # fmt: skip
    made = table(columns, rows, numbers=("rsi", "confidence", "attempt", "message", "ms"))
    for column, width in zip(made.columns, (36, 20), strict=False):
        column.no_wrap, column.min_width = True, width
    say_list(made, "execution", limit)


@executions_app.command(
    "show",
    short_help="Show one decision in full.",
    epilog="Example: nexus executions show 019a3c1e-7b1f-7cc2-8d0a-5f6e7a8b9c0d",
)
def show_execution(
    execution_id: Annotated[str, Argument(metavar="ID", help="Id of the execution, a UUID.")],
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show one execution in full: the request, the decision, or why it failed."""
    from nexus_pipeline.executions import find_execution

    try:
        wanted = UUID(execution_id)
    except ValueError:
        raise UserError(f"{safe(execution_id, 60)} is not the id of an execution, which is a UUID") from None
    with database() as connection:
        found = find_execution(connection, wanted)
    say_json(found, readable=not as_json)
