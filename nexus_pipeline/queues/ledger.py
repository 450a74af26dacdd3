"""The backlog of a queue, and the proof that its counts add up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.errors import NotFoundError


@dataclass(frozen=True)
class Depth:
    """The messages that a claim would get now."""

    waiting: int
    oldest_wait_s: float | None
    """For how long the oldest of them could have been claimed, s; None when none waits."""


@dataclass(frozen=True)
class Ledger:
    """Every message of a queue by its state, in one snapshot (see `sql/functions/queues/ledger.sql`)."""

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
    """As in `Depth`."""

    @property
    def accounted_for(self) -> int:
        """Messages that are in one of the five states."""
        return self.waiting + self.leased + self.retrying + self.completed + self.dead_lettered

    @property
    def adds_up(self) -> bool:
        """Whether every message is in exactly one state."""
        return self.sent == self.accounted_for and self.lost == 0 and self.doubled == 0


def depth(connection: Connection, queue: str, up_to: int = 1_000_000) -> Depth:
    """The backlog, counted up to `up_to` messages; cheap enough to ask every second.

    Raises:
        NotFoundError: there is no such queue.
    """
    with _existing(queue):
        (found,) = rows_as(Depth, connection, queries("ledger").depth, queue=queue, up_to=up_to)
    return found


def ledger(connection: Connection, queue: str, *, recount: bool = False) -> Ledger:
    """The states of all messages: costs what was sent since the last `seal`, or with `recount`, seconds per million.

    Raises:
        NotFoundError: there is no such queue.
    """
    with _existing(queue):
        (found,) = rows_as(Ledger, connection, queries("ledger").ledger, queue=queue, recount=recount)
    return found


def seal(connection: Connection, queue: str, *, min_messages: int = 0, recount: bool = False) -> int | None:
    """Counts the finished messages of a queue once, so that `ledger` need not count them again.

    Does nothing where fewer than `min_messages` were sent since the last seal; `recount` forgets that seal. Returns the
    msg_id up to which the queue is sealed; None when another session is just sealing it. To be called outside a
    transaction.

    Raises:
        NotFoundError: there is no such queue.
        psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction: we may not write.
    """
    named, options = queries("ledger"), {"min_messages": min_messages, "recount": recount}
    with _existing(queue), connection.transaction():
        named.read_committed(connection)
        sealed_up_to: int | None = named.seal_ledger(connection, queue=queue, **options)
    return sealed_up_to


def served_queues(connection: Connection) -> list[str]:
    """The queues that workers serve, by name."""
    return [name for (name,) in queries("ledger").served_queues(connection)]


@contextmanager
def _existing(queue: str) -> Iterator[None]:
    """Names the queue where its table is missing."""
    try:
        yield
    except psycopg.errors.UndefinedTable:
        raise NotFoundError(f"there is no queue {queue}") from None
