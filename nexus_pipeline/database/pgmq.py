"""Real pgmq in the database: the extension where the server has it, else the SQL that the package `pgmq` bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as


@dataclass(frozen=True)
class Pgmq:
    """The pgmq of a database: its version and how it came there (`extension` or `sql`)."""

    version: str
    method: str


def pgmq_presence(connection: Connection) -> dict[str, Any]:
    """How pgmq is in a database: version of the `extension`, whether `installed` at all, and the version `on_offer`."""
    return rows_as(dict, connection, queries("pgmq").pgmq_presence)[0]


def recorded_pgmq(connection: Connection) -> Pgmq | None:
    """The pgmq that was installed last, as recorded."""
    return next(iter(rows_as(Pgmq, connection, queries("pgmq").recorded_pgmq)), None)


def ensure_pgmq(connection: Connection) -> Pgmq:
    """Installs pgmq where it is missing, brings it up to date where we installed it, and records the version.

    To be called by one process at a time (the migration lock) and in a transaction.
    """
    found = pgmq_presence(connection)
    on_offer = found["on_offer"]
    if found["extension"] is not None:
        return _keep_extension(connection, found["extension"], on_offer)
    if not found["installed"] and on_offer is not None:
        try:
            with connection.transaction():
                connection.execute("CREATE EXTENSION pgmq")
        except psycopg.errors.InsufficientPrivilege:
            pass  # the server has it, the role may not install it: the SQL needs no more than ownership
        else:
            return _record(connection, Pgmq(on_offer, "extension"))
    return _install_sql(connection, found["installed"])


def _keep_extension(connection: Connection, version: str, on_offer: str | None) -> Pgmq:
    if on_offer is not None and on_offer != version:
        try:
            with connection.transaction():
                connection.execute("ALTER EXTENSION pgmq UPDATE")
            version = on_offer
        except psycopg.errors.InsufficientPrivilege:
            pass  # its owner updates it; every version that has the functions we call will do
    return _record(connection, Pgmq(version, "extension"))


def _install_sql(connection: Connection, installed: bool) -> Pgmq:
    from pgmq.install import get_embedded_install_sql, get_embedded_sql_version

    bundled = Pgmq(get_embedded_sql_version(), "sql")
    if installed:
        recorded = recorded_pgmq(connection)
        if recorded in (None, bundled):
            # Ours and current, or somebody else's: then it is theirs to update.
            return _record(connection, bundled) if recorded is None else bundled
        # The bundled script makes functions and types anew and keeps tables that are there: so do we.
        for (drop,) in list(queries("pgmq").pgmq_objects(connection)):
            connection.execute(drop)
    connection.execute(get_embedded_install_sql())
    # The script lets the monitoring role read all queues, those with payloads too.
    connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA pgmq FROM pg_monitor")
    return _record(connection, bundled)


def _record(connection: Connection, pgmq: Pgmq) -> Pgmq:
    if recorded_pgmq(connection) != pgmq:
        queries("pgmq").record_pgmq(connection, version=pgmq.version, method=pgmq.method)
    return pgmq
