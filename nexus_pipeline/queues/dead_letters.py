"""Dead letters: list, show, redrive, discard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries


@dataclass(frozen=True)
class DeadLetter:
    """A message whose last attempt failed, and that waits for a decision."""

    dead_letter_id: int
    dead_lettered_at: datetime
    error_class: str | None
    error_code: str | None
    """SQLSTATE."""
    error_message: str | None
    attempts: int
    original_queue: str | None
    original_msg_id: int | None
    execution_id: str | None
    original_message: Any


@dataclass(frozen=True)
class ClassCount:
    """Dead letters of one error class that wait."""

    error_class: str
    letters: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True)
class Action:
    """A redrive or a discard, as recorded."""

    dead_letter_id: int
    action: str
    new_msg_id: int | None
    actor: str
    reason: str | None
    acted_at: datetime


@dataclass(frozen=True)
class Acted:
    """What was done with one dead letter now; `new_msg_id` is the message that a redrive sent."""

    dead_letter_id: int
    original_queue: str | None
    original_msg_id: int | None
    error_class: str | None
    new_msg_id: int | None


@dataclass(frozen=True)
class LetterHistory:
    """A dead letter whole: its message as it lies in the queue, every attempt, and what was done with it."""

    message: dict[str, Any]
    dead_lettered_at: datetime
    attempts: list[dict[str, Any]]
    actions: list[Action]


def list_letters(connection: Connection, error_class: str | None = None, at_most: int = 50) -> list[DeadLetter]:
    """The newest dead letters that wait, of one class or of all."""
    rows = queries("dead_letters").list_letters(connection, error_class=error_class, at_most=at_most)
    return [DeadLetter(*row) for row in rows]


def count_by_class(connection: Connection) -> list[ClassCount]:
    """How many wait, by error class, most first."""
    return [ClassCount(*row) for row in queries("dead_letters").count_by_class(connection)]


def show_letter(connection: Connection, dead_letter_id: int) -> LetterHistory | None:
    """A dead letter with its attempts, also after a redrive or discard; None when there never was one."""
    named = queries("dead_letters")
    row = named.one_letter(connection, dead_letter_id=dead_letter_id)
    if row is None:
        return None
    message, dead_lettered_at = row
    if not isinstance(message, dict):  # sent there by hand
        message = {"original_message": message}
    names = ("attempt", "status", "started_at", "completed_at", "error_details")
    return LetterHistory(
        message=message,
        dead_lettered_at=dead_lettered_at,
        attempts=[dict(zip(names, attempt, strict=True)) for attempt in _attempts_of(connection, message)],
        actions=actions_of(connection, [dead_letter_id]),
    )


def _attempts_of(connection: Connection, letter: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The executions of the message that a letter names; none where it is not one that settle wrote."""
    queue, msg_id, enqueued_at = (letter.get(key) for key in ("original_queue", "original_msg_id", "enqueued_at"))
    if not (isinstance(queue, str) and type(msg_id) is int and isinstance(enqueued_at, str)):
        return []
    try:
        moment = datetime.fromisoformat(enqueued_at)
    except ValueError:
        return []
    return list(queries("dead_letters").attempts_of(connection, queue=queue, msg_id=msg_id, enqueued_at=moment))


def actions_of(connection: Connection, ids: Sequence[int]) -> list[Action]:
    """What was done with these dead letters before, oldest first."""
    return [Action(*row) for row in queries("dead_letters").actions_of(connection, ids=list(ids))]


def act(
    connection: Connection,
    action: Literal["redrive", "discard"],
    *,
    ids: Sequence[int] | None = None,
    error_class: str | None = None,
    at_most: int | None = None,
    reason: str | None = None,
) -> list[Acted]:
    """Redrives or discards dead letters: `ids`, or all of a class, or all; each once, however often this is called.

    A redrive is a new message in the original queue, whose header `nexus_redrive_of` points back.
    """
    rows = connection.execute(
        "SELECT * FROM nexus.act_on_dead_letters(%s, %s::bigint[], %s, %s, %s)",
        (action, None if ids is None else list(ids), error_class, at_most, reason),
    ).fetchall()
    return [Acted(*row) for row in rows]
