"""Claim, settle, release: the life of a lease. What happens inside is in `sql/migrations/0004.leases.sql`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nexus_pipeline.database.connection import Connection


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
    row = connection.execute("SELECT * FROM nexus.claim(%s, %s, %s)", (queue, quantity, lease_seconds)).fetchone()
    if row is None:
        return None
    msg_ids, read_cts, suspect, claimed_at = row
    return Lease(queue, msg_ids, read_cts, suspect, claimed_at)


def settle(connection: Connection, lease: Lease, policy: RetryPolicy) -> Settlement:
    """Evaluates and settles a lease in one transaction, all or nothing.

    Raises:
        psycopg.Error: the server could not; nothing was settled, and the messages come back when the lease ends.
    """
    row = connection.execute(
        "SELECT completed, retried, dead_lettered, fenced"
        " FROM nexus.settle(%s, %s::bigint[], %s::integer[], %s, %s, %s, %s)",
        (
            lease.queue,
            lease.msg_ids,
            lease.read_cts,
            lease.claimed_at,
            policy.max_attempts,
            policy.base_seconds,
            policy.max_seconds,
        ),
    ).fetchone()
    assert row is not None  # noqa: S101 - a function with OUT parameters returns one row
    return Settlement(*row)


def release(connection: Connection, lease: Lease) -> int:
    """Gives a lease back untouched, as if never read; returns how many messages were still ours."""
    row = connection.execute(
        "SELECT nexus.release(%s, %s::bigint[], %s::integer[])", (lease.queue, lease.msg_ids, lease.read_cts)
    ).fetchone()
    return int(row[0]) if row else 0
