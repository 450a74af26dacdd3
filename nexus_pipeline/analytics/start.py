"""Where the hours start: a fact about the database, fixed when it was first migrated."""

import logging
from datetime import UTC, datetime, timedelta
from functools import cache

import psycopg
from psycopg.conninfo import make_conninfo

from nexus_pipeline.database.connection import EMBEDDED_DATABASE, connect
from nexus_pipeline.database.statements import queries
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.settings import Settings

_log = logging.getLogger(__name__)
# Definitions are loaded in every process; a server that does not answer must not delay each of them for long.
_CONNECT_TIMEOUT_SECONDS = 3


def default_start(now: datetime) -> datetime:
    """The start that a database migrated `now` records: 366 days before the first day of the year, UTC."""
    return datetime(now.astimezone(UTC).year, 1, 1, tzinfo=UTC) - timedelta(days=366)


@cache
def partitions_start(settings: Settings) -> datetime:
    """The start of the first partition, in UTC: NEXUS_PARTITIONS_START, else what the database has recorded.

    Read once in a process, so that all its parts agree. Where no database answers or none was migrated yet, it is what
    a migration would record now. Starts no server.
    """
    if settings.partitions_start is not None:
        return settings.partitions_start
    return _recorded(settings) or default_start(datetime.now(UTC))


def _recorded(settings: Settings) -> datetime | None:
    """The recorded start; None where there is no database, or none that was migrated."""
    if settings.database_url is not None:
        conninfo = settings.database_url.get_secret_value()
    elif (running := embedded.find(settings.home)) is not None:
        conninfo = embedded.database_url(running, EMBEDDED_DATABASE)
    else:
        return None
    try:
        with connect(make_conninfo(conninfo, connect_timeout=_CONNECT_TIMEOUT_SECONDS)) as connection:
            return datetime.fromtimestamp(queries("start").partitions_start(connection), UTC)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    except (psycopg.Error, UnavailableError) as error:
        if settings.database_url is not None:
            # Only its class: the text can repeat a password.
            _log.warning("the database does not answer (%s): hours start at the default", type(error).__name__)
        return None
