"""One batch, from claim to settlement: the work of a step of the op graph."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psycopg

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.leases import Lease, RetryPolicy, Settlement, claim, release, settle


@dataclass(frozen=True)
class BatchResult:
    """The outcome of a batch; times in ms."""

    claimed: int = 0
    completed: int = 0
    retried: int = 0
    dead_lettered: int = 0
    fenced: int = 0
    """Messages whose lease ran out before they were settled: any worker may claim them."""
    suspects: int = 0
    """Messages that were in a crash before and were processed alone."""
    first_msg_id: int = 0
    last_msg_id: int = 0
    ms: float = 0.0

    def __add__(self, other: BatchResult) -> BatchResult:
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        sums["first_msg_id"] = min(filter(None, (self.first_msg_id, other.first_msg_id)), default=0)
        sums["last_msg_id"] = max(self.last_msg_id, other.last_msg_id)
        return BatchResult(**sums)


def process_batch(
    connection: Connection, queue: str, batch_size: int, lease_seconds: int, policy: RetryPolicy, deadline: float
) -> BatchResult:
    """Claims up to `batch_size` messages and settles them.

    A suspect is leased alone, so a batch may consist of several leases. Nothing is claimed after `deadline`
    (`time.monotonic()`, s).

    Raises:
        psycopg.Error: the server failed; settled messages stay settled, the others return to the queue.
    """
    result = BatchResult()
    while result.claimed < batch_size and time.monotonic() < deadline:
        began = time.perf_counter()
        lease = claim(connection, queue, batch_size - result.claimed, lease_seconds)
        if lease is None:
            break
        settlement = _settle_or_release(connection, lease, policy)
        result += BatchResult(
            claimed=len(lease),
            **vars(settlement),
            suspects=len(lease) if lease.suspect else 0,
            first_msg_id=lease.msg_ids[0],
            last_msg_id=lease.msg_ids[-1],
            ms=(time.perf_counter() - began) * 1000,
        )
        if not lease.suspect:
            break
    return result


def _settle_or_release(connection: Connection, lease: Lease, policy: RetryPolicy) -> Settlement:
    """Settles. If that is interrupted or fails, releases the lease, so that the messages do not count as crashed.

    If the settlement was committed all the same, the fence makes the release do nothing.
    """
    try:
        return settle(connection, lease, policy)
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            release(connection, lease)
        raise
