"""What the verbs share: the database, JSON, tables.

Texts in the database come from senders that nobody vouches for. Characters that could move the cursor or change colours
are replaced before a text reaches a terminal; JSON output is ASCII.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from nexus_pipeline.database.connection import Connection

# JSON values nested deeper than this stay text: Python's parser and encoder recurse, about a thousand deep.
_MAX_DEPTH = 500
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# Width of tables that do not go to a terminal: wide enough that nothing is cut.
_PIPE_COLUMNS = 240
_PROGRESS_AFTER_SECONDS = 0.7


@contextmanager
def database() -> Iterator[Connection]:
    """A connection to the database, which is started if it is the embedded one, and migrated."""
    from psycopg.types.json import set_json_loads

    from nexus_pipeline.database.connection import connect
    from nexus_pipeline.database.ready import ready_database
    from nexus_pipeline.settings import load_settings

    with connect(ready_database(load_settings())) as connection:
        set_json_loads(loads, connection)
        yield connection


def loads(text: str | bytes) -> Any:
    """A JSON value of the database with every digit; text where Python could not parse it or print it again."""
    try:
        value = json.loads(text, parse_float=Decimal)
    except (RecursionError, ValueError):  # nested a thousand deep, or a number of thousands of digits
        return _raw(text)
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for part in level for inner in _parts(part)]
        if not level:
            return value
    return _raw(text)


def _raw(text: str | bytes) -> Any:
    from simplejson import RawJSON

    return RawJSON(text if isinstance(text, str) else bytes(text).decode())


def _parts(value: object) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is, without markup and emoji, and uses colour only on a terminal."""
    from rich.console import Console

    piped = not (sys.stderr if stderr else sys.stdout).isatty()
    width = _PIPE_COLUMNS if piped else None
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=piped, width=width)


def say(text: str) -> None:
    """Print a line of results."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_list(made: Table, what: str, limit: int) -> None:
    """Print the table of a list, where it has rows, and how many."""
    if made.row_count:
        console().print(made)
    say(counted(made.row_count, what) + (", and there may be more: --limit" if made.row_count == limit else ""))


def say_json(value: object, *, readable: bool = False) -> None:
    """Print a JSON value: on one line for `--json`, or `readable`."""
    say(to_json(value, readable=readable))


def to_json(value: object, *, readable: bool = False) -> str:
    """JSON text of dataclasses, times, ids and JSON values, with every digit of a Decimal; NaN becomes null.

    ASCII on one line for programs; `readable` is for people: indented, with every character that can be printed.
    """
    import simplejson

    def plain(part: object) -> object:
        match part:
            case Decimal():
                return simplejson.RawJSON(str(part) if part.is_finite() else "null")
            case datetime():
                return part.astimezone(UTC).isoformat()
            case _ if is_dataclass(part):
                return {field.name: getattr(part, field.name) for field in fields(part)}
            case _:
                return str(part)

    text = simplejson.dumps(
        value, default=plain, use_decimal=False, ignore_nan=True, ensure_ascii=False, indent=2 if readable else None
    )
    if readable:
        return "\n".join(safe(line) for line in text.split("\n"))
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def safe(value: object, max_length: int | None = None) -> str:
    """A value as a terminal may show it: one line without control characters, at most `max_length` characters.

    Times have one format for people: `2026-01-31 09:00:00Z`.
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    text = str(value) if max_length is None else str(value)[: max_length + 1]
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if max_length is None or len(text) <= max_length else text[: max_length - 1] + "…"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> Table:
    """A table; the columns named in `numbers` are right-aligned."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="ellipsis")
    for row in rows:
        made.add_row(*(safe(cell, 200) for cell in row))
    return made


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, on a terminal and once it takes a while; yields the function that advances it."""
    with ExitStack() as stack:
        began, done = monotonic(), 0
        bar: Progress | None = None

        def advance(number: int) -> None:
            nonlocal bar, done
            done += number
            if bar is None and sys.stderr.isatty() and monotonic() - began > _PROGRESS_AFTER_SECONDS:
                from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

                columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
                bar = stack.enter_context(Progress(*columns, console=console(stderr=True), transient=True))
                bar.add_task(what, total=total)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)

        yield advance


def counted(number: int, what: str) -> str:
    """A number with its noun, as in `1,000 requests`."""
    return f"{number:,} {what if number == 1 else what + 's'}"
