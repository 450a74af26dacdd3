"""What is going on: the one read model of commands and checks. It does not import Dagster."""

from dataclasses import dataclass
from datetime import datetime

import psycopg

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.queues.dead_letters import ClassCount, count_by_class
from nexus_pipeline.queues.ledger import Ledger, ledger, seal
from nexus_pipeline.queues.names import checked_queue

SEAL_AFTER_MESSAGES = 50_000
"""Messages since the last seal of the ledger from which looking at the queue advances the seal: they take 0.3 s."""


@dataclass(frozen=True)
class Recent:
    """How fast attempts were processed lately, over all queues. Times are None without attempts."""

    attempts: int
    """Attempts looked at: those of the last hour, at most the newest 10,000."""
    window_s: float
    """The time that they cover, s: an hour, or less where there are more than 10,000."""
    decisions_per_s: float
    """Attempts that completed or were dead-lettered, per second of that time."""
    wait_p50_ms: float | None
    """From the send to the claim, ms; after a retry this includes the earlier attempts."""
    wait_p95_ms: float | None
    wait_p99_ms: float | None
    processing_p50_ms: float | None
    """From the claim of the batch to its decisions, ms."""
    processing_p95_ms: float | None
    processing_p99_ms: float | None


@dataclass(frozen=True)
class StalePartitions:
    """The stale partitions of an hourly table, or of the daily report."""

    asset: str
    partitions: int
    """Closed hours (days for the report) that are stale."""
    oldest: datetime | None
    newest: datetime | None
    before_first: int
    """Stale hours before the first partition: they are not built."""


@dataclass(frozen=True)
class QueueStatus:
    """A queue at one moment, and what it leads to."""

    queue: str
    ledger: Ledger
    results_waiting: int
    """Messages in workflow_results; an estimate above 100,000."""
    dead_letters: list[ClassCount]
    """Dead letters that wait for an action, of all queues."""
    recent: Recent
    stale: list[StalePartitions]

    @property
    def dead_letters_waiting(self) -> int:
        """The dead letters of all classes."""
        return sum(each.letters for each in self.dead_letters)


def queue_status(connection: Connection, queue: str, first_hour: datetime, *, recount: bool = False) -> QueueStatus:
    """The status of a queue, all figures of one snapshot. To be called outside a transaction.

    The partitions of the hourly tables start at `first_hour`. `recount` counts the whole archive again instead of
    relying on the seal, which a role that may write also advances.

    Raises:
        NotFoundError: there is no such queue.
    """
    sealed = _advance_seal(connection, checked_queue(queue), recount)
    named = queries("insights")
    with connection.transaction():
        named.one_snapshot(connection)
        (recent,) = rows_as(Recent, connection, named.recent)
        return QueueStatus(
            queue=queue,
            ledger=ledger(connection, queue, recount=recount and not sealed),
            results_waiting=named.results_waiting(connection),
            dead_letters=count_by_class(connection),
            recent=recent,
            stale=rows_as(StalePartitions, connection, named.stale_partitions, first_hour=first_hour),
        )


def _advance_seal(connection: Connection, queue: str, recount: bool) -> bool:
    """Seals where that saves counting; returns whether it could: a reader, or a standby server, only looks."""
    try:
        return seal(connection, queue, min_messages=0 if recount else SEAL_AFTER_MESSAGES, recount=recount) is not None
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        return False
