"""Send requests to a queue: a batch is one statement, and an event that names itself is queued once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.errors import ConflictError, NotFoundError, UserError
from nexus_pipeline.queues.names import checked_queue


@dataclass(frozen=True)
class Sent:
    """The outcome of a send; the msg_ids are those of the first and last message, None when none was sent."""

    sent: int
    duplicates: int
    first_msg_id: int | None
    last_msg_id: int | None

    def __add__(self, later: Sent) -> Sent:
        first = later.first_msg_id if self.first_msg_id is None else self.first_msg_id
        last = self.last_msg_id if later.last_msg_id is None else later.last_msg_id
        return Sent(self.sent + later.sent, self.duplicates + later.duplicates, first, last)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request of a batch is refused: the first rule that it breaks."""

    position: int
    """In the batch, from 1."""
    field: str
    """As in `rsi` or `market_context`; `message` for the request as a whole."""
    reason: str
    """Reads after the field's name."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class RejectedRequests(UserError):
    """Requests of a batch are refused, and nothing of the batch was sent."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        more = f" ({len(faults):,} requests are refused)" if len(faults) > 1 else ""
        super().__init__(f"request {first.position}: {first}{more}; nothing was sent")
        self.faults: Final = tuple(faults)
        """At least one, in the order of the batch."""


def enqueue(
    connection: Connection, queue: str, requests: Sequence[str], delay_seconds: int = 0, *, validate: bool = False
) -> Sent:
    """Send requests (JSON texts), all or nothing; those whose `event_id` was sent before count as duplicates.

    Without `validate`, a request that breaks a rule is sent and becomes a dead letter.

    Raises:
        RejectedRequests: with `validate`, a request breaks a rule.
        UserError: the queue's name is not valid.
        psycopg.DataError: a text is not JSON that PostgreSQL can hold.
    """
    arguments = {"requests": list(requests), "delay_seconds": delay_seconds, "validate": validate}
    (row,) = rows_as(dict, connection, queries("sending").enqueue, queue=checked_queue(queue), **arguments)
    if faults := row.pop("faults"):
        raise RejectedRequests([Fault(**fault) for fault in faults])
    return Sent(**row)


def request_faults(connection: Connection, requests: Sequence[str]) -> list[Fault]:
    """The requests (JSON texts) that break a rule, in their order."""
    return rows_as(Fault, connection, queries("sending").request_faults, requests=list(requests))


def require_queue(connection: Connection, queue: str, *, served: bool = True) -> None:
    """Make sure that a queue exists and, with `served`, that workers serve it.

    Raises:
        NotFoundError: there is no such queue.
        ConflictError: no worker serves the queue.
    """
    (state,) = rows_as(dict, connection, queries("sending").queue_state, queue=checked_queue(queue))
    if not state["found"]:
        raise NotFoundError(f"there is no queue {queue}")
    if served and not state["served"]:
        raise ConflictError(f"the queue {queue} takes no signal requests")
