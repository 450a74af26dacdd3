"""Real pgmq in the database: the extension where the server has it, else the SQL that the package `pgmq` bundles."""

from contextlib import suppress
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
    version, on_offer = found["extension"], found["on_offer"]
    if on_offer not in (None, version) and (version or not found["installed"]):
        # Without the privilege an older extension stays, whose owner updates it (every version that has the functions
        # we call will do), and a missing one comes as SQL, which needs no more than ownership.
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("ALTER EXTENSION pgmq UPDATE" if version else "CREATE EXTENSION pgmq")
            version = on_offer
    return _record(connection, Pgmq(version, "extension") if version else _install_sql(connection, found["installed"]))


def _install_sql(connection: Connection, installed: bool) -> Pgmq:
    from pgmq.install import get_embedded_install_sql, get_embedded_sql_version

    bundled = Pgmq(get_embedded_sql_version(), "sql")
    if installed:
        if recorded_pgmq(connection) in (None, bundled):
            return bundled  # ours and current, or somebody else's: then it is theirs to update
        # The bundled script rebuilds functions and types and keeps tables that are there: so do we.
        for (drop,) in list(queries("pgmq").pgmq_objects(connection)):
            connection.execute(drop)
    connection.execute(get_embedded_install_sql())
    # The script lets the monitoring role read all queues, those with payloads too.
    connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA pgmq FROM pg_monitor")
    return bundled


def _record(connection: Connection, pgmq: Pgmq) -> Pgmq:
    if recorded_pgmq(connection) != pgmq:
        queries("pgmq").record_pgmq(connection, version=pgmq.version, method=pgmq.method)
    return pgmq
