"""Dagster's own storage: in a second database of the same server, with pooled connections and batched events.

It finds its URL itself, because `dagster.yaml`, which names it, cannot give a variable a default.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage, PostgresScheduleStorage

from nexus_pipeline.dagster_instance.contract import Feature, usable
from nexus_pipeline.dagster_instance.engine import Pooled, dagster_url, shared_engine
from nexus_pipeline.dagster_instance.events import NexusEventLogStorage
from nexus_pipeline.settings import load_settings

if TYPE_CHECKING:
    from dagster._core.storage.event_log.base import EventLogStorage
    from dagster._core.storage.runs.base import RunStorage
    from dagster._core.storage.schedules.base import ScheduleStorage


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
        pooled = usable(Feature.STORAGE)
        self._runs = NexusRunStorage(url, False) if pooled else super().run_storage
        self._events = NexusEventLogStorage(url, False) if pooled else super().event_log_storage
        self._schedules = NexusScheduleStorage(url, False) if pooled else super().schedule_storage

    @property
    def run_storage(self) -> RunStorage:
        """Runs."""
        return self._runs

    @property
    def event_log_storage(self) -> EventLogStorage:
        """Events."""
        return self._events

    @property
    def schedule_storage(self) -> ScheduleStorage:
        """Schedules and sensors."""
        return self._schedules

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
