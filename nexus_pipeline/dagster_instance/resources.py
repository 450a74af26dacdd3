"""The database as Dagster sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from nexus_pipeline.database.connection import Connection, DatabaseError
from nexus_pipeline.database.ready import shared_pool
from nexus_pipeline.settings import SettingsError, load_settings


class NexusDatabase(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The database of NEXUS_DATABASE_URL, or the embedded one: started and migrated at the first use in a process."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """An autocommitting connection of the process's pool.

        Raises:
            dagster.Failure: the database cannot be used; the text says why, and no retry of a step would mend it.
        """
        try:
            pool = shared_pool(load_settings())
        except (DatabaseError, SettingsError) as error:
            raise dg.Failure(str(error)) from None
        with pool.connection() as connection:
            yield connection
