"""`nexus errors`: list, show, redrive and discard dead letters."""

import sys
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from nexus_pipeline.cli.arguments import MAX_ID, MAX_ROWS, utf8
from nexus_pipeline.cli.output import console, counted, database, safe, say, say_json, say_list, table
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import FailedError, UserError

errors_app = typer.Typer(
    help="List, show, send again or discard dead letters: messages whose last attempt failed.",
    epilog="Example: nexus errors list --by-class, and then: nexus errors redrive --class strategy_error",
)
app.add_typer(errors_app, name="errors", short_help="List, show, redrive or discard dead letters.")

_Ids = Annotated[list[int] | None, Argument(metavar="ID", help="Ids of dead letters.", show_default=False)]
_Class = Annotated[str | None, Option("--class", metavar="CLASS", help="All of this error class.", callback=utf8)]
_All = Annotated[bool, Option("--all", help="All that wait for an action.")]
_Reason = Annotated[str | None, Option(metavar="TEXT", help="Reason, for the record.", callback=utf8)]
_Limit = Annotated[
    int | None, Option(metavar="N", min=1, max=2**31 - 1, help="With --class or --all: at most the N oldest.")
]
_Json = Annotated[bool, Option("--json", help="Print one JSON object.")]


@errors_app.command("list", epilog="Example: nexus errors list --class invalid_input --limit 5")
def list_errors(
    error_class: Annotated[
        str | None, Option("--class", metavar="CLASS", help="Only this error class.", callback=utf8)
    ] = None,
    limit: Annotated[int, Option(metavar="N", min=1, max=MAX_ROWS, help="Maximum number of rows.")] = 50,
    by_class: Annotated[bool, Option("--by-class", help="Count by error class.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the dead letters that wait for an action, newest first."""
    from nexus_pipeline.queues.dead_letters import count_by_class, list_dead_letters

    if by_class and error_class is not None:
        raise UserError("--by-class counts all classes: leave out --class")
    with database() as connection:
        counts = count_by_class(connection) if by_class else []
        found = [] if by_class else list_dead_letters(connection, error_class, limit)
    if as_json:
        say_json(counts if by_class else found)
    elif by_class:
        rows = [(each.error_class, f"{each.letters:,}", each.oldest, each.newest) for each in counts]
        console().print(table(("class", "dead letters", "oldest", "newest"), rows, numbers=("dead letters",)))
    else:
        columns = ("id", "since", "class", "code", "attempts", "queue", "message", "reason")
        cells = [
            (each.dead_letter_id, each.dead_lettered_at, each.error_class, each.error_code, each.attempts,
             each.original_queue, each.original_msg_id, each.error_message) for each in found
        ]  # fmt: skip
        made = table(columns, cells, numbers=("id", "attempts", "message"))
        made.columns[-1].overflow = "fold"
        say_list(made, "dead letter", limit)


@errors_app.command("show", short_help="Show one dead letter in full.", epilog="Example: nexus errors show 12")
def show_error(
    dead_letter_id: Annotated[int, Argument(metavar="ID", min=1, max=MAX_ID)], as_json: _Json = False
) -> None:
    """Show one dead letter in full: the message, every attempt at it, and every action."""
    from nexus_pipeline.queues.dead_letters import dead_letter_history

    with database() as connection:
        history = dead_letter_history(connection, dead_letter_id)
    say_json(history, readable=not as_json)


@errors_app.command(
    "redrive",
    short_help="Send dead letters again.",
    epilog="Example: nexus errors redrive 12 13 --reason 'strategy fixed'",
)
def redrive(
    ids: _Ids = None,
    error_class: _Class = None,
    everything: _All = False,
    reason: _Reason = None,
    limit: _Limit = None,
    as_json: _Json = False,
) -> None:
    """Send dead letters again, each once, as new messages of their queues that point back."""
    _act("redrive", ids or [], error_class, everything, reason, limit, as_json=as_json)


@errors_app.command(
    "discard", short_help="Discard dead letters.", epilog="Example: nexus errors discard --class invalid_input --yes"
)
def discard(
    ids: _Ids = None,
    error_class: _Class = None,
    everything: _All = False,
    reason: _Reason = None,
    limit: _Limit = None,
    yes: Annotated[bool, Option("--yes", help="Do not ask, for --class and --all.")] = False,
    as_json: _Json = False,
) -> None:
    """Discard dead letters: they move from their queue to its archive."""
    _act("discard", ids or [], error_class, everything, reason, limit, ask=not yes, as_json=as_json)


def _act(
    action: Literal["redrive", "discard"],
    ids: list[int],
    error_class: str | None,
    everything: bool,
    reason: str | None,
    limit: int | None,
    *,
    ask: bool = False,
    as_json: bool,
) -> None:
    """Redrive or discard the chosen dead letters and say what was done; `ask` before many are."""
    from nexus_pipeline.queues import dead_letters

    if sum((bool(ids), error_class is not None, everything)) != 1:
        raise UserError("say which dead letters: ids, or --class CLASS, or --all")
    if ids and limit is not None:
        raise UserError("--limit belongs to --class and --all")
    for each in ids:
        if not 1 <= each <= MAX_ID:
            raise UserError(f"{each} is not the id of a dead letter")
    if ask and not ids:
        _confirm(error_class, limit)
    with database() as connection:
        outcome = dead_letters.act(
            action, connection, ids=ids or None, error_class=error_class, max_rows=limit, reason=reason
        )
    if as_json:
        say_json({"action": action, "done": outcome.done, "already": outcome.already})
        return
    past = dead_letters.PAST[action]
    for before in outcome.already:
        say(f"dead letter {before.dead_letter_id}: already {safe(before)}")
    for done in outcome.done if ids else ():
        message = f" as message {done.new_msg_id} of {done.original_queue}" if done.new_msg_id is not None else ""
        say(f"dead letter {done.dead_letter_id}: {past}{message}")
    say(f"{counted(len(outcome.done), 'dead letter')} {past}")


def _confirm(error_class: str | None, limit: int | None) -> None:
    from nexus_pipeline.queues.dead_letters import count_by_class

    if not sys.stdin.isatty():
        raise UserError("discarding by --class or --all needs --yes without a terminal to ask on")
    with database() as connection:
        found = [each.letters for each in count_by_class(connection) if error_class in (None, each.error_class)]
    number = sum(found) if limit is None else min(sum(found), limit)
    if number and not typer.confirm(f"discard {counted(number, 'dead letter')}?", err=True):
        raise FailedError("nothing was discarded")
