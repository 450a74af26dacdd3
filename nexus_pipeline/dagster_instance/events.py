"""Dagster's event log, for runs of thousands of partitions: what Dagster plans is written in batches, too."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_postgres import PostgresEventLogStorage

_PLANNED = DagsterEventType.ASSET_MATERIALIZATION_PLANNED


class NexusEventLogStorage(PostgresEventLogStorage):
    """The stock storage, but for two things that a run of a year of hours (8,760 partitions) meets.

    - Events that say "this partition is planned" come in batches, but are stored one by one: each is an insert, an
      update of its asset and a commit. Here a batch is one insert, and each asset is updated once.
    - An asset check that has no partitions (none here has) is recorded as planned once for every partition of the run,
      and its result then finds none of these rows. Here it is recorded once.
    """

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores a batch that Dagster collected."""
        planned = [event for event in events if event.get_dagster_event().event_type == _PLANNED]
        others = [event for event in events if event.get_dagster_event().event_type != _PLANNED]
        if planned:
            self._store_planned(planned)
        if others:
            super().store_event_batch(others)

    def _store_planned(self, events: Sequence[EventLogEntry]) -> None:
        with self._connect() as connection:
            rows = connection.execute(
                self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)
            ).fetchall()
        # The asset's row tells of its last event only.
        last = {
            event.get_dagster_event().asset_key: (event, int(row[0])) for event, row in zip(events, rows, strict=True)
        }
        with self.index_transaction() as connection:
            for event, event_id in last.values():
                self._store_asset_event(connection, event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        told = event.get_dagster_event()
        planned = told.asset_check_planned_data
        if planned.partitions_subset is not None:
            whole = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
            event = event._replace(dagster_event=told._replace(event_specific_data=whole))
        super()._store_asset_check_evaluation_planned(event, event_id)
