"""Dagster's own storage: in a second database of the same server, with pooled connections and batched events.

`dagster.yaml` names this class. It resolves its URL when it is made, because a `dagster.yaml` can give no variable a
default: so every Dagster command works with nothing set.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg2
import sqlalchemy
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from psycopg.conninfo import conninfo_to_dict

from nexus_pipeline.dagster_instance.events import NexusEventLogStorage
from nexus_pipeline.database.connection import connect, dagster_conninfo
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.settings import Settings, load_settings

# Dagster reads it at each event. Events that come in numbers (one a partition) are then one statement for 200.
_BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
# Connections of one process to Dagster's database: one kept open, the rest for the daemon's threads while they need it.
_KEPT_CONNECTIONS = 1
_MORE_CONNECTIONS = 4
_CONNECT_TIMEOUT_SECONDS = 10
# How long a process that worked with the server waits for it to come back. Dagster asks six times: so a run that the
# server leaves waits for about a minute before it fails.
_PATIENCE_SECONDS = 10.0
# How long a run's process waits at its start; the daemon waits for that start for 60 s.
_PATIENCE_AT_START_SECONDS = 40.0
# This thread of Dagster's code server reports the runs whose process died, and ends for ever at its first error: runs
# that die later would seem to be at work until their time is over. So it waits until the server is back.
_WAITS_WITHOUT_END = "grpc-server-cleanup"
_RETRY_SECONDS = 0.5


def sqlalchemy_url(conninfo: str) -> str:
    """A libpq conninfo as the URL that Dagster's SQLAlchemy takes, with psycopg2 and with every option kept."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    user, password, database = (parts.pop(name, None) for name in ("user", "password", "dbname"))
    parts.setdefault("connect_timeout", str(_CONNECT_TIMEOUT_SECONDS))
    url = sqlalchemy.URL.create("postgresql+psycopg2", user, password, database=database, query=parts)
    return url.render_as_string(hide_password=False)


def _pooled_engine(url: str) -> sqlalchemy.Engine:
    """A small pool, whose connections are tried before use: a restart of the server goes unnoticed.

    Events are committed without waiting for the disk. After a crash of the server Dagster may have lost the events of
    the last moment (three times wal_writer_delay: 0.6 s); what became of a message is in our own tables, not there.
    """
    given = sqlalchemy.make_url(url).query.get("options", "")
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
        pool_pre_ping=True,
        connect_args={"options": f"{given} -c synchronous_commit=off".strip()},
    )
    sqlalchemy.event.listen(engine, "do_connect", _connect_patiently)
    return engine


class NexusStorage(DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL.

    Stock storages open two connections for each event. All three, of every instance that this process makes, share one
    small pool here.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        settings = load_settings()
        with _first_one_alone:
            url, engine = _pool(settings)
            # Dagster's code server makes an instance a second: the tables are looked for once.
            super().__init__(url, should_autocreate_tables=url not in _with_tables, inst_data=inst_data)
            _with_tables.add(url)
        self._event_log_storage = NexusEventLogStorage(url, should_autocreate_tables=False)
        os.environ.setdefault(_BATCH_VARIABLE, "200")
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine
            # The stock method gives each storage a pool of up to 21 connections.
            vars(storage)["optimize_for_webserver"] = _already_pooled

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration: the environment says where the database is."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> NexusStorage:
        """What Dagster calls to make it."""
        return cls(inst_data)


_first_one_alone = threading.Lock()
_with_tables: set[str] = set()


@cache
def _pool(settings: Settings) -> tuple[str, sqlalchemy.Engine]:
    """Where Dagster's storage is, and the one pool of this process to it.

    Raises:
        UnavailableError: it does not answer, or is missing and may not be created; a process that Dagster spawned to
            execute a run waits for it before.
    """
    spawned = multiprocessing.parent_process() is not None
    deadline = time.monotonic() + (_PATIENCE_AT_START_SECONDS if spawned else 0)
    while True:
        try:
            conninfo = dagster_conninfo(settings)
            connect(conninfo).close()
            break
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
    url = sqlalchemy_url(conninfo)
    return url, _pooled_engine(url)


def _connect_patiently(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    """A new connection; for a server that is away for a moment, once it is back."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except psycopg2.OperationalError:
            if time.monotonic() > deadline and threading.current_thread().name != _WAITS_WITHOUT_END:
                raise
            time.sleep(_RETRY_SECONDS)


def _already_pooled(statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
    """In place of what Dagster's web server asks for."""
