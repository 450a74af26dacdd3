"""Where the SQL lies, and the named statements out of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from psycopg import Connection

Row = TypeVar("Row")

_INSTALLED = Path(__file__).parent.parent / "sql"
_CHECKOUT = Path(__file__).parent.parent.parent / "sql"


def sql_folder() -> Path:
    """The folder `sql/`: beside the code in an installed wheel, at the top of a checkout."""
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


@cache
def queries(name: str) -> Any:
    """The named statements of `sql/queries/<name>.sql`, each a method that takes a connection first."""
    import aiosql

    return aiosql.from_path(sql_folder() / "queries" / f"{name}.sql", "psycopg")


def rows_as(kind: type[Row], connection: Connection[Any], statement: Any, **parameters: Any) -> list[Row]:
    """The rows of a named statement, each a `kind` that is called with the columns by name."""
    from psycopg.rows import class_row

    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement.sql, parameters).fetchall()
