"""Dagster's own storage: in a second database of the same server, with pooled connections and batched events.

It finds its URL itself, because `dagster.yaml`, which names it, cannot give a variable a default.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage, PostgresScheduleStorage

from nexus_pipeline.dagster_instance.contract import Feature, usable
from nexus_pipeline.dagster_instance.engine import Pooled, dagster_url, shared_engine
from nexus_pipeline.dagster_instance.events import NexusEventLogStorage
from nexus_pipeline.settings import load_settings


class NexusRunStorage(Pooled, PostgresRunStorage):
    """The stock runs on the shared pool."""


class NexusScheduleStorage(Pooled, PostgresScheduleStorage):
    """The stock schedules and sensors on the shared pool."""


class NexusStorage(DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL, over one small pool for all instances of this process."""

    def __init__(self, inst_data: Any = None) -> None:
        settings = load_settings()
        # Dagster reads it for each event, and stores the events of many partitions in such batches.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "200")
        with _initialization:
            url = dagster_url(settings)
            # Here, because a cached function that threads call at the same time may run twice.
            shared_engine(url)
            # Dagster's code server makes an instance each second: it looks for the tables once.
            super().__init__(url, should_autocreate_tables=url not in _with_tables, inst_data=inst_data)
            _with_tables.add(url)
        if usable(Feature.STORAGE):
            self._run_storage = NexusRunStorage(url, False)
            self._event_log_storage = NexusEventLogStorage(url, False)
            self._schedule_storage = NexusScheduleStorage(url, False)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Take no configuration: the environment says where the database is."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> NexusStorage:
        """Create the storage for an instance."""
        return cls(inst_data)


_initialization = threading.Lock()
_with_tables: set[str] = set()
