"""The database as Dagster sees it, and how the errors of the product end a step."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg

from nexus_pipeline.database.connection import Connection, as_nexus_error
from nexus_pipeline.database.ready import shared_pool
from nexus_pipeline.errors import NexusError, UserError
from nexus_pipeline.settings import load_settings


@contextmanager
def failures(reassurance: str = "") -> Iterator[None]:
    """Turn errors of the product and of PostgreSQL into `dagster.Failure`; defects pass, with their traceback.

    A user's mistake is not retried: a retry would repeat it. `reassurance` is a sentence to add where it is not the
    user who has to act, on what the failure did not do.
    """
    try:
        yield
    except UserError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except (NexusError, psycopg.Error) as error:
        known = as_nexus_error(error) if isinstance(error, psycopg.Error) else error
        if known is None:
            raise
        # Without its cause: the text of an error of PostgreSQL repeats the statement, which can have 200 lines.
        raise dg.Failure(f"{known}. {reassurance}" if reassurance else str(known)) from None


class NexusDatabase(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The database of NEXUS_DATABASE_URL, or the embedded one: started and migrated at the first use in a process."""

    @contextmanager
    def connect(self, reassurance: str = "") -> Iterator[Connection]:
        """An autocommitting connection of the process's pool; errors become `dagster.Failure` as in `failures`."""
        with failures(reassurance), shared_pool(load_settings()).connection() as connection:
            yield connection
