"""What was decided: the rows of `workflow_executions`, each an attempt at a message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries

STATUSES: Final = ("completed", "retrying", "error", "pending", "processing")
"""What `status` may be: see sql/migrations/0002.executions.sql."""
SIGNALS: Final = ("BUY", "SELL", "HOLD")


@dataclass(frozen=True)
class Execution:
    """One attempt at a message; decision and error are None where there is none."""

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
    msg_id: int | None
    processing_time_ms: int | None
    occurred_at: datetime | None
    created_at: datetime | None
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
    at_most: int = 20,
) -> list[Execution]:
    """The newest executions that match all that is given. `signal` is BUY, SELL or HOLD, strong ones included."""
    rows = queries("executions").list_executions(
        connection, status=status, symbol=symbol, signal=signal, msg_id=msg_id, since=since, at_most=at_most
    )
    return [Execution(*row) for row in rows]


def one_execution(connection: Connection, execution_id: UUID) -> dict[str, Any] | None:
    """All columns of an execution as a JSON object; None when there is none with this id."""
    row = queries("executions").one_execution(connection, execution_id=execution_id)
    return None if row is None else row[0]
