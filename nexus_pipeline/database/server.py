"""What a server must be to work with, and what to do where it is not: asked before anything is made, and by doctor."""

from collections.abc import Iterator
from dataclasses import dataclass

from nexus_pipeline.database.connection import Connection, place, quoted
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.errors import UnavailableError

OLDEST_SERVER = 150000


@dataclass(frozen=True)
class Server:
    """The server, role and database of a connection."""

    version: str
    version_number: int
    database: str
    role: str
    encoding: str
    in_recovery: bool
    read_only: bool
    read_only_source: str | None
    """Where `default_transaction_read_only` comes from, as in pg_settings; None where it is off."""


@dataclass(frozen=True)
class ServerFault:
    """Something that the product cannot set right: the name of the check, what is wrong, and the remedy."""

    check: str
    detail: str
    remedy: str


def server_of(connection: Connection) -> Server:
    """The server, role and database of a connection."""
    return rows_as(Server, connection, queries("server").server)[0]


def server_faults(server: Server) -> Iterator[ServerFault]:
    """Why this database cannot be worked with: too old, read-only, or unable to hold all texts."""
    if server.version_number < OLDEST_SERVER:
        yield ServerFault("version", f"PostgreSQL {server.version} is too old", "use PostgreSQL 15 or newer")
    if server.in_recovery:
        yield ServerFault("writes", "the server is a standby, which is read-only", "use the primary server")
    elif server.read_only:
        detail = "transactions are read-only by default"
        yield ServerFault(
            "writes", detail, reset_statement("default_transaction_read_only", server.read_only_source, server)
        )
    if server.encoding != "UTF8":
        detail = f"the encoding of {server.database} is {server.encoding}, which cannot hold every text"
        remedy = "CREATE DATABASE nexus ENCODING 'UTF8' TEMPLATE template0; and name it in the URL"
        yield ServerFault("encoding", detail, remedy)


def refuse_unusable(connection: Connection) -> None:
    """Raises UnavailableError where the database cannot be worked with; it names every reason and its remedy."""
    found = [f"{fault.detail} (remedy: {fault.remedy})" for fault in server_faults(server_of(connection))]
    if found:
        raise UnavailableError(f"{place(connection.info.dsn)} cannot be used: {'; '.join(found)}")


def reset_statement(setting: str, source: str | None, server: Server) -> str:
    """How to take back a setting that comes from `source`, as pg_settings names it."""
    database, role = quoted(server.database), quoted(server.role)
    match source:
        case "database":
            return f"ALTER DATABASE {database} RESET {setting}"
        case "user":
            return f"ALTER ROLE {role} RESET {setting}"
        case "database user":
            return f"ALTER ROLE {role} IN DATABASE {database} RESET {setting}"
        case "global":
            return f"ALTER ROLE ALL RESET {setting}"
        case "configuration file":
            return f"ALTER SYSTEM RESET {setting}; SELECT pg_reload_conf()"
        case _:
            return f"take {setting} out of the URL, the service file and PGOPTIONS"
