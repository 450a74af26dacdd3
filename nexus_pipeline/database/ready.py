"""A database that can be worked with: running, reachable, its schema up to date."""

from __future__ import annotations

from nexus_pipeline.database.connection import server_conninfo
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.settings import Settings


def ready_database(settings: Settings) -> str:
    """The conninfo of the database, started where it is ours, and migrated.

    Raises:
        DatabaseError: with one line that says what to do.
    """
    conninfo = server_conninfo(settings)
    migrate(conninfo)
    return conninfo
