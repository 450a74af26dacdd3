"""Requests into a queue: a batch is one statement, and an event that names itself is queued once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.names import checked_queue


@dataclass(frozen=True)
class Sent:
    """What a send came to; the msg_ids are those of the first and last message, None when none was sent."""

    sent: int
    duplicates: int
    first_msg_id: int | None
    last_msg_id: int | None


def enqueue(connection: Connection, queue: str, requests: Sequence[str], delay_seconds: int = 0) -> Sent:
    """Sends requests (JSON texts), all or none; those whose `event_id` was sent before are duplicates.

    Raises:
        psycopg.DataError: a text is no JSON that PostgreSQL takes; nothing was sent.
    """
    row = connection.execute(
        "SELECT * FROM nexus.enqueue(%s, %s::jsonb[], %s)",
        (checked_queue(queue), list(requests), delay_seconds),
    ).fetchone()
    assert row is not None  # noqa: S101 - the function returns one row
    return Sent(*row)
