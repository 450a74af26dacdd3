"""`nexus errors`: the dead letters, and what to do with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nexus_pipeline.cli.arguments import MAX_ID, MAX_ROWS, utf8
from nexus_pipeline.cli.output import (
    console,
    counted,
    database,
    note,
    safe,
    say,
    say_json,
    table,
    to_json,
)
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import FailedError, NotFoundError, UserError

if TYPE_CHECKING:
    from nexus_pipeline.database.connection import Connection
    from nexus_pipeline.queues.dead_letters import Acted, Action

errors_app = typer.Typer(
    help="List, show, send again or discard dead letters: messages whose last attempt failed.",
    epilog="Example: nexus errors list --by-class, and then: nexus errors redrive --class strategy_error",
)
app.add_typer(errors_app, name="errors", short_help="List, show, redrive or discard dead letters.")

_Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids of dead letters.", show_default=False)]
_Class = Annotated[str | None, typer.Option("--class", metavar="CLASS", help="All of this error class.", callback=utf8)]
_All = Annotated[bool, typer.Option("--all", help="All that wait.")]
_Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for the record.", callback=utf8)]
_Limit = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=2**31 - 1, help="The oldest so many only, of --class or --all.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@errors_app.command("list", epilog="Example: nexus errors list --class invalid_input --limit 5")
def list_errors(
    error_class: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="Of this error class.", callback=utf8)
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=MAX_ROWS, help="Rows at most.")] = 50,
    by_class: Annotated[bool, typer.Option("--by-class", help="Count them by error class.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the dead letters that wait, newest first."""
    from nexus_pipeline.queues.dead_letters import count_by_class, list_letters

    if by_class and error_class is not None:
        raise UserError("--by-class counts all classes: leave out --class")
    with database() as connection:
        if by_class:
            counts = count_by_class(connection)
            if as_json:
                say_json(counts)
                return
            rows = [[each.error_class, f"{each.letters:,}", each.oldest, each.newest] for each in counts]
            console().print(table(["class", "letters", "oldest", "newest"], rows, numbers=("letters",)))
            return
        letters = list_letters(connection, error_class, limit)
    if as_json:
        say_json(letters)
        return
    rows = [
        [
            each.dead_letter_id, each.dead_lettered_at, each.error_class, each.error_code, each.attempts,
            each.original_queue, each.original_msg_id, each.error_message,
        ]
        for each in letters
    ]  # fmt: skip
    columns = ["id", "since", "class", "code", "attempts", "queue", "message", "reason"]
    if rows:
        made = table(columns, rows, numbers=("id", "attempts", "message"))
        made.columns[-1].overflow = "fold"
        console().print(made)
    say(counted(len(rows), "dead letter") + (", and there may be more: --limit" if len(rows) == limit else ""))


@errors_app.command("show", short_help="Show one dead letter whole.", epilog="Example: nexus errors show 12")
def show_error(
    dead_letter_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID)],
    as_json: _Json = False,
) -> None:
    """Show one dead letter whole: the message, every attempt at it, and what was done with it."""
    from nexus_pipeline.queues.dead_letters import show_letter

    with database() as connection:
        letter = show_letter(connection, dead_letter_id)
    if letter is None:
        raise NotFoundError(f"there is no dead letter {dead_letter_id}")
    whole = {
        "dead_letter_id": dead_letter_id,
        "dead_lettered_at": letter.dead_lettered_at,
        "message": letter.message,
        "attempts": letter.attempts,
        "actions": letter.actions,
    }
    if as_json:
        say_json(whole)
    else:
        say(to_json(whole, readable=True))


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
    """Send dead letters again, as new messages of their queues that point back; each of them once."""
    _act("redrive", ids, error_class, everything, reason, limit, as_json)


@errors_app.command(
    "discard",
    short_help="Discard dead letters.",
    epilog="Example: nexus errors discard --class invalid_input --yes",
)
def discard(
    ids: _Ids = None,
    error_class: _Class = None,
    everything: _All = False,
    reason: _Reason = None,
    limit: _Limit = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, for --class and --all.")] = False,
    as_json: _Json = False,
) -> None:
    """Give dead letters up: they leave the queue, and are kept in its archive."""
    _check_choice(ids, error_class, everything, limit)
    if not ids and not yes:
        _confirm(error_class, limit)
    _act("discard", ids, error_class, everything, reason, limit, as_json)


def _check_choice(ids: Sequence[int] | None, error_class: str | None, everything: bool, limit: int | None) -> None:
    if sum((bool(ids), error_class is not None, everything)) != 1:
        raise UserError("say which dead letters: ids, or --class CLASS, or --all")
    if ids and limit is not None:
        raise UserError("--limit belongs to --class and --all")
    for each in ids or ():
        if not 1 <= each <= MAX_ID:
            raise UserError(f"{each}: is no id of a dead letter")


def _confirm(error_class: str | None, limit: int | None) -> None:
    """Asks on the terminal before many are discarded; where there is none, --yes must say it."""
    from nexus_pipeline.queues.dead_letters import count_by_class

    if not sys.stdin.isatty():
        raise UserError("discarding by --class or --all needs --yes where nobody can be asked")
    with database() as connection:
        found = [each.letters for each in count_by_class(connection) if error_class in (None, each.error_class)]
    number = sum(found) if limit is None else min(sum(found), limit)
    if number and not typer.confirm(f"discard {counted(number, 'dead letter')}?", err=True):
        raise FailedError("nothing was discarded")


def _act(
    action: Literal["redrive", "discard"],
    ids: Sequence[int] | None,
    error_class: str | None,
    everything: bool,
    reason: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    from nexus_pipeline.queues.dead_letters import act

    _check_choice(ids, error_class, everything, limit)
    with database() as connection:
        already = _settle_ids(connection, action, ids) if ids else []
        done = act(connection, action, ids=ids or None, error_class=error_class, at_most=limit, reason=reason)
        if ids:
            already += _left_over(connection, action, ids, done, already)
    if as_json:
        say_json({"action": action, "done": done, "already": already})
        return
    for each in already:
        say(f"dead letter {each.dead_letter_id}: {_said(each)}")
    if ids:
        for one in done:
            said = (
                f"redriven as message {one.new_msg_id} of {one.original_queue}" if action == "redrive" else "discarded"
            )
            say(f"dead letter {one.dead_letter_id}: {said}")
    say(f"{counted(len(done), 'dead letter')} {'redriven' if action == 'redrive' else 'discarded'}")


def _settle_ids(connection: Connection, action: str, ids: Sequence[int]) -> list[Action]:
    """What was done before with those of `ids` that no longer wait; refuses, before anything is done, ids that
    never were, and those that another action has ended.
    """
    from nexus_pipeline.queues.dead_letters import actions_of

    rows = connection.execute(
        "SELECT dead_letter_id, original_queue IN (SELECT queue_name FROM nexus.queues)"
        " FROM nexus.dead_letters WHERE dead_letter_id = ANY (%s)",
        (list(ids),),
    ).fetchall()
    waiting = {row[0]: bool(row[1]) for row in rows}
    gone = [each for each in dict.fromkeys(ids) if each not in waiting]
    before = {each.dead_letter_id: each for each in actions_of(connection, gone)}
    faults = [f"there is no dead letter {each}" for each in gone if each not in before]
    faults += [
        f"dead letter {each.dead_letter_id} cannot be {_done(action)}: {_said(each)}"
        for each in before.values()
        if each.action != action
    ]
    if action == "redrive":
        faults += [
            f"dead letter {each} cannot be redriven: no queue that takes requests stands in it"
            for each, served in waiting.items()
            if not served
        ]
    if faults:
        for fault in faults[1:11]:
            note(f"nexus: {fault}")
        raise UserError(f"{faults[0]}; nothing was {_done(action)}")
    return list(before.values())


def _left_over(
    connection: Connection, action: str, ids: Sequence[int], done: Sequence[Acted], already: Sequence[Action]
) -> list[Action]:
    """What somebody else did with those of `ids` between the look and the act."""
    from nexus_pipeline.queues.dead_letters import actions_of

    known = {one.dead_letter_id for one in done} | {each.dead_letter_id for each in already}
    missed = [each for each in dict.fromkeys(ids) if each not in known]
    return [each for each in actions_of(connection, missed) if each.action == action] if missed else []


def _done(action: str) -> str:
    return "redriven" if action == "redrive" else "discarded"


def _said(action: Action) -> str:
    message = f" as message {action.new_msg_id}" if action.new_msg_id is not None else ""
    reason = f" ({safe(action.reason, 200)})" if action.reason else ""
    return f"already {_done(action.action)}{message} at {safe(action.acted_at)} by {safe(action.actor, 63)}{reason}"
