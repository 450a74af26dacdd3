"""What the verbs have in common: the database, JSON, tables.

What comes out of the database was sent by anybody. Before it reaches a terminal, characters that could move the
cursor or change colours are replaced; JSON output is plain ASCII with escapes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nexus_pipeline.database.connection import Connection

# Width of tables that are not read on a terminal: wide enough that nothing is cut.
_PIPE_COLUMNS = 240


@contextmanager
def database() -> Iterator[Connection]:
    """A connection to the database, started where it is ours, and migrated.

    Raises:
        UserError, UnavailableError: with one line that says what to do.
    """
    from psycopg.types.json import set_json_loads

    from nexus_pipeline.database.connection import connect
    from nexus_pipeline.database.ready import ready_database
    from nexus_pipeline.settings import load_settings

    with connect(ready_database(load_settings())) as connection:
        set_json_loads(_loads, connection)
        yield connection


def _loads(text: str | bytes) -> Any:
    """A JSON value of the database, with every digit; the text itself where it is more than Python reads."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (RecursionError, ValueError):  # nested a thousand deep, or a number of thousands of digits
        return text if isinstance(text, str) else text.decode()


def console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no emoji; colour on a terminal only."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=not stream.isatty(),
        width=None if stream.isatty() else _PIPE_COLUMNS,
    )


def say(text: str) -> None:
    """A line of results."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line beside the results, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_json(value: object) -> None:
    """The one JSON value that a verb prints with `--json`."""
    sys.stdout.write(to_json(value) + "\n")


class _Token(NamedTuple):
    text: str


def to_json(value: object, *, readable: bool = False) -> str:
    """JSON text of records, times, ids and JSON values, with every digit of a Decimal, however deeply nested.

    `readable` is for people: indented, and with characters as they are where they can be printed.
    """
    pieces: list[str] = []
    todo: list[tuple[object, int]] = [(value, 0)]
    while todo:
        part, depth = todo.pop()
        part = _plain(part)
        if isinstance(part, _Token):
            pieces.append(part.text)
        elif isinstance(part, dict | list) and part:
            inner, outer = ("\n" + "  " * (depth + 1), "\n" + "  " * depth) if readable else ("", "")
            opening, closing = "{}" if isinstance(part, dict) else "[]"
            pieces.append(opening + inner)
            follow: list[tuple[object, int]] = []
            for index, item in enumerate(part.items() if isinstance(part, dict) else part):
                if index:
                    follow.append((_Token("," + (inner or " ")), 0))
                if isinstance(part, dict):
                    follow.append((_Token(_quoted(str(item[0]), readable) + ": "), 0))
                    item = item[1]  # noqa: PLW2901 - the value of the pair
                follow.append((item, depth + 1))
            todo.append((_Token(outer + closing), 0))
            todo += reversed(follow)
        elif isinstance(part, Decimal) and part.is_finite():
            pieces.append(str(part))
        else:
            pieces.append(_quoted(part, readable))
    return "".join(pieces)


def _plain(part: object) -> object:
    """The JSON value for what is none."""
    if isinstance(part, _Token):
        return part
    if is_dataclass(part) and not isinstance(part, type):
        return asdict(part)
    if isinstance(part, datetime):
        return part.astimezone(UTC).isoformat()
    if isinstance(part, Mapping):
        return dict(part)
    if isinstance(part, tuple):
        return list(part)
    return part if part is None or isinstance(part, str | int | float | Decimal | dict | list) else str(part)


def _quoted(part: object, readable: bool) -> str:
    """A text, number, boolean or null as JSON. A Decimal that is no number becomes null, as JSON has none."""
    if isinstance(part, Decimal):
        return "null"
    text = json.dumps(part, ensure_ascii=not readable)
    return safe(text) if readable else text


def safe(value: object, longest: int | None = None) -> str:
    """A value as a terminal may show it: on one line, without control characters, at most `longest` characters."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    text = str(value) if longest is None else str(value)[: longest + 1]
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> Table:
    """A table; the columns in `numbers` stand to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="ellipsis")
    for row in rows:
        made.add_row(*(safe(cell, 200) for cell in row))
    return made


def counted(number: int, what: str, many: str | None = None) -> str:
    """A number with the name of what was counted, as in `1,000 requests`."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"
