"""The schema: numbered migrations and function files, applied by one process at a time, checked in ms by others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from nexus_pipeline.database.connection import Connection, connect, first_line, place
from nexus_pipeline.database.functions import apply_functions, drop_functions, grant_missing_access, stale_functions
from nexus_pipeline.database.pgmq import ensure_pgmq
from nexus_pipeline.database.statements import queries, sql_folder
from nexus_pipeline.errors import NotFoundError, UnavailableError

OLDEST_SERVER = 150000
# One number for all who migrate this database: "nexus" in ASCII.
_LOCK = 0x6E65787573


@dataclass(frozen=True)
class SchemaState:
    """Migrations by name, in their order: applied, still to apply, unknown to this code; and stale function files."""

    applied: list[str]
    pending: list[str]
    unknown: list[str]
    stale_functions: list[str]


@dataclass(frozen=True)
class Applied:
    """What a migration did: the names of the migrations and of the function files that were applied now."""

    migrations: list[str]
    functions: list[str]


def migration_names() -> list[str]:
    """The migrations of this code, in the order of their numbers."""
    files = (sql_folder() / "migrations").glob("*.sql")
    return sorted(file.stem for file in files if not file.stem.endswith(".rollback"))


def schema_state(connection: Connection) -> SchemaState:
    """Which migrations the database has."""
    known = migration_names()
    try:
        applied = [name for (name,) in queries("migrations").applied_migrations(connection)]
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        applied = []
    return SchemaState(
        applied=applied,
        pending=[name for name in known if name not in applied],
        unknown=[name for name in applied if name not in known],
        stale_functions=stale_functions(connection),
    )


def migrate(conninfo: str) -> Applied:
    """Brings the schema up to date: migrations first, then the function files that changed.

    Raises:
        UnavailableError: the server is too old, the database newer than the code, or the role may not do it.
    """
    with connect(conninfo) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise UnavailableError(
                f"PostgreSQL 15 or newer is needed; {place(conninfo)} runs {connection.info.server_version // 10000}"
            )
        if _up_to_date(schema_state(connection)):
            return Applied([], [])
        with _lock(connection):
            state = schema_state(connection)
            if _up_to_date(state):
                return Applied([], [])
            try:
                if state.pending:
                    _apply(connection, conninfo)
                return Applied(state.pending, apply_functions(connection))
            except psycopg.errors.InsufficientPrivilege as error:
                raise UnavailableError(
                    f"the role {connection.info.user} may not set up {place(conninfo)} ({first_line(error)}): "
                    f"GRANT CREATE ON DATABASE {connection.info.dbname} TO {connection.info.user}; "
                    f"GRANT CREATE ON SCHEMA public TO {connection.info.user}"
                ) from None


def update_pgmq(conninfo: str) -> str:
    """Brings pgmq up to date, grants privileges to roles created since, and returns the version of pgmq."""
    with connect(conninfo) as connection, _lock(connection), connection.transaction():
        version = ensure_pgmq(connection).version
        grant_missing_access(connection)
        return version


def rollback(conninfo: str, down_to: str) -> list[str]:
    """Rolls back all migrations after `down_to` (a name, or `nothing`) with their data; returns them, newest first.

    Raises:
        NotFoundError: no migration has that name.
    """
    known = migration_names()
    if down_to != "nothing" and down_to not in known:
        raise NotFoundError(f"no migration is named {down_to}; there are: {', '.join(known)}")
    with connect(conninfo) as connection, _lock(connection):
        applied = schema_state(connection).applied
        back = [name for name in applied if down_to == "nothing" or name > down_to]
        # Functions name tables that go; what is left is applied again by the next command.
        with connection.transaction():
            drop_functions(connection)
        with _yoyo(conninfo) as (backend, migrations):
            chosen = backend.to_rollback(migrations.filter(lambda migration: migration.id in back))
            backend.rollback_migrations(chosen)
        return back[::-1]


def _up_to_date(state: SchemaState) -> bool:
    if state.unknown:
        raise UnavailableError(
            f"the database is newer than this code: it has migration {state.unknown[-1]}; update nexus-pipeline"
        )
    return not state.pending and not state.stale_functions


def _apply(connection: Connection, conninfo: str) -> None:
    with connection.transaction():
        queries("migrations").create_bookkeeping(connection)
        ensure_pgmq(connection)
    with _yoyo(conninfo) as (backend, migrations):
        backend.apply_migrations(backend.to_apply(migrations))


@contextmanager
def _lock(connection: Connection) -> Iterator[None]:
    connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


@contextmanager
def _yoyo(conninfo: str) -> Iterator[tuple[Any, Any]]:
    """yoyo's backend and our migrations; its own tables lie in the schema nexus."""
    import yoyo

    parts = conninfo_to_dict(conninfo)
    database = str(parts.pop("dbname", "") or "")
    options = urlencode({**parts, "schema": "nexus"})
    backend = yoyo.get_backend(f"postgresql+psycopg:///{quote(database)}?{options}")
    try:
        yield backend, yoyo.read_migrations(str(sql_folder() / "migrations"))
    finally:
        backend.connection.close()
