"""What enhanced_trade_signal and process_trading_workflow must return."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import sql_folder
from nexus_pipeline.queues.leases import RetryPolicy, claim, settle
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline_tests.support.queues import (
    assert_each_has_one_outcome,
    balanced,
    drain,
    errors_of,
    let_leases_end,
    one,
    put,
    raising_strategy,
    send,
    send_signals,
)

ROW_LOOP = sql_folder().parent / "benchmarks" / "row_loop.sql"
COMPARISON = """
WITH cases AS (
    SELECT ours - 'timestamp' AS ours, ordered - 'timestamp' AS ordered
      FROM generate_series(0, 100) AS rsi
     CROSS JOIN unnest(ARRAY['{"trend": "bullish"}', '{"trend": "bearish"}', '{"trend": "neutral"}', '{}',
                             '{"trend": "bullish", "volatility": 0.30}']::jsonb[]) AS context
     CROSS JOIN (VALUES (NULL::numeric, NULL::numeric), (1.10, NULL), (NULL, 250.0), (50000.00, 1.5e6)) AS amount (p, v)
     CROSS JOIN LATERAL enhanced_trade_signal(rsi, p, v, context) AS ours
     CROSS JOIN LATERAL row_loop.trade_signal(rsi, p, v, context) AS ordered
)
SELECT count(*), count(*) FILTER (WHERE ours = ordered), count(*) FILTER (WHERE ours::text = ordered::text)
  FROM cases
"""


@pytest.fixture
def with_row_loop(connection: Connection) -> Connection:
    connection.execute(ROW_LOOP.read_bytes())
    return connection


def test_the_signal_is_that_of_the_architecture_document_for_every_whole_rsi_trend_and_amount(
    with_row_loop: Connection,
) -> None:
    count, equal, equal_to_the_digit = with_row_loop.execute(COMPARISON).fetchone() or (0, 0, 0)
    assert count == 101 * 5 * 4
    assert equal == count
    assert equal_to_the_digit == count


def test_arguments_that_are_left_out_have_the_defaults_of_the_architecture_document(with_row_loop: Connection) -> None:
    assert (
        one(
            with_row_loop,
            "SELECT count(*) FROM generate_series(0, 100) rsi WHERE"
            " enhanced_trade_signal(rsi) - 'timestamp' = row_loop.trade_signal(rsi) - 'timestamp'",
        )
        == 101
    )


@pytest.mark.parametrize(
    ("rsi", "signal", "confidence", "strength", "risk"),
    [
        ("0", "BUY", 1, "0.9", "HIGH"),
        ("19.99", "BUY", (30 - 19.99) / 30, "0.9", "HIGH"),
        ("20", "BUY", 10 / 30, "0.7", "MEDIUM"),
        ("29.6", "BUY", 0.4 / 30, "0.7", "MEDIUM"),
        ("30", "HOLD", 0.1, "0.1", "LOW"),
        ("30.0001", "HOLD", 0.1, "0.1", "LOW"),
        ("50", "HOLD", 0.1, "0.1", "LOW"),
        ("70", "HOLD", 0.1, "0.1", "LOW"),
        ("70.5", "SELL", 0.5 / 30, "0.7", "MEDIUM"),
        ("80", "SELL", 10 / 30, "0.7", "MEDIUM"),
        ("80.01", "SELL", 10.01 / 30, "0.9", "HIGH"),
        ("100", "SELL", 1, "0.9", "HIGH"),
    ],
)
def test_decimals_of_the_rsi_count_and_the_bounds_belong_to_the_middle(
    connection: Connection, rsi: str, signal: str, confidence: float, strength: str, risk: str
) -> None:
    trends = [
        ("bullish", "STRONG_BUY" if signal == "BUY" else signal),
        ("bearish", "STRONG_SELL" if signal == "SELL" else signal),
    ]
    for trend, enhanced in trends:
        got: dict[str, Any] = one(
            connection,
            "SELECT enhanced_trade_signal(%s::numeric, 2, 3, jsonb_build_object('trend', %s::text))",
            rsi,
            trend,
        )
        assert got["signal"] == signal
        assert got["enhanced_signal"] == enhanced
        assert got["confidence"] == pytest.approx(confidence, abs=1e-12)
        assert str(got["trade_strength"]) == strength
        assert got["risk_level"] == risk
        assert Decimal(str(got["rsi"])) == Decimal(rsi)
        assert (got["price"], got["volume"]) == (2, 3)
        assert got["market_context"] == {"trend": trend}
        assert (got["strategy"], got["version"]) == ("enhanced_rsi", "1.0")


def test_the_signal_has_exactly_the_keys_of_the_architecture_document_and_the_time_of_now(
    connection: Connection,
) -> None:
    got = one(connection, "SELECT enhanced_trade_signal(25)")
    assert set(got) == {
        "signal", "enhanced_signal", "confidence", "trade_strength", "risk_level", "rsi", "price", "volume",
        "market_context", "timestamp", "strategy", "version",
    }  # fmt: skip
    assert abs(one(connection, "SELECT extract(epoch FROM clock_timestamp())") - Decimal(str(got["timestamp"]))) < 10


@pytest.mark.parametrize("rsi", ["NULL", "-1", "-0.0001", "100.0001", "101", "'NaN'", "'Infinity'", "'-Infinity'"])
def test_an_rsi_that_is_none_is_an_error_and_never_a_hold(connection: Connection, rsi: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"^rsi: must be a number from 0 to 100"):
        connection.execute(f"SELECT enhanced_trade_signal({rsi})")


def test_process_trading_workflow_completes_a_batch_and_says_so_with_the_keys_of_the_document(
    connection: Connection,
) -> None:
    good = send_signals(connection, 7)
    bad = [put(connection, "{}"), put(connection, '{"rsi": 101}'), put(connection, None)]
    first = one(connection, "SELECT process_trading_workflow()")
    assert set(first) == {
        "processed_count", "error_count", "success_rate", "processing_time_ms", "batch_size", "timestamp",
    }  # fmt: skip
    assert (first["processed_count"], first["error_count"], first["batch_size"]) == (7, 3, 10)
    assert first["success_rate"] == pytest.approx(0.7)
    assert 0 < first["processing_time_ms"] < 60_000
    assert one(connection, "SELECT clock_timestamp() - %s::timestamptz < interval '10 s'", first["timestamp"])
    assert_each_has_one_outcome(connection, good + bad)
    assert (balanced(connection).completed, balanced(connection).dead_lettered) == (7, 3)


def test_process_trading_workflow_takes_no_more_than_its_batch_and_nothing_from_an_empty_queue(
    connection: Connection,
) -> None:
    send_signals(connection, 25)
    counts = [one(connection, "SELECT process_trading_workflow(10)")["processed_count"] for _ in range(4)]
    assert counts == [10, 10, 5, 0]
    empty = one(connection, "SELECT process_trading_workflow(10, 30)")
    assert (empty["processed_count"], empty["error_count"], empty["success_rate"]) == (0, 0, 0)


def test_process_trading_workflow_tries_again_what_failed_and_dead_letters_it_after_five_attempts(
    connection: Connection,
) -> None:
    raising_strategy(connection)
    ids = send(connection, [{"rsi": 25, "strategy": "raising"}, {"rsi": 25}])
    counts = []
    for _ in range(6):
        done = one(connection, "SELECT process_trading_workflow()")
        counts.append((done["processed_count"], done["error_count"]))
        balanced(connection)
        let_leases_end(connection)
    assert counts == [(1, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 0)]
    rows = connection.execute(
        "SELECT attempt, status FROM workflow_executions WHERE msg_id = %s ORDER BY attempt", (ids[0],)
    ).fetchall()
    assert rows == [(1, "retrying"), (2, "retrying"), (3, "retrying"), (4, "retrying"), (5, "error")]
    assert errors_of(connection) == {ids[0]: ("strategy_error", "no prices for <NULL>")}
    assert_each_has_one_outcome(connection, ids)


def test_process_trading_workflow_and_workers_share_a_queue_and_do_each_message_once(
    connection: Connection, conninfo: str
) -> None:
    raising_strategy(connection)
    ids = send(
        connection, [{"rsi": 25, "strategy": "raising"} if n % 50 == 0 else {"rsi": n % 101} for n in range(1000)]
    )

    def in_one_call() -> None:
        with psycopg.connect(conninfo, autocommit=True) as worker:
            done = {"processed_count": 1, "error_count": 0}
            while done["processed_count"] + done["error_count"] > 0:
                done = one(worker, "SELECT process_trading_workflow(7)")

    def in_two() -> None:
        with psycopg.connect(conninfo, autocommit=True) as worker:
            while (lease := claim(worker, MAIN_QUEUE, 7, 30)) is not None:
                settle(worker, lease, RetryPolicy())

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(work) for work in (in_one_call, in_two, in_one_call, in_two)]:
            future.result()
    balanced(connection)
    drain(connection, policy=RetryPolicy())
    assert_each_has_one_outcome(connection, ids)
    found = balanced(connection)
    assert (found.completed, found.dead_lettered) == (980, 20)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("process_trading_workflow(0)", "batch_size: must be from 1 to 10000"),
        ("process_trading_workflow(-5)", "batch_size: must be from 1 to 10000"),
        ("process_trading_workflow(10001)", "batch_size: must be from 1 to 10000"),
        ("process_trading_workflow(NULL)", "batch_size: must be from 1 to 10000"),
        ("process_trading_workflow(10, 0)", "timeout_seconds: must be from 1 to 43200"),
        ("process_trading_workflow(10, 43201)", "timeout_seconds: must be from 1 to 43200"),
        ("process_trading_workflow(10, NULL)", "timeout_seconds: must be from 1 to 43200"),
    ],
)
def test_process_trading_workflow_refuses_arguments_out_of_range_by_name(
    connection: Connection, call: str, said: str
) -> None:
    send_signals(connection, 1)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=said):
        connection.execute(f"SELECT {call}")
    assert balanced(connection).waiting == 1


def test_an_execution_says_what_came_in_what_was_decided_and_when(connection: Connection) -> None:
    msg_id = put(
        connection,
        '{"rsi": 25.5, "price": 1.10, "volume": 7, "market_context": {"trend": "bullish"}, "symbol": "EURUSD",'
        ' "occurred_at": "2026-01-31T09:00:00+02:00", "mine": {"kept": [1, 2.50]}}',
    )
    one(connection, "SELECT process_trading_workflow()")
    row = connection.execute(
        "SELECT workflow_type, workflow_version, status, error_details, queue_name, msg_id, attempt, symbol,"
        " occurred_at = '2026-01-31T07:00:00Z', input_data #>> '{mine,kept}', output_data ->> 'enhanced_signal',"
        " enqueued_at < started_at, started_at < completed_at, processing_time_ms >= 0,"
        " substr(id::text, 15, 1) FROM workflow_executions"
    ).fetchone()
    assert row == (
        "trading_signal", "1.0", "completed", None, "workflow_main_queue", msg_id, 1, "EURUSD",
        True, "[1, 2.50]", "STRONG_BUY", True, True, True, "7",
    )  # fmt: skip


def test_processing_time_is_the_time_since_the_claim_also_beyond_a_minute(connection: Connection) -> None:
    send_signals(connection, 1)
    connection.execute(
        "SELECT nexus.settle('workflow_main_queue', msg_ids, read_cts, claimed_at - interval '61.5 s')"
        " FROM nexus.claim('workflow_main_queue', 1, 30)"
    )
    assert 61_500 <= one(connection, "SELECT processing_time_ms FROM workflow_executions") < 71_500


def test_the_dashboard_counts_by_the_hour(connection: Connection) -> None:
    for text in ('{"rsi": 10}', '{"rsi": 20}', '{"rsi": 90}', '{"rsi": 50}', "{}"):
        put(connection, text)
    one(connection, "SELECT process_trading_workflow()")
    row = connection.execute(
        "SELECT sum(total_executions), sum(successful), sum(failed), sum(buy_signals), sum(sell_signals),"
        " sum(hold_signals), min(avg_processing_time) >= 0 FROM trading_workflow_dashboard"
    ).fetchone()
    assert row == (5, 4, 1, 2, 1, 1, True)
