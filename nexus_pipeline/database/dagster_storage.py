"""Dagster's own storage: in a second database of the same server, with pooled connections and batched events.

`dagster.yaml` names this class. It resolves its URL when it is made, because a `dagster.yaml` can give no variable a
default: so every Dagster command works with nothing set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from psycopg.conninfo import conninfo_to_dict

from nexus_pipeline.database.connection import dagster_conninfo
from nexus_pipeline.settings import load_settings

# Dagster reads it at each event. Events that come in numbers (one a partition) are then one statement for 200.
_BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
# Connections of one process to Dagster's database: one kept open, the rest for the daemon's threads while they need it.
_KEPT_CONNECTIONS = 1
_MORE_CONNECTIONS = 4


def sqlalchemy_url(conninfo: str) -> str:
    """A libpq conninfo as the URL that Dagster's SQLAlchemy takes, with psycopg2 and with every option kept."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    user, password, database = (parts.pop(name, None) for name in ("user", "password", "dbname"))
    url = sqlalchemy.URL.create("postgresql+psycopg2", user, password, database=database, query=parts)
    return url.render_as_string(hide_password=False)


def _pooled_engine(url: str) -> sqlalchemy.Engine:
    """A small pool, whose connections are tried before use: a restart of the server goes unnoticed.

    Events are committed without waiting for the disk. After a crash of the server Dagster may have lost the events of
    the last moment (three times wal_writer_delay: 0.6 s); what became of a message is in our own tables, not there.
    """
    given = sqlalchemy.make_url(url).query.get("options", "")
    return sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
        pool_pre_ping=True,
        connect_args={"options": f"{given} -c synchronous_commit=off".strip()},
    )


class NexusStorage(DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL.

    Stock storages open two connections for each event. All three share one small pool here.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        url = sqlalchemy_url(dagster_conninfo(load_settings()))
        super().__init__(url, inst_data=inst_data)
        os.environ.setdefault(_BATCH_VARIABLE, "200")
        engine = _pooled_engine(url)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

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
