"""Real pgmq in the database: the extension where the server has it, else the SQL that the package `pgmq` bundles."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.errors import UnavailableError

_UPDATE = {
    "extension": "as an administrator: ALTER EXTENSION pgmq UPDATE, with a newer package of pgmq on the server",
    "foreign": "have whoever installed it update it",
    "sql": "update the package pgmq",
}
# Queue tables have the column last_read_at since then.
OLDEST_PGMQ = (1, 10)


@dataclass(frozen=True)
class Pgmq:
    """The pgmq of a database: its version, and how it came there.

    `extension`, `sql` (installed by us), or `foreign`: somebody else's SQL, of unknown version, which is left to them.
    """

    version: str
    method: Literal["extension", "sql", "foreign"]


def pgmq_presence(connection: Connection) -> dict[str, Any]:
    """How pgmq is in a database: version of the `extension`, whether `installed` at all, and the version `on_offer`."""
    return rows_as(dict, connection, queries("pgmq").pgmq_presence)[0]


def recorded_pgmq(connection: Connection) -> Pgmq | None:
    """The pgmq that was installed last, as recorded."""
    return next(iter(rows_as(Pgmq, connection, queries("pgmq").recorded_pgmq)), None)


def ensure_pgmq(connection: Connection) -> Pgmq:
    """Installs pgmq where it is missing, brings it up to date where we installed it, and records the version.

    To be called by one process at a time (the migration lock) and in a transaction.

    Raises:
        UnavailableError: the pgmq that is there is too old, or an object of a user depends on what an update replaces.
    """
    found = pgmq_presence(connection)
    version, on_offer = found["extension"], found["on_offer"]
    if on_offer not in (None, version) and (version or (not found["installed"] and numbers(on_offer) >= OLDEST_PGMQ)):
        # Without the privilege an older extension stays, whose owner updates it, and a missing one comes as SQL, which
        # needs no more than ownership.
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("ALTER EXTENSION pgmq UPDATE" if version else "CREATE EXTENSION pgmq")
            version = on_offer
    pgmq = Pgmq(version, "extension") if version else _ensure_sql(connection, found["installed"])
    if is_old(connection):
        raise UnavailableError(
            f"pgmq {pgmq.version} is too old, 1.10 or newer is needed: {_UPDATE[pgmq.method]}; nothing was changed"
        )
    if pgmq.method != "foreign" and recorded_pgmq(connection) != pgmq:
        queries("pgmq").record_pgmq(connection, version=pgmq.version, method=pgmq.method)
    return pgmq


def is_old(connection: Connection) -> bool:
    """Whether the pgmq that is installed lacks what we use."""
    return bool(queries("pgmq").is_old(connection))


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, to compare."""
    return tuple(map(int, re.findall(r"\d+", version)))


def _ensure_sql(connection: Connection, installed: bool) -> Pgmq:
    from pgmq.install import get_embedded_install_sql, get_embedded_sql_version

    bundled = Pgmq(get_embedded_sql_version(), "sql")
    recorded = recorded_pgmq(connection)
    if not installed:
        connection.execute(get_embedded_install_sql())
        # The script lets the monitoring role read all queues, those with payloads too.
        connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA pgmq FROM pg_monitor")
        return bundled
    if recorded is None or recorded.method != "sql":
        return Pgmq("of unknown version", "foreign")
    if numbers(recorded.version) >= numbers(bundled.version):
        return recorded
    _update_sql(connection, get_embedded_install_sql())
    return bundled


def _update_sql(connection: Connection, script: str) -> None:
    """Replaces functions and types; tables stay. Triggers that notify, and privileges, are made again as they were."""
    named = queries("pgmq")
    restore = list(named.to_restore(connection))
    try:
        for (drop,) in list(named.to_drop(connection)):
            connection.execute(drop)
    except psycopg.errors.DependentObjectsStillExist as error:
        depends = "; ".join((error.diag.message_detail or "").splitlines())
        raise UnavailableError(
            f"pgmq cannot be updated, because objects depend on what an update replaces ({depends}):"
            " drop them, migrate, and create them again; nothing was changed"
        ) from None
    connection.execute(script)
    connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA pgmq FROM pg_monitor")
    for (alter,) in list(named.missing_columns(connection)):
        connection.execute(alter)
    for needed, statement in restore:
        if connection.execute("SELECT to_regprocedure(%s)", (needed,)).fetchone() != (None,):
            connection.execute(statement)
