"""Connections to Dagster's database: where it is, and the one small pool of this process."""

import multiprocessing
import threading
import time
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import psycopg2
import sqlalchemy
from dagster_postgres.utils import create_pg_connection
from psycopg.conninfo import conninfo_to_dict

from nexus_pipeline.database.connection import connect, dagster_conninfo
from nexus_pipeline.database.session import configure_dagster
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.settings import Settings

# One connection is kept open; the others serve the threads of daemon and web server, and close after use.
_KEPT_CONNECTIONS = 1
_EXTRA_CONNECTIONS = 4
_CONNECT_TIMEOUT_SECONDS = 10
# How long a process waits for a server that it has lost. Dagster tries six times: a run fails after about a minute.
_RECONNECT_SECONDS = 10.0
# How long the process of a run waits at its start; the daemon waits for that start for 60 s.
_START_SECONDS = 40.0
# This thread of Dagster's code server reports runs whose process died. It ends at its first error, and runs that die
# later would look alive until they time out. So it waits for the server without limit.
_THREAD_WITHOUT_LIMIT = "grpc-server-cleanup"
_RETRY_SECONDS = 0.5


def sqlalchemy_url(conninfo: str) -> str:
    """Return a libpq conninfo as the URL that Dagster's SQLAlchemy takes, with psycopg2 and with every option kept."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    parts.setdefault("connect_timeout", str(_CONNECT_TIMEOUT_SECONDS))
    # All of it in the query: there, unlike in the path, SQLAlchemy escapes whatever a name may contain.
    url = sqlalchemy.URL.create("postgresql+psycopg2", query={**parts, "client_encoding": "utf8"})
    return url.render_as_string(hide_password=False)


@cache
def dagster_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL of Dagster's database, which answers and exists.

    A process that Dagster spawned to execute a run waits for the server; any other fails at once.

    Raises:
        UnavailableError: it does not answer, or is missing and may not be created.
    """
    spawned = multiprocessing.parent_process() is not None
    deadline = time.monotonic() + (_START_SECONDS if spawned else 0)
    while True:
        try:
            conninfo = dagster_conninfo(settings)
            connect(conninfo).close()
            return sqlalchemy_url(conninfo)
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


@cache
def shared_engine(url: str) -> sqlalchemy.Engine:
    """Return the one pool of this process. It tests connections before use: a restart of the server goes unnoticed."""
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT_CONNECTIONS,
        max_overflow=_EXTRA_CONNECTIONS,
        pool_pre_ping=True,
    )
    sqlalchemy.event.listen(engine, "do_connect", _connect_patiently)
    return engine


class Pooled:
    """Makes a stock storage take its connections from the shared pool: list it first among the base classes.

    Stock storages open two connections for each event, and in the web server a pool of up to 21 connections each.
    """

    postgres_url: str

    def connect(self, run_id: str | None = None) -> AbstractContextManager[sqlalchemy.Connection]:
        """Borrow a connection; Dagster retries while the server does not answer."""
        return create_pg_connection(shared_engine(self.postgres_url))

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Keep the shared pool, in the web server too."""


def _connect_patiently(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    """Open a connection and configure it; when the server is away for a moment, wait for it."""
    deadline = time.monotonic() + _RECONNECT_SECONDS
    while True:
        try:
            connection = dialect.connect(*arguments, **options)
            configure_dagster(connection)
            return connection
        except psycopg2.OperationalError:
            if time.monotonic() > deadline and threading.current_thread().name != _THREAD_WITHOUT_LIMIT:
                raise
            time.sleep(_RETRY_SECONDS)
