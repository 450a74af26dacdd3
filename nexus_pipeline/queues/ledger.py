"""What waits, and the proof that the counts add up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.errors import NotFoundError


@dataclass(frozen=True)
class Depth:
    """Messages that a claim would get now, and for how long (s) the oldest of them could have been claimed."""

    waiting: int
    oldest_wait_s: float | None


@dataclass(frozen=True)
class Ledger:
    """Every message of a queue by its state, in one snapshot (see `sql/migrations/0006.ledger.sql`)."""

    sent: int
    waiting: int
    leased: int
    retrying: int
    completed: int
    dead_lettered: int
    lost: int
    doubled: int
    unarchived: int
    oldest_wait_s: float | None

    @property
    def adds_up(self) -> bool:
        """Whether every message is in exactly one state."""
        states = self.waiting + self.leased + self.retrying + self.completed + self.dead_lettered
        return self.sent == states and self.lost == 0 and self.doubled == 0


def depth(connection: Connection, queue: str, up_to: int = 1_000_000) -> Depth:
    """What waits, counted up to `up_to`; cheap enough to ask every second.

    Raises:
        NotFoundError: there is no such queue.
    """
    with _of(queue):
        row = connection.execute("SELECT * FROM nexus.depth(%s, %s)", (queue, up_to)).fetchone()
    assert row is not None  # noqa: S101 - the function returns one row
    return Depth(*row)


def ledger(connection: Connection, queue: str) -> Ledger:
    """The states of all messages; reads the whole archive (about a second for a million).

    Raises:
        NotFoundError: there is no such queue.
    """
    with _of(queue):
        row = connection.execute("SELECT * FROM nexus.ledger(%s)", (queue,)).fetchone()
    assert row is not None  # noqa: S101 - the function returns one row
    return Ledger(*row)


@contextmanager
def _of(queue: str) -> Iterator[None]:
    """Say which queue is missing where its table is."""
    try:
        yield
    except psycopg.errors.UndefinedTable:
        raise NotFoundError(f"there is no queue {queue}") from None
