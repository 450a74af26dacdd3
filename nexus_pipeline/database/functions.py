"""The SQL functions: one file each under `sql/functions/`, applied again whenever a file changes.

A database records which files it has, by hash. A file refers to functions of other files by name, and is applied after
them. `sql/functions/access.sql` grants and revokes, and comes last.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from typing import Any, LiteralString

import psycopg

from nexus_pipeline import __version__
from nexus_pipeline.database.connection import Connection, first_line
from nexus_pipeline.database.statements import queries, rows_as, sql_folder
from nexus_pipeline.errors import UnavailableError

_DEFINES = re.compile(r"^CREATE OR REPLACE FUNCTION ((?:nexus|public)\.\w+)", re.MULTILINE)
_NAMES = re.compile(r"\b(?:nexus|public)\.\w+")
_COMMENT = re.compile(r"--.*")
_ACCESS = "access.sql"


@dataclass(frozen=True)
class FunctionFile:
    """A file of functions: its path below `sql/functions/`, its text with its SHA-256, and what it defines."""

    name: str
    text: str
    hash: str
    defines: frozenset[str]


@dataclass(frozen=True)
class Recorded:
    """What a database has of a file: its hash, the functions it made (with argument types), and by which version."""

    file: str
    hash: str
    functions: list[str]
    version: str


@cache
def function_files() -> tuple[FunctionFile, ...]:
    """All files, each after those whose functions it names; `access.sql` last."""
    folder = sql_folder() / "functions"
    files = {}
    for path in sorted(folder.rglob("*.sql")):
        name, text = path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        files[name] = FunctionFile(name, text, digest, frozenset(_DEFINES.findall(text)))
    needed = {}
    for name, file in files.items():
        named = set(_NAMES.findall(_COMMENT.sub("", file.text)))
        needed[name] = {other.name for other in files.values() if other is not file and named & other.defines}
    needed[_ACCESS] = set(files) - {_ACCESS}
    return tuple(files[name] for name in TopologicalSorter(needed).static_order())


def stale_functions(connection: Connection) -> list[str]:
    """Files that the database has not, or has otherwise than this code; and those that this code no longer has."""
    recorded = {each.file: each.hash for each in _recorded(connection)}
    ours = {file.name: file.hash for file in function_files()}
    return [name for name in {**ours, **recorded} if ours.get(name) != recorded.get(name)]


def apply_functions(connection: Connection) -> list[str]:
    """Applies the files that changed, in one transaction, and returns their names.

    Functions whose file or definition is gone are dropped. Served queues get clones of the new functions. To be called
    by one process at a time (the migration lock).

    Raises:
        UnavailableError: a newer version made the functions, or an object of a user depends on one that must go.
    """
    recorded = {each.file: each for each in _recorded(connection)}
    newest = max((_numbers(each.version) for each in recorded.values()), default=())
    if newest > _numbers(__version__):
        version = ".".join(map(str, newest))
        raise UnavailableError(
            f"the database is newer than this code: its functions are of version {version}; update nexus-pipeline"
        )
    if changed := stale_functions(connection):
        try:
            with connection.transaction():
                _apply_files(connection, changed, recorded)
        except psycopg.errors.DependentObjectsStillExist as error:
            depends = "; ".join((error.diag.message_detail or "").splitlines())
            raise UnavailableError(
                f"{first_line(error)} ({depends}): drop them, migrate, and create them again; nothing was changed"
            ) from None
    return changed


def _apply_files(connection: Connection, changed: list[str], recorded: dict[str, Recorded]) -> None:
    named = queries("functions")
    for file in function_files():
        if file.name == _ACCESS:
            list(named.clone_functions_of_queues(connection))  # a generator: sent when it is read
        if file.name in changed or file.name == _ACCESS:
            made = _apply(connection, file, recorded[file.name].functions if file.name in recorded else [])
            named.record_functions(connection, file=file.name, hash=file.hash, functions=made, version=__version__)
    for name in set(recorded) - {file.name for file in function_files()}:
        _drop(connection, recorded[name].functions)
        named.forget_functions(connection, file=name)


def grant_missing_access(connection: Connection) -> None:
    """Applies `access.sql` again if a role has been created since: an administrator may do that at any time."""
    if any(role["present"] and not role["granted"] for role in role_states(connection)):
        connection.execute(function_files()[-1].text)


def role_states(connection: Connection) -> list[dict[str, Any]]:
    """The roles of 0007.roles: `name`, whether it is `present`, and whether it is `granted` its privileges here."""
    return rows_as(dict, connection, queries("functions").roles)


def drop_functions(connection: Connection) -> None:
    """Drops all functions that were applied, with what depends on them: before migrations are rolled back."""
    named = queries("functions")
    if recorded := _recorded(connection):
        _drop(connection, [function for (function,) in named.functions_of_queues(connection)], "CASCADE")
    for each in recorded:
        _drop(connection, each.functions, "CASCADE")
        named.forget_functions(connection, file=each.file)


def _recorded(connection: Connection) -> list[Recorded]:
    try:
        return rows_as(Recorded, connection, queries("functions").recorded)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return []


def _apply(connection: Connection, file: FunctionFile, old: list[str]) -> list[str]:
    """Applies a file and returns its functions with their argument types; drops the `old` ones that it lacks now."""
    named, names = queries("functions"), sorted(file.defines)
    before = set(named.functions_named(connection, names=names))
    try:
        with connection.transaction():
            connection.execute(file.text)
    except psycopg.errors.InvalidFunctionDefinition:
        # CREATE OR REPLACE changes no result type.
        _drop(connection, old)
        connection.execute(file.text)
    # Not those of the same names that a user made: their rows have not changed.
    made = sorted(function for function, _ in set(named.functions_named(connection, names=names)) - before)
    _drop(connection, [function for function in old if function not in made])
    return made


def _drop(connection: Connection, functions: list[str], dependents: LiteralString = "RESTRICT") -> None:
    for function in functions:
        connection.execute(f"DROP FUNCTION IF EXISTS {function} {dependents}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
