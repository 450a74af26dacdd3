"""A database that can be worked with: running, reachable, its schema up to date."""

from functools import cache

from nexus_pipeline.database.connection import Pool, open_pool, server_conninfo
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.settings import Settings


def ready_database(settings: Settings) -> str:
    """The conninfo of the database, started where it is ours, and migrated."""
    conninfo = server_conninfo(settings)
    migrate(conninfo)
    return conninfo


@cache
def shared_pool(settings: Settings) -> Pool:
    """The one pool of this process: at most `NEXUS_POOL_SIZE` connections, however many parts ask for it."""
    return open_pool(ready_database(settings), settings.pool_size)
