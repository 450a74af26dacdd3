"""Dagster's event log, for runs of thousands of partitions."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import dagster as dg
import sqlalchemy
from dagster_postgres import PostgresEventLogStorage

from nexus_pipeline.dagster_instance.engine import Pooled

_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED


class NexusEventLogStorage(Pooled, PostgresEventLogStorage):
    """The stock event log on the shared pool, and cheaper for a run of many partitions (a year of hours is 8,760).

    - Planned materializations arrive in batches, but the stock storage writes them one by one: an insert, an update of
      the asset and a commit for each. Here a batch is one insert, and each asset is updated once.
    - The stock storage records an asset check without partitions as planned once for each partition of the run, and
      its result then matches none of these rows. Here it is recorded once.
    """

    def _connect(self) -> AbstractContextManager[sqlalchemy.Connection]:
        return self.connect()

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store a batch that Dagster collected."""
        planned = [event for event in events if event.dagster_event_type == _PLANNED]
        others = [event for event in events if event.dagster_event_type != _PLANNED]
        if planned:
            self._store_planned(planned)
        if others:
            super().store_event_batch(others)

    def _store_planned(self, events: Sequence[dg.EventLogEntry]) -> None:
        insert = self.prepare_insert_event_batch(events)
        with self.run_connection() as connection:
            ids = connection.execute(insert.returning(insert.table.c.id)).scalars().all()
        # The row of an asset holds its last event only.
        last = {event.get_dagster_event().asset_key: (event, id_) for event, id_ in zip(events, ids, strict=True)}
        for event, id_ in last.values():
            self.store_asset_event(event, id_)

    def store_asset_check_event(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        """Store a planned check without the partitions of its run: none of our checks has partitions."""
        if event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            dagster_event = event.get_dagster_event()
            planned = dagster_event.asset_check_planned_data
            whole = type(planned)(asset_key=planned.asset_key, check_name=planned.check_name, partitions_subset=None)
            event = event._replace(dagster_event=dagster_event._replace(event_specific_data=whole))
        super().store_asset_check_event(event, event_id)
