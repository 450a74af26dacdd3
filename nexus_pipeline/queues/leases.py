"""Claim, settle, release: the life of a lease. What happens inside is in `sql/functions/queues/`."""

from dataclasses import dataclass
from datetime import datetime

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed message is tried again: after a random time up to base x 2^(attempt-1) s, at most `max_seconds`."""

    max_attempts: int = 5
    base_seconds: float = 1.0
    max_seconds: float = 300.0


@dataclass(frozen=True)
class Lease:
    """Messages that are ours until their visibility timeout; `(msg_ids[i], read_cts[i])` is the fence of each."""

    queue: str
    msg_ids: list[int]
    read_cts: list[int]
    suspect: bool
    """Whether the one message of this lease was in a crash before."""
    claimed_at: datetime
    """UTC, by the server's clock."""

    def __len__(self) -> int:
        return len(self.msg_ids)


@dataclass(frozen=True)
class Settlement:
    """What became of the messages of a lease."""

    completed: int
    retried: int
    dead_lettered: int
    fenced: int
    """Messages that were no longer ours: the lease had run out and another worker claimed them."""


def claim(connection: Connection, queue: str, quantity: int, lease_seconds: int) -> Lease | None:
    """Leases up to `quantity` messages; None when none waits. The connection must autocommit."""
    statement = queries("leases").claim
    found = rows_as(Lease, connection, statement, queue=queue, quantity=quantity, lease_seconds=lease_seconds)
    return found[0] if found else None


def settle(connection: Connection, lease: Lease, policy: RetryPolicy) -> Settlement:
    """Evaluates and settles a lease in one transaction, all or nothing.

    Raises:
        psycopg.Error: the server could not; nothing was settled, and the messages come back when the lease ends.
    """
    return rows_as(Settlement, connection, queries("leases").settle, **vars(lease), **vars(policy))[0]


def release(connection: Connection, lease: Lease) -> int:
    """Gives a lease back untouched, as if never read; returns how many messages were still ours."""
    return int(queries("leases").release(connection, **vars(lease)))
