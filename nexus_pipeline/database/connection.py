"""How to reach PostgreSQL: the embedded server, or the one that NEXUS_DATABASE_URL names."""

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from nexus_pipeline.database.session import STARTUP, configure
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import FailedError, NexusError, UnavailableError, UserError
from nexus_pipeline.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]
Pool = ConnectionPool[Connection]

EMBEDDED_DATABASE = "nexus"
EMBEDDED_DAGSTER_DATABASE = "nexus_dagster"
_CONNECT_TIMEOUT_SECONDS = 10


def server_conninfo(settings: Settings) -> str:
    """The libpq conninfo of the database to work in; the embedded server is started, or found, where none is named."""
    if settings.database_url is not None:
        return _named_conninfo("NEXUS_DATABASE_URL", settings.database_url)
    return _embedded_conninfo(settings, EMBEDDED_DATABASE)


def dagster_conninfo(settings: Settings) -> str:
    """The libpq conninfo of Dagster's own storage: named, or a second database on the same server, made when absent."""
    if settings.dagster_database_url is not None:
        return _named_conninfo("NEXUS_DAGSTER_DATABASE_URL", settings.dagster_database_url)
    if settings.database_url is None:
        return _embedded_conninfo(settings, EMBEDDED_DAGSTER_DATABASE)
    conninfo = server_conninfo(settings)
    with connect(conninfo) as connection:
        name = dagster_database(connection)
        try:
            _create_database(connection, name)
        except psycopg.errors.InsufficientPrivilege:
            user = connection.info.user
            raise UnavailableError(
                f"Dagster's database {name} is missing and the role {user} may not create it: "
                f"run CREATE DATABASE {quoted(name)} OWNER {quoted(user)}, or set NEXUS_DAGSTER_DATABASE_URL"
            ) from None
    return make_conninfo(conninfo, dbname=name)


def dagster_database(connection: Connection) -> str:
    """The name of Dagster's database beside the one that NEXUS_DATABASE_URL names."""
    # PostgreSQL cuts names at 63 bytes.
    return f"{connection.info.dbname.encode()[:55].decode(errors='ignore')}_dagster"


def connect(conninfo: str) -> Connection:
    """An autocommitting connection, configured.

    Raises:
        UnavailableError: nothing answers there, or it refuses us.
    """
    try:
        connection = psycopg.connect(conninfo, autocommit=True, **STARTUP)
        try:
            configure(connection)
        except BaseException:
            connection.close()
            raise
    except psycopg.OperationalError as error:
        raise UnavailableError(f"no connection to PostgreSQL at {place(conninfo)}: {first_line(error)}") from None
    return connection


def open_pool(conninfo: str, size: int) -> Pool:
    """A pool of at most `size` autocommitting connections, configured, each checked before it is lent."""
    return ConnectionPool(
        conninfo,
        min_size=1,
        max_size=size,
        kwargs={"autocommit": True, **STARTUP},
        configure=configure,
        check=ConnectionPool.check_connection,
        timeout=_CONNECT_TIMEOUT_SECONDS,
        open=True,
    )


def quoted(identifier: str) -> str:
    """An identifier as it can be pasted into SQL, whatever it contains."""
    return sql.Identifier(identifier).as_string()


def place(conninfo: str) -> str:
    """Where a conninfo points, without its secrets: `host:port/database`."""
    parts = conninfo_to_dict(conninfo)
    return f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text; the name of its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the session is gone. Deadlocks, timeouts and a full disk are `OperationalError` as well."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(("08", "57P01", "57P02", "57P03"))


def as_nexus_error(error: psycopg.Error) -> NexusError | None:
    """The error of the product for an error of PostgreSQL, in the server's own words.

    None for a defect of ours, which keeps its traceback: a wrong statement (class 42) or wrong use of the driver.
    """
    said, state = first_line(error), error.sqlstate
    if is_connection_lost(error):
        return UnavailableError(f"the connection to PostgreSQL was lost: {said}")
    if isinstance(error, psycopg.OperationalError | psycopg.errors.InsufficientPrivilege):
        return UnavailableError(f"PostgreSQL refused: {said}")
    if state is None or state.startswith("42"):
        return None
    return FailedError(f"PostgreSQL refused: {said}")


def _named_conninfo(variable: str, url: SecretStr) -> str:
    try:
        parts = conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        raise UserError(f"{variable}: is no libpq URL, as in postgresql://user@host:5432/database") from None
    return make_conninfo("", **{"connect_timeout": _CONNECT_TIMEOUT_SECONDS, **parts})


def _embedded_conninfo(settings: Settings, database: str) -> str:
    info = embedded.start(settings.home)
    url = embedded.database_url(info, database)
    try:
        connect(make_conninfo(url, connect_timeout=_CONNECT_TIMEOUT_SECONDS)).close()
    except UnavailableError:
        # Not made yet (the server answers: it was just found or started).
        with connect(info.url) as connection:
            _create_database(connection, database)
    return url


def _create_database(connection: Connection, name: str) -> None:
    """Makes a database that is missing; two that do so at once both succeed."""
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None:
        return
    statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
    with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        connection.execute(statement)
