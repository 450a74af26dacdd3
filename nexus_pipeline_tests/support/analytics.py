"""Helpers of the analytics tests: executions as settling writes them, and the rows that their hours must have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from nexus_pipeline.analytics.hours import HOUR, Window
from nexus_pipeline.analytics.tables import HOURLY_METRICS, METRICS, SIGNALS, TABLES, HourlyTable
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.database.connection import Connection

ALL = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

# Written independently of the product's SQL and in another way: by CASE, ordered arrays and time zones instead of
# filters, pairs and bins. A change of what an aggregate means changes both.
_EXPECTED = {
    SIGNALS.name: """
        SELECT date_trunc('hour', CASE WHEN occurred_at IS NOT NULL THEN occurred_at WHEN enqueued_at IS NOT NULL
                   THEN enqueued_at ELSE created_at END AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS hour,
               CASE WHEN symbol IS NULL THEN '(none)' ELSE symbol END AS symbol,
               CASE WHEN output_data ? 'strategy' THEN output_data ->> 'strategy'
                    WHEN jsonb_typeof(input_data) = 'object' AND jsonb_typeof(input_data -> 'strategy') = 'string'
                         AND length(input_data ->> 'strategy') < 201 AND input_data ->> 'strategy' <> ''
                    THEN input_data ->> 'strategy' ELSE '(none)' END AS strategy,
               count(*),
               sum(CASE status WHEN 'completed' THEN 1 ELSE 0 END), sum(CASE status WHEN 'error' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'signal' WHEN 'BUY' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'signal' WHEN 'SELL' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'signal' WHEN 'HOLD' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'enhanced_signal' WHEN 'STRONG_BUY' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'enhanced_signal' WHEN 'STRONG_SELL' THEN 1 ELSE 0 END),
               avg((output_data ->> 'rsi')::numeric), min((output_data ->> 'rsi')::numeric),
               max((output_data ->> 'rsi')::numeric),
               avg((output_data ->> 'confidence')::numeric), min((output_data ->> 'confidence')::numeric),
               max((output_data ->> 'confidence')::numeric),
               avg((output_data ->> 'trade_strength')::numeric), min((output_data ->> 'trade_strength')::numeric),
               max((output_data ->> 'trade_strength')::numeric),
               sum(CASE output_data ->> 'risk_level' WHEN 'LOW' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'risk_level' WHEN 'MEDIUM' THEN 1 ELSE 0 END),
               sum(CASE output_data ->> 'risk_level' WHEN 'HIGH' THEN 1 ELSE 0 END),
               (array_agg((input_data ->> 'price')::numeric
                          ORDER BY coalesce(occurred_at, enqueued_at, created_at), (input_data ->> 'price')::numeric)
                    FILTER (WHERE status = 'completed' AND input_data ->> 'price' IS NOT NULL))[1],
               (array_agg((input_data ->> 'price')::numeric
                          ORDER BY coalesce(occurred_at, enqueued_at, created_at) DESC,
                                   (input_data ->> 'price')::numeric DESC)
                    FILTER (WHERE status = 'completed' AND input_data ->> 'price' IS NOT NULL))[1],
               sum(CASE WHEN status = 'completed' AND input_data ->> 'volume' IS NOT NULL
                        THEN (input_data ->> 'volume')::numeric ELSE 0 END)
          FROM workflow_executions WHERE status IN ('completed', 'error') GROUP BY 1, 2, 3""",
    HOURLY_METRICS.name: """
        SELECT date_trunc('hour', created_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', count(*),
               sum(CASE status WHEN 'completed' THEN 1 ELSE 0 END), sum(CASE status WHEN 'completed' THEN 0 ELSE 1 END),
               sum(CASE status WHEN 'retrying' THEN 1 ELSE 0 END), sum(CASE status WHEN 'error' THEN 1 ELSE 0 END),
               round(avg(CASE status WHEN 'completed' THEN 1.0 ELSE 0 END), 6), round(count(*) / 3600.0, 6),
               round(avg(ms)::numeric, 6),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY ms),
               percentile_cont(0.99) WITHIN GROUP (ORDER BY ms),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY wait), percentile_cont(0.95) WITHIN GROUP (ORDER BY wait),
               percentile_cont(0.99) WITHIN GROUP (ORDER BY wait), max(wait)
          FROM (SELECT *, coalesce(1000 * extract(epoch FROM completed_at - started_at),
                                   processing_time_ms)::float8 AS ms,
                       (1000 * extract(epoch FROM started_at - enqueued_at))::float8 AS wait
                  FROM workflow_executions WHERE status NOT IN ('pending', 'processing')) e
         GROUP BY 1""",
    METRICS.name: """
        SELECT id, 'queue_wait_ms', 1000 * extract(epoch FROM started_at - enqueued_at), 'ms', created_at
          FROM workflow_executions WHERE status NOT IN ('pending', 'processing') AND started_at > '-infinity'
           AND enqueued_at > '-infinity'
        UNION ALL
        SELECT id, 'processing_ms', 1000 * extract(epoch FROM completed_at - started_at), 'ms', created_at
          FROM workflow_executions WHERE status NOT IN ('pending', 'processing') AND completed_at > '-infinity'
           AND started_at > '-infinity'
        UNION ALL
        SELECT id, 'end_to_end_ms', 1000 * extract(epoch FROM completed_at - enqueued_at), 'ms', created_at
          FROM workflow_executions WHERE status NOT IN ('pending', 'processing') AND completed_at > '-infinity'
           AND enqueued_at > '-infinity'
        UNION ALL
        SELECT id, 'attempts', attempt, 'count', created_at
          FROM workflow_executions WHERE status NOT IN ('pending', 'processing') AND attempt > 0""",
}
_ACTUAL = {
    SIGNALS.name: "SELECT * FROM hourly_signal_aggregates",
    HOURLY_METRICS.name: """SELECT hour, total_executions, successful, failed, retried, dead_lettered, success_rate,
        throughput_per_s, round(avg_processing_ms::numeric, 6), p50_processing_ms, p95_processing_ms, p99_processing_ms,
        p50_wait_ms, p95_wait_ms, p99_wait_ms, oldest_wait_ms FROM hourly_workflow_metrics""",
    METRICS.name: "SELECT execution_id, metric_type, metric_value, metric_unit, recorded_at FROM workflow_metrics",
}


def differences(connection: Connection, table: HourlyTable) -> list[tuple[Any, ...]]:
    """Rows that are expected and missing, or in the table and not expected; none when they are equal, row by row."""
    expected, actual = _EXPECTED[table.name], _ACTUAL[table.name]
    return connection.execute(
        f"(({expected}) EXCEPT ALL ({actual})) UNION ALL (({actual}) EXCEPT ALL ({expected})) LIMIT 10"
    ).fetchall()


def execution(
    connection: Connection,
    created: datetime,
    *,
    occurred: datetime | None = None,
    status: str = "completed",
    rsi: float = 25,
    took_ms: float = 10,
    waited_ms: float = 100,
    attempt: int = 1,
    **request: object,
) -> str:
    """Writes an execution as settling does; returns its id. A full hour as `created` means the middle of that hour."""
    if created.minute == 0:
        created += HOUR / 2
    message = {"rsi": rsi, **request, **({"occurred_at": occurred.isoformat()} if occurred else {})}
    identity = str(uuid4())
    connection.execute(
        """INSERT INTO workflow_executions (id, workflow_type, input_data, output_data, status, processing_time_ms,
               created_at, started_at, completed_at, queue_name, msg_id, enqueued_at, attempt, symbol, occurred_at)
           SELECT %(id)s, 'trading_signal', %(message)s::jsonb,
                  CASE WHEN %(status)s = 'completed' THEN nexus.enhanced_rsi(
                      %(rsi)s, (%(message)s::jsonb ->> 'price')::numeric, (%(message)s::jsonb ->> 'volume')::numeric,
                      coalesce(%(message)s::jsonb -> 'market_context', '{}'), 0) END,
                  %(status)s, %(took)s, %(created)s, %(started)s, %(created)s, 'workflow_main_queue',
                  nextval('pgmq.q_workflow_main_queue_msg_id_seq'), %(enqueued)s, %(attempt)s,
                  %(message)s::jsonb ->> 'symbol', %(occurred)s""",
        {
            "id": identity,
            "message": json.dumps(message),
            "rsi": rsi,
            "status": status,
            "took": round(took_ms),
            "created": created,
            "started": created - timedelta(milliseconds=took_ms),
            "enqueued": created - timedelta(milliseconds=took_ms + waited_ms),
            "attempt": attempt,
            "occurred": occurred,
        },
    )
    return identity


def hour(text: str) -> datetime:
    """`2026-03-01T10` in UTC."""
    return datetime.fromisoformat(f"{text}:00+00:00")


def window(text: str, hours: int = 1) -> Window:
    """A number of hours from `2026-03-01T10`."""
    return Window(hour(text), hour(text) + hours * HOUR)


def hours_in(window: Window) -> list[datetime]:
    """The start of each hour of the window, oldest first."""
    return [window.start + number * HOUR for number in range(len(window))]


def stale(connection: Connection, asset: str) -> set[datetime]:
    """All partitions of the asset that have a mark."""
    rows = connection.execute("SELECT DISTINCT start FROM nexus.stale_marks WHERE asset = %s", (asset,)).fetchall()
    return {row[0] for row in rows}


def rebuild_all(connection: Connection) -> None:
    """Rebuilds every hour of every table."""
    for table in TABLES:
        replace_window(connection, table, ALL)


def hours_from(texts: Iterable[str]) -> set[datetime]:
    """The set of these hours."""
    return {hour(text) for text in texts}
