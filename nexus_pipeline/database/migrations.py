"""The schema: numbered migrations and function files, applied by one process at a time, checked in ms by others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from nexus_pipeline.database.connection import Connection, connect, first_line, place, quoted
from nexus_pipeline.database.functions import apply_functions, drop_functions, grant_missing_access, stale_functions
from nexus_pipeline.database.pgmq import ensure_pgmq
from nexus_pipeline.database.server import refuse_unusable
from nexus_pipeline.database.statements import queries, sql_folder
from nexus_pipeline.errors import NotFoundError, UnavailableError

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
        refuse_unusable(connection)
        state = schema_state(connection)
        if _up_to_date(state):
            return Applied([], [])
        try:
            with _one_at_a_time(connection):
                if state.pending:
                    queries("migrations").create_bookkeeping(connection)
                state = schema_state(connection)
                if _up_to_date(state):
                    return Applied([], [])
                _apply(connection, state.pending)
                return Applied(state.pending, apply_functions(connection))
        except psycopg.errors.InsufficientPrivilege as error:
            role = quoted(connection.info.user)
            raise UnavailableError(
                f"the role {connection.info.user} may not set up {place(conninfo)} ({first_line(error)}): "
                f"GRANT CREATE ON DATABASE {quoted(connection.info.dbname)} TO {role}; "
                f"GRANT CREATE ON SCHEMA public TO {role}"
            ) from None


def update_pgmq(conninfo: str) -> str:
    """Brings pgmq up to date, grants privileges to roles created since, and returns the version of pgmq.

    Raises:
        UnavailableError: it cannot be brought up to date; nothing was changed.
    """
    with connect(conninfo) as connection, _one_at_a_time(connection):
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
    with connect(conninfo) as connection:
        if not schema_state(connection).applied:
            return []
        with _one_at_a_time(connection):
            return _roll_back(connection, down_to)


def _roll_back(connection: Connection, down_to: str) -> list[str]:
    applied = schema_state(connection).applied
    back = [name for name in reversed(applied) if down_to == "nothing" or name > down_to]
    # Functions name tables that go; what is left is applied again by the next command.
    drop_functions(connection)
    for name in back:
        connection.execute(_text(f"{name}.rollback"))
        queries("migrations").forget_migration(connection, name=name)
    return back


def _up_to_date(state: SchemaState) -> bool:
    if state.unknown:
        raise UnavailableError(
            f"the database is newer than this code: it has migration {state.unknown[-1]}; update nexus-pipeline"
        )
    return not state.pending and not state.stale_functions


def _apply(connection: Connection, names: list[str]) -> None:
    if names:
        ensure_pgmq(connection)
    for name in names:
        connection.execute(_text(name))
        queries("migrations").record_migration(connection, name=name)


def _text(name: str) -> str:
    return (sql_folder() / "migrations" / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def _one_at_a_time(connection: Connection) -> Iterator[None]:
    """A transaction that no other process which migrates this database is in: it takes effect as a whole or not at all.

    The lock ends with the transaction, so that it cannot be left behind in a pooler's session.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield
