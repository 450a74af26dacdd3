"""The record of decisions: the rows of `workflow_executions`, one for each attempt at a message."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.errors import NotFoundError

STATUSES: Final = ("completed", "retrying", "error", "pending", "processing")
"""The values of `status`; sql/migrations/0002.executions.sql says what each means."""
SIGNALS: Final = ("BUY", "SELL", "HOLD")


@dataclass(frozen=True)
class Execution:
    """One attempt at a message. The fields of a decision, or of an error, are None where there is none."""

    id: UUID
    status: str
    symbol: str | None
    signal: str | None
    """With its strength, as in STRONG_BUY."""
    rsi: Decimal | None
    confidence: Decimal | None
    """0 to 1."""
    risk_level: str | None
    workflow_version: str | None
    attempt: int | None
    """1 for the first."""
    msg_id: int | None
    processing_time_ms: int | None
    """From claim to decision, ms."""
    occurred_at: datetime | None
    """The time of the event, where the request names it."""
    created_at: datetime | None
    """When the attempt was settled."""
    error_class: str | None
    error_message: str | None


def list_executions(
    connection: Connection,
    *,
    status: str | None = None,
    symbol: str | None = None,
    signal: str | None = None,
    msg_id: int | None = None,
    since: datetime | None = None,
    max_rows: int = 20,
) -> list[Execution]:
    """The newest executions that match all criteria. `signal` is BUY, SELL or HOLD and includes strong signals."""
    criteria = {"status": status, "symbol": symbol, "signal": signal, "msg_id": msg_id, "since": since}
    return rows_as(Execution, connection, queries("executions").list_executions, max_rows=max_rows, **criteria)


def find_execution(connection: Connection, execution_id: UUID) -> dict[str, Any]:
    """All columns of an execution as a JSON object.

    Raises:
        NotFoundError: no execution has this id.
    """
    found: dict[str, Any] | None = queries("executions").find_execution(connection, execution_id=execution_id)
    if found is None:
        raise NotFoundError(f"there is no execution {execution_id}")
    return found
