"""What every session is set to, whatever server, database, role and environment say."""

from typing import Any

import psycopg

from nexus_pipeline.database.statements import queries

# What a session must have from its start on; the rest is set by `configure`.
STARTUP: dict[str, Any] = {"application_name": "nexus", "client_encoding": "UTF8"}
_SEARCH_PATH = "public, pg_temp"  # without "$user": a schema with the name of a role is not ours


def configure(connection: psycopg.Connection[Any]) -> None:
    """Sets what we rely on (`session.sql`).

    Behind a pooler, statements are not prepared: the next one may reach another session, which does not know them.
    """
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    process = queries("session").configure(connection, search_path=_SEARCH_PATH)
    if process != connection.info.backend_pid:
        connection.prepare_threshold = None


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler is in between, as `configure` found out."""
    return connection.prepare_threshold is None


def configure_dagster(connection: Any) -> None:
    """The same for a connection of psycopg2 to Dagster's storage, whose own search path stays.

    Events are committed without waiting for the disk. After a crash of the server Dagster may have lost the events of
    the last moment (three times wal_writer_delay: 0.6 s); the state of every message is in our own tables, not there.
    Not behind a pooler, where the setting could reach a session that settles messages.
    """
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(queries("session").configure.sql, {"search_path": None})
        if cursor.fetchone() == (connection.info.backend_pid,):
            cursor.execute("SET synchronous_commit = off")
