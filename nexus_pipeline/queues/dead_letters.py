"""Dead letters: list, show, redrive, discard."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.errors import ConflictError, NotFoundError

PAST: Final = {"redrive": "redriven", "discard": "discarded"}
_MAX_FAULTS = 10


@dataclass(frozen=True)
class DeadLetter:
    """A message whose last attempt failed and that waits for an action."""

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
    """The dead letters of an error class that wait."""

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

    def __str__(self) -> str:
        """As in `redriven as message 6 at 2026-01-31 09:00:00Z by postgres (prices are back)`."""
        message = f" as message {self.new_msg_id}" if self.new_msg_id is not None else ""
        reason = f" ({self.reason[:200]})" if self.reason else ""
        moment = f"{self.acted_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        return f"{PAST[self.action]}{message} at {moment} by {self.actor}{reason}"


@dataclass(frozen=True)
class Acted:
    """A dead letter that was redriven or discarded just now; `new_msg_id` is the message that a redrive sent."""

    dead_letter_id: int
    original_queue: str | None
    original_msg_id: int | None
    error_class: str | None
    new_msg_id: int | None


@dataclass(frozen=True)
class Outcome:
    """What a redrive or a discard did, and what the same action had done before with the ids that were asked for."""

    done: list[Acted]
    already: list[Action]


@dataclass(frozen=True)
class Attempt:
    """An execution of the original message."""

    attempt: int | None
    status: str
    started_at: datetime | None
    completed_at: datetime | None
    error_details: dict[str, Any] | None


@dataclass(frozen=True)
class History:
    """A dead letter with its message, every attempt at it, and every action."""

    dead_letter_id: int
    dead_lettered_at: datetime
    message: dict[str, Any]
    """As it is in the queue."""
    attempts: list[Attempt]
    actions: list[Action]


def list_dead_letters(connection: Connection, error_class: str | None = None, max_rows: int = 50) -> list[DeadLetter]:
    """The newest dead letters that wait for an action, of one class or of all."""
    statement = queries("dead_letters").list_dead_letters
    return rows_as(DeadLetter, connection, statement, error_class=error_class, max_rows=max_rows)


def count_by_class(connection: Connection) -> list[ClassCount]:
    """How many wait, by error class, most first."""
    return rows_as(ClassCount, connection, queries("dead_letters").count_by_class)


def dead_letter_history(connection: Connection, dead_letter_id: int) -> History:
    """A dead letter with its attempts, also after a redrive or discard.

    Raises:
        NotFoundError: there never was one with this id.
    """
    found = rows_as(dict, connection, queries("dead_letters").find_dead_letter, dead_letter_id=dead_letter_id)
    if not found:
        raise NotFoundError(f"there is no dead letter {dead_letter_id}")
    message = found[0]["message"]
    if not isinstance(message, dict):  # any role with INSERT may send to the queue
        message = {"original_message": message}
    actions = actions_of(connection, [dead_letter_id])
    return History(dead_letter_id, found[0]["dead_lettered_at"], message, _attempts_of(connection, message), actions)


def _attempts_of(connection: Connection, message: dict[str, Any]) -> list[Attempt]:
    """The executions of the original message; none where settling did not write the dead letter."""
    queue, msg_id, enqueued_at = (message.get(key) for key in ("original_queue", "original_msg_id", "enqueued_at"))
    if not (isinstance(queue, str) and type(msg_id) is int and isinstance(enqueued_at, str)):
        return []
    try:
        moment = datetime.fromisoformat(enqueued_at)
    except ValueError:
        return []
    statement = queries("dead_letters").attempts_of
    return rows_as(Attempt, connection, statement, queue=queue, msg_id=msg_id, enqueued_at=moment)


def actions_of(connection: Connection, ids: Sequence[int]) -> list[Action]:
    """What was done with these dead letters, oldest first."""
    return rows_as(Action, connection, queries("dead_letters").actions_of, ids=list(ids))


def act(
    action: Literal["redrive", "discard"],
    connection: Connection,
    *,
    ids: Sequence[int] | None = None,
    error_class: str | None = None,
    max_rows: int | None = None,
    reason: str | None = None,
) -> Outcome:
    """Redrive or discard dead letters, all or none: `ids`, or all of a class, or all; of these the oldest `max_rows`.

    A redrive sends each once, to its original queue; the header `nexus_redrive_of` of the new message points back. A
    discard moves them to the archive of their queue. `reason` is for the record, up to 2,000 characters.

    Raises:
        NotFoundError: one of the ids never existed.
        ConflictError: one of the ids had the other action, or cannot be redriven: it names no queue that workers serve.
    """
    wanted = None if ids is None else list(ids)
    selection = {"ids": wanted, "error_class": error_class, "max_rows": max_rows, "reason": reason}
    with connection.transaction():
        done = rows_as(Acted, connection, getattr(queries("dead_letters"), action), **selection)
        if ids is None or error_class is not None or max_rows is not None:
            return Outcome(done, [])
        acted = {each.dead_letter_id for each in done}
        return Outcome(done, _already(connection, action, [each for each in dict.fromkeys(ids) if each not in acted]))


redrive = partial(act, "redrive")
discard = partial(act, "discard")


def _already(connection: Connection, action: str, ids: Sequence[int]) -> list[Action]:
    """What the same action did before with these ids, on which it did nothing now; refuses all others."""
    before = {each.dead_letter_id: each for each in actions_of(connection, ids)}
    waiting = set(queries("dead_letters").waiting_among(connection, ids=list(ids)))
    faults = [f"there is no dead letter {each}" for each in ids if each not in before and each not in waiting]
    error = NotFoundError if faults else ConflictError
    for each in ids:
        if each in waiting:
            faults.append(f"dead letter {each} cannot be redriven: it names no queue that takes requests")
        elif each in before and before[each].action != action:
            faults.append(f"dead letter {each} cannot be {PAST[action]}: already {before[each]}")
    if faults:
        more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
        raise error(f"{'; '.join(faults[:_MAX_FAULTS])}{more}; nothing was {PAST[action]}")
    return list(before.values())
